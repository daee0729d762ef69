"""What a comparison of representations would cost, from a probe."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.plan import duration, memory_held
from modeconn.models.activations import at_point, read_features
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.inputs import Inputs
from modeconn.models.prompt_batches import batches_for
from modeconn.models.sites import sites_of
from modeconn.similarity.engine import Side, sides_of
from modeconn.similarity.example_terms import example_terms, scaled
from modeconn.similarity.settings import CKASettings
from modeconn.similarity.uncertainty import bootstrap_interval, influence, permutation_null
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task

_SECONDS = 0.5  # of reading
_SITES = 8  # of which a comparison is tried out, at most
_SHUFFLES = 1, 5  # permutations that are tried out
_WIDE = 8  # bytes of a number in products


@dataclass(frozen=True)
class Comparing:
    """One kind of comparison that a command makes of every task.

    Attributes:
        number: How many points are compared with a reference.
        matched: Only pairs of sites in the same place.
        settings: How they are compared.
    """

    number: int
    matched: bool
    settings: CKASettings


def plan_cka(
    point: Adapter | None,
    model: AdapterModel,
    task: Task,
    comparisons: Sequence[Comparing],
    *,
    num_references: int = 1,
    split: str = "test",
    encoding: EncodingSettings | None = None,
) -> dict[str, str]:
    """What the comparisons of one task would take: readings of the model, and the statistics on what was read.

    Half a second of its batches is read at the point, and random features of the sizes found are compared.

    Args:
        point: Where the probe reads.
        model: The model.
        task: The task.
        comparisons: What is compared.
        num_references: Readings of references, all comparisons together.
        split: Which split.
        encoding: How prompts become tokens.

    Returns:
        Quantity -> value with its unit, in words; without the check against PEFT, figures and loading.

    Raises:
        ModeconnError: For everything that would stop the comparison before its first reading.
    """
    settings = comparisons[0].settings
    side, _ = sides_of(model, None, task, split=split, settings=settings, encoding=encoding)
    budget = (encoding or EncodingSettings()).token_budget
    seconds, widths = _read(side, point, settings, budget)
    readings = sum(one.number for one in comparisons) + num_references
    pairs = [one.number * (len(widths) if one.matched else len(widths) ** 2) for one in comparisons]
    statistics = sum(
        count * _seconds_of_a_pair(side.inputs, max(widths.values()), len(widths), one)
        for count, one in zip(pairs, comparisons, strict=True)
    )
    return {
        "readings of all prompts": str(readings),
        "examples": str(side.inputs.num_examples),
        "tokens a reading": str(sum(side.inputs.lengths)),
        "cut prompts": str(side.inputs.num_truncated),
        "sites": f"{len(widths)} of {_range(widths.values())} features",
        "comparisons of two sites": str(sum(pairs)),
        "memory of the features": f"{_features_mib(side.inputs, widths, settings):.0f} MiB",
        "memory of a process": memory_held(model),
        "time of reading": f"{duration(readings * seconds)} on {model.device}",
        "time of comparing": "within that of reading" if settings.streams else f"{duration(statistics)} at most",
    }


def _read(side: Side, point: Adapter | None, settings: CKASettings, budget: int) -> tuple[float, dict[str, int]]:
    """Seconds of a reading of all prompts, and site -> features, from some of the batches, the largest first."""
    assert isinstance(side.model, AdapterModel), "there is no dry run of bare modules"
    rows = side.inputs.rows
    options: dict[str, Any] = {"pooling": settings.pooling, "token_budget": budget}
    with at_point(side.model, point) as module:
        sites = sites_of(module, settings.sites)
        batches = batches_for(side.model, module, rows, budget)
        largest = max(batches, key=lambda batch: sum(len(rows[number].context) for number in batch))
        found = read_features(side.model, module, [rows[number] for number in largest], sites, **options)
        seconds, tokens = 0.0, 0
        order = torch.randperm(len(batches), generator=torch.Generator().manual_seed(0)).tolist()
        for number in order:
            batch = [rows[one] for one in batches[number]]
            began = time.perf_counter()
            read_features(side.model, module, batch, sites, **options)
            seconds += time.perf_counter() - began
            tokens += sum(len(row.context) for row in batch)
            if seconds > _SECONDS:
                break
    return seconds / tokens * sum(side.inputs.lengths), {name: one.shape[1] for name, one in found.items()}


def _seconds_of_a_pair(inputs: Inputs, width: int, count: int, one: Comparing) -> float:
    """How long the statistics of one pair of sites take, among others, by random features of the same size."""
    settings, count = one.settings, min(count, _SITES)
    if settings.streams:
        return 0.0
    generator = torch.Generator().manual_seed(0)
    drawn = scaled({str(site): torch.randn(inputs.num_examples, width, generator=generator) for site in range(count)})
    began = time.perf_counter()
    terms = example_terms(drawn, drawn, matched=one.matched)
    bootstrap_interval(terms, num_resamples=settings.num_resamples, level=settings.level, seed=settings.seed)
    influence(terms)
    seconds = time.perf_counter() - began
    if settings.num_permutations:
        few, many = (_shuffling(drawn, number, matched=one.matched) for number in _SHUFFLES)
        each = max(many - few, 0.0) / (_SHUFFLES[1] - _SHUFFLES[0])
        seconds += few + each * settings.num_permutations
    return seconds / (count if one.matched else count**2)


def _shuffling(drawn: list[torch.Tensor], number: int, *, matched: bool) -> float:
    """Seconds of so many permutations."""
    began = time.perf_counter()
    permutation_null(drawn, drawn, matched=matched, num_permutations=number)
    return time.perf_counter() - began


def _features_mib(inputs: Inputs, widths: dict[str, int], settings: CKASettings) -> float:
    """What both sides' features take: of all examples, in the precision of comparing; of minibatches, a few."""
    held = inputs.num_examples
    if settings.streams:
        held = min(held, 16 * (settings.minibatch_size or 16))
    each: Any = held if settings.pooling != "all-tokens" else held * sum(inputs.lengths) / inputs.num_examples
    return 2 * each * sum(widths.values()) * _WIDE / 2**20


def _range(numbers: Any) -> str:  # noqa: ANN401
    """The smallest and the largest of some numbers."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"

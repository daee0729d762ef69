"""Points of a model against a reference: the activations are taken once, and compared as the settings say."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import TaskError
from modeconn.evaluation.gate import check_ends
from modeconn.evaluation.records import PointStore
from modeconn.models.activations import BASE, activations, at_point, read_features
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.finite import check_finite
from modeconn.models.inputs import Inputs, read_inputs
from modeconn.models.module_model import ModuleModel, TensorTask
from modeconn.models.pooling import check_pooling_fits
from modeconn.models.sites import sites_of
from modeconn.models.tensor_batches import read_tensors
from modeconn.similarity.accumulator import CKAAccumulator
from modeconn.similarity.features import LEAST_EXAMPLES
from modeconn.similarity.keys import comparison_key
from modeconn.similarity.rows import check_same_inputs, full_rows, of_prompts, streamed_rows
from modeconn.similarity.settings import TOKENS_EXAMPLES, CKASettings
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task

Progress = Callable[[int, int, str], None]
_AT_ONCE = 16  # minibatches read at a point before the next is put into the model
_GATE_ROWS = 64


@dataclass(frozen=True)
class Side:
    """A model and what it reads.

    Attributes:
        model: The model.
        inputs: The prompts in its tokens.
    """

    model: AdapterModel | ModuleModel
    inputs: Inputs


def sides_of(
    model: AdapterModel | ModuleModel,
    reference_model: AdapterModel | ModuleModel | None,
    task: Task | TensorTask,
    *,
    split: str,
    settings: CKASettings,
    encoding: EncodingSettings | None,
) -> tuple[Side, Side]:
    """What both models read, checked to be the same.

    Raises:
        EvaluationError: If it is not, there are fewer than 4 examples, or images are pooled as texts are.
        TaskError: If the task lacks the split or cannot be encoded.
    """
    for one in (model, reference_model or model):
        check_pooling_fits(one, settings.pooling)
    first = second = _side(model, task, split, settings, encoding)
    if reference_model is not None and reference_model is not model:
        second = _side(reference_model, task, split, settings, encoding)
    check_same_inputs(first.inputs, second.inputs, settings.pooling)
    return first, second


def _side(
    model: AdapterModel | ModuleModel,
    task: Task | TensorTask,
    split: str,
    settings: CKASettings,
    encoding: EncodingSettings | None,
) -> Side:
    """A model with what it reads of a task.

    Raises:
        TaskError: If a model of texts is given tensors, or a module anything else.
    """
    options: dict[str, Any] = {"split": split, "num_examples": settings.num_examples}
    if isinstance(model, ModuleModel):
        return Side(model, read_tensors(model, task, **options))
    if isinstance(task, TensorTask):
        raise TaskError(
            f"the model cannot read the task {task.name}",
            expected="a Task: prompts, texts or images",
            got="a TensorTask, which is for a ModuleModel",
            remedy="mc.Task.load(folder), or wrap the module: mc.ModuleModel(module, loss)",
        )
    return Side(model, read_inputs(model, task, **options, settings=encoding))


def check_points(
    model: AdapterModel | ModuleModel,
    points: Sequence[Adapter | None],
    task: Task | TensorTask,
    *,
    split: str,
    encoding: EncodingSettings | None,
) -> dict[str, float]:
    """Compare checkpoints, as they are put into the model here, with what PEFT makes of them.

    Returns:
        Point's name -> the largest difference of a loss, relative to `1 + loss`.

    Raises:
        EvaluationError: If a checkpoint is not what PEFT loads.
        ModelError: If one does not fit.
    """
    given = [point for point in points if point is not None]
    for point in given:
        model.check(point)
    asked: Any = task  # that it is the model's own kind of task is checked where it is read
    encoded = model.encode(asked, split, replace(encoding or EncodingSettings(), all_choices=False))
    return check_ends(model, given, [encoded], num_rows=_GATE_ROWS)


def compared(
    points: Sequence[Adapter | None],
    reference: Adapter | None,
    sides: tuple[Side, Side],
    *,
    matched: bool,
    settings: CKASettings,
    encoding: EncodingSettings | None = None,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> list[pd.DataFrame]:
    """Each point against the reference; what a store has is not read again, nor the reference if it has all.

    Args:
        points: T points; None is the base itself.
        reference: What they are compared with.
        sides: The points' model, and the reference's.
        matched: Only pairs of sites in the same place, instead of all.
        settings: How they are compared.
        encoding: Tokens a batch.
        store: Keeps finished comparisons: each point's as it is done; of minibatches, all points' at the end.
        progress: Called as `progress(done, total, what)` after every reading.

    Returns:
        One table a point, columns from `point` to `p_value` without `t`.
    """
    budget = (encoding or EncodingSettings()).token_budget
    inputs = sides[0].inputs
    names = {"reference": name_of(reference), "task": inputs.task, "split": inputs.split, "pooling": settings.pooling}
    keys = [""] * len(points)
    if store is not None:
        options: dict[str, Any] = {"matched": matched, "settings": settings, "token_budget": budget}
        keys = [comparison_key(point, reference, sides, **options) for point in points]
    kept = [None if store is None else store.load(key) for key in keys]
    missing = [number for number, table in enumerate(kept) if table is None]
    if missing:
        read = _streamed if settings.streams else _full
        told = _beginning_at(progress, 0 if settings.streams else len(points) - len(missing))
        asked = [points[number] for number in missing]
        found = read(asked, reference, sides, matched=matched, settings=settings, budget=budget, progress=told)
        for number, table in zip(missing, found, strict=True):
            kept[number] = table
            if store is not None:
                store.save(keys[number], table)
    tables = [table for table in kept if table is not None]
    return [table.assign(point=name_of(point), **names) for point, table in zip(points, tables, strict=True)]


def _beginning_at(progress: Progress | None, before: int) -> Progress | None:
    """Progress that counts what was finished before."""
    if progress is None or not before:
        return progress
    return lambda done, total, what: progress(before + done, before + total, what)


def name_of(point: Adapter | None) -> str:
    """What tables call a point."""
    return BASE if point is None else point.name


def _full(
    points: Sequence[Adapter | None],
    reference: Adapter | None,
    sides: tuple[Side, Side],
    *,
    matched: bool,
    settings: CKASettings,
    budget: int,
    progress: Progress | None,
) -> Iterator[pd.DataFrame]:
    """By the features of all examples together."""
    options: dict[str, Any] = {"sites": settings.sites, "pooling": settings.pooling, "token_budget": budget}
    other = activations(sides[1].model, reference, sides[1].inputs, **options)
    for number, point in enumerate(points):
        if progress:
            progress(number, len(points), other.inputs.task)
        same = point is reference and sides[0] is sides[1]
        own = other if same else activations(sides[0].model, point, sides[0].inputs, **options)
        yield full_rows(own, other, matched=matched, settings=settings)
    if progress:
        progress(len(points), len(points), other.inputs.task)


def _streamed(
    points: Sequence[Adapter | None],
    reference: Adapter | None,
    sides: tuple[Side, Side],
    *,
    matched: bool,
    settings: CKASettings,
    budget: int,
    progress: Progress | None,
) -> list[pd.DataFrame]:
    """By minibatches of a random order of the examples; features of a few of them are in memory together."""
    minibatches = _minibatches(sides[0].inputs.num_examples, settings)
    kept = [CKAAccumulator(matched=matched, seed=settings.seed) for _ in points]
    widths: list[tuple[dict[str, int], dict[str, int]]] = [({}, {}) for _ in points]
    for start in range(0, len(minibatches), _AT_ONCE):
        some = minibatches[start : start + _AT_ONCE]
        other = _read(sides[1], reference, some, settings, budget)
        for number, point in enumerate(points):
            same = point is reference and sides[0] is sides[1]
            own = other if same else _read(sides[0], point, some, settings, budget)
            for one, two, examples in zip(own, other, some, strict=True):
                kept[number].add(one, two, lengths=_tokens(sides[0].inputs, examples, settings))
            for side, features in zip(widths[number], (own[0], other[0]), strict=True):
                side.update({name: rows.shape[1] for name, rows in features.items()})
        if progress:
            progress(min(start + _AT_ONCE, len(minibatches)), len(minibatches), sides[0].inputs.task)
    return [
        streamed_rows(one.result(level=settings.level), sides[0].inputs, width)
        for one, width in zip(kept, widths, strict=True)
    ]


def _tokens(inputs: Inputs, examples: Sequence[int], settings: CKASettings) -> list[int] | None:
    """How many rows each example has; None where it has one."""
    return [len(inputs.rows[number].context) for number in examples] if settings.pooling == "all-tokens" else None


def _minibatches(number: int, settings: CKASettings) -> list[list[int]]:
    """Random minibatches of nearly one size: the examples of a last small one are dealt out to the others."""
    size = settings.minibatch_size or TOKENS_EXAMPLES
    order = torch.randperm(number, generator=torch.Generator().manual_seed(settings.seed))
    return [part.tolist() for part in order.tensor_split(max(1, number // max(size, LEAST_EXAMPLES)))]


def _read(
    side: Side, point: Adapter | None, minibatches: Sequence[Sequence[int]], settings: CKASettings, budget: int
) -> list[dict[str, torch.Tensor]]:
    """The features of minibatches at a point, which is put into the model once for all of them."""
    with at_point(side.model, point) as module:
        sites = sites_of(module, settings.sites)
        found = [
            read_features(
                side.model,
                module,
                [side.inputs.rows[number] for number in numbers],
                sites,
                pooling=settings.pooling,
                token_budget=budget,
            )
            for numbers in minibatches
        ]
    for features in found:
        for name, rows in features.items():
            check_finite(rows, f"the activations of {name_of(point)} at {name}", side.model.dtype)
    if settings.pooling == "all-tokens":
        lengths = side.inputs.lengths
        counts = [sum(lengths[number] for number in numbers) for numbers in minibatches]
        found = [of_prompts(features, sites, count) for features, count in zip(found, counts, strict=True)]
    return found

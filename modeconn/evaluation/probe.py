"""What a point costs on this machine, from half a second of scoring, and of writing where a task asks for it."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from modeconn.evaluation.progress import num_tokens
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import EncodedTask
from modeconn.models.generating import write
from modeconn.models.point_model import PointModel
from modeconn.models.unchanged_layers import lower_layers, sharing_layers
from modeconn.paths.path import Path
from modeconn.tasks.batching import token_budget_batches

_SECONDS = 0.5
_CHECKED_ROWS, _CHECKED_ANSWERS = 256, 16  # what `check_ends` compares of a split at each end
_PEFT = 2.0  # how much longer plain PEFT takes for it, which pads rows
_UNTIL_LEFT_OUT = 2  # a batch is read once to keep what the layers give, and once to compare


@dataclass(frozen=True)
class Cost:
    """What it takes to evaluate all tasks.

    Attributes:
        seconds: At one point.
        flops: Of the matrix products at one point.
        check_seconds: For comparing one end with plain PEFT.
        first_seconds: What a process takes more for its first point, where layers are left out at the others.
        first_flops: The same of the products.
    """

    seconds: float
    flops: float
    check_seconds: float
    first_seconds: float = 0.0
    first_flops: float = 0.0


def probed(path: Path, model: PointModel, encoded: Sequence[EncodedTask]) -> Cost:
    """The cost of a point, from some of its batches at the middle of a path.

    The largest batch of every split goes through the model first, so that the memory that the process has held is then
    what the evaluation needs.

    Args:
        path: The path.
        model: The model.
        encoded: The splits.
    """
    point = path(0.5)
    with model.at(point) as module:
        flops, seconds = _of_a_token(model, module, encoded)
        writing = [0.0 if split.questions is None else _writing(model, module, split) for split in encoded]
    read = np.array([num_tokens(split) for split in encoded])
    left_out = _left_out(path, model, encoded, flops, seconds)  # [2, M], of a token
    written = np.array([0 if split.questions is None else sum(_lengths(split)) for split in encoded])
    compared = np.array([num_tokens(split.sample(_CHECKED_ROWS)) for split in encoded])
    answers = [cost * min(1.0, _CHECKED_ANSWERS / one.num_examples) for one, cost in zip(encoded, writing, strict=True)]
    return Cost(
        seconds=_seconds(lambda: _entered(model, path)) + float((seconds - left_out[1]) @ read) + sum(writing),
        flops=float(flops @ (read + written) - left_out[0] @ read),
        check_seconds=(1 + _PEFT) * (float(seconds @ compared) + sum(answers)),
        first_seconds=float(left_out[1] @ read),
        first_flops=float(left_out[0] @ read),
    )


def _of_a_token(
    model: PointModel, module: nn.Module, encoded: Sequence[EncodedTask], *, before: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Products and seconds of a token of each split, `[M]` each.

    Args:
        model: The model.
        module: The module, at a point.
        encoded: The splits.
        before: How often a batch is scored before it counts.
    """
    flops = [_flops(model, module, split, before) for split in encoded]  # also warms up
    seconds = [_scoring(model, module, split, _SECONDS / len(encoded), before) for split in encoded]
    return np.array(flops), np.array(seconds)


def _left_out(
    path: Path, model: PointModel, encoded: Sequence[EncodedTask], flops: np.ndarray, seconds: np.ndarray
) -> np.ndarray:
    """What a token takes less at all points but the first, products and seconds, `[2, M]`: see `lower_layers`."""
    layers = lower_layers(model, path.points)
    if layers is None:
        return np.zeros((2, len(encoded)))
    room = layers.room
    with sharing_layers(model, layers), model.at(path(0.5)) as module:
        again = _of_a_token(model, module, encoded, before=_UNTIL_LEFT_OUT)
    share = min(1.0, room / layers.needed(sum(map(num_tokens, encoded))))
    return share * np.maximum(np.array([flops, seconds]) - np.array(again), 0.0)


def _flops(model: PointModel, module: nn.Module, split: EncodedTask, before: int) -> float:
    """Matrix products of a token, from the split's largest batch."""
    largest = max(_single(split), key=num_tokens)
    for _ in range(before):
        model.score_rows(module, largest)
    counter = FlopCounterMode(display=False, custom_mapping=_on_cpu())
    with counter:
        model.score_rows(module, largest)
    return counter.get_total_flops() / num_tokens(largest)


def _scoring(model: PointModel, module: nn.Module, split: EncodedTask, most: float, before: int) -> float:
    """Seconds of a token: batches of a split, one at least, until the time is up.

    Every split has its own: where the vocabulary is large, a token of a long answer costs several of a prompt's.
    """
    batches = list(_single(split))
    seconds, tokens = 0.0, 0
    for number in np.random.default_rng(0).permutation(len(batches)):
        for _ in range(before):
            model.score_rows(module, batches[number])
        seconds += _seconds(partial(model.score_rows, module, batches[number]))
        tokens += num_tokens(batches[number])
        if seconds > most:
            break
    return seconds / tokens


def _on_cpu() -> dict[Any, Callable[..., int]]:
    """Counts of products that torch's counter does not know: oneDNN's, and attention on a CPU."""

    def linear(read: Sequence[int], weight: Sequence[int], *_: object, **__: object) -> int:
        return 2 * math.prod(read) * weight[0]

    def attention(query: Sequence[int], key: Sequence[int], value: Sequence[int], *_: object, **__: object) -> int:
        return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])

    known = {"mkldnn::_linear_pointwise": linear, "aten::_scaled_dot_product_flash_attention_for_cpu": attention}
    found = {}
    for name, count in known.items():
        space, _, operator = name.partition("::")
        if hasattr(getattr(torch.ops, space), operator):  # both are private
            found[getattr(getattr(torch.ops, space), operator)] = count
    return found


def _writing(model: PointModel, module: nn.Module, split: EncodedTask) -> float:
    """Seconds of all answers of a split: those of its middle batch, times the batches."""
    assert split.questions is not None
    groups = token_budget_batches(_lengths(split), split.settings.token_budget)
    group = groups[len(groups) // 2]
    short = replace(split, questions=replace(split.questions, num_new=1))
    writer = cast(AdapterModel, model)  # no other model has splits with questions
    write(writer, module, short, group)  # the first time is not like the others
    return _seconds(lambda: write(writer, module, split, group)) * len(groups)


def _lengths(split: EncodedTask) -> list[int]:
    """Tokens of every question and its answer."""
    assert split.questions is not None
    return [len(context) + split.questions.num_new for context in split.questions.contexts]


def _single(split: EncodedTask) -> Iterator[EncodedTask]:
    """A split's batches as splits of their own."""
    begin = 0
    for batch in split.batches:
        end = begin + len(batch.targets)
        yield replace(split, batches=(batch,), order=split.order[begin:end])
        begin = end


def _entered(model: PointModel, path: Path) -> None:
    """Make a point and put the model there."""
    with model.at(path(0.5)):
        pass


def _seconds(work: Callable[[], object]) -> float:
    """How long some work takes."""
    began = time.perf_counter()
    work()
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - began

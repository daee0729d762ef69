"""What must hold before a sweep is worth anything: the ends are the adapters, and a number is the same twice."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError, ModelError
from modeconn.evaluation.written_ends import check_written, written_sample
from modeconn.models.matmul_precision import exact_products
from modeconn.models.point_model import Encoded, PointModel
from modeconn.models.upcast import in_float64

# Largest |difference| / (1 + loss) of a row's loss in nats. PEFT computes `Wx + s B(Ax)`, a folded point
# `(W + s B A) x`: equal but for rounding, which is that of the dtype times the depth of the network. In bf16 and
# float16 nothing is folded: the same products run beside the same module, and agree almost to the bit.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 1e-4, torch.bfloat16: 5e-3, torch.float16: 5e-3}
# An update that takes away most of a large weight leaves the rounding of what has cancelled: float32 may then miss its
# tolerance with the right adapter. Where float64 shows to 1e-8 that it is the right one, float32 may differ by as much
# as narrower dtypes always may.
_OF_ROUNDING = TOLERANCE[torch.bfloat16]


class LossesNotFinite(EvaluationError):
    """Some examples have no finite loss.

    Attributes:
        where: Task, split and point in words.
        examples: Their numbers, increasing.
        task: The task's name, where it is known.

    Args:
        where: Task, split and point in words.
        examples: Their numbers.
        task: The task's name.
    """

    def __init__(self, where: str, examples: np.ndarray, *, task: str | None = None) -> None:
        self.where, self.examples, self.task = where, np.unique(examples), task
        shown = ", ".join(map(str, self.examples[:10]))
        super().__init__(
            f"losses of {where} are not finite",
            expected="a finite loss of every example",
            got=f"{len(self.examples)} NaN or infinite, at examples {shown}",
            remedy="evaluate in float32; look at these examples and at the adapter's weights",
        )

    def renumbered(self, numbers: np.ndarray) -> "LossesNotFinite":
        """The same error of examples that were given as a part: place in the part -> number, `[N]`."""
        return LossesNotFinite(self.where, numbers[self.examples], task=self.task)


def check_ends(
    model: PointModel, ends: Sequence[Adapter], encoded: Sequence[Encoded], *, num_rows: int = 256
) -> dict[str, float]:
    """Compare each end, as this package evaluates it, with the adapter loaded in plain PEFT.

    Nothing is rounded for that, whatever the model's `matmul_precision`. A full fine-tune is compared with what
    transformers loads. Where a task is scored by written answers, those to 16 of its examples are compared too: they
    may differ only where two tokens are equally likely. Where a float32 model of up to 2 GiB differs by more than its
    tolerance, the sample is repeated in float64, which tells rounding from an error.

    Args:
        model: The model.
        ends: The first and last point of a path.
        encoded: The splits that will be evaluated.
        num_rows: About how many rows a split to compare, spread over all its batches; 0 compares all.

    Returns:
        End's name -> the largest difference of a row's loss, relative to `1 + loss`; of ends of one name the larger.

    Raises:
        EvaluationError: If a loss is not finite, a difference is above the tolerance of the dtype, or another answer
            is written.
    """
    samples, model = [split.sample(num_rows) for split in encoded], exact_products(model)
    found = {}
    for end in ends:
        with model.at(end) as module:
            ours = [_finite_losses(model, module, split, end) for split in samples]
            written = [written_sample(model, module, split) for split in encoded]
        with model.reference(end) as module:
            theirs = [model.score_rows(module, split)[0] for split in samples]
            worst = max(_difference(a, b) for a, b in zip(ours, theirs, strict=True))
            found[end.name] = max(worst, found.get(end.name, 0.0))  # ends may have one name
            allowed = TOLERANCE[model.dtype]
            if not worst <= allowed:  # also if NaN
                allowed = _OF_ROUNDING
                if not (worst <= allowed and _agrees_in_float64(model, end, samples)):
                    raise _not_the_checkpoint(end, worst, model.dtype)
            check_written(model, module, end.name, encoded, written, tolerance=allowed)
    return found


def _agrees_in_float64(model: PointModel, end: Adapter, samples: Sequence[Encoded]) -> bool:
    """Whether a float32 model has an end's losses once both sides are computed in float64; False if that cannot be."""
    exact = in_float64(model)
    if exact is None:
        return False
    try:
        with exact.at(end) as module:
            ours = [exact.score_rows(module, split)[0] for split in samples]
        with exact.reference(end) as module:
            theirs = [exact.score_rows(module, split)[0] for split in samples]
    except ModelError:  # PEFT cannot decompose float64 weights, as PiSSA needs it
        return False
    return max(_difference(a, b) for a, b in zip(ours, theirs, strict=True)) <= TOLERANCE[torch.float64]


def _not_the_checkpoint(end: Adapter, worst: float, dtype: torch.dtype) -> EvaluationError:
    """The error for an end that differs from what PEFT, or for full fine-tunes transformers, makes of it."""
    library, thing = ("transformers", "model") if end.replaces else ("PEFT", "adapter")
    if end.replaces:
        remedy = (
            "give a base model whose config.json agrees with the checkpoint's (positions, norms, activation): a point"
            " is run in the base, which gives all but the weights"
        )
    else:
        remedy = (
            "do not trust a profile of these adapters: compare their adapter_config.json with their tensors, and please"
            " report the pair"
        )
    if dtype != torch.float64:
        remedy = f"repeat with --dtype float64: if it passes there, it was rounding; if not, {remedy}"
    return EvaluationError(
        f"the end {end.name!r} of the path is not the {thing} that {library} loads",
        expected=f"losses equal to those of {library} within {TOLERANCE[dtype]:g} in {dtype}",
        got=f"a difference of {worst:.3g} (relative to 1 + loss)",
        remedy=remedy,
    )


def check_repeatable(model: PointModel, point: Adapter, encoded: Sequence[Encoded]) -> float:
    """Evaluate some batches twice; the largest difference, which is 0 on a deterministic device.

    Args:
        model: The model.
        point: Where to evaluate.
        encoded: The splits; a few batches of the first are used.

    Raises:
        EvaluationError: If a loss is not finite, or the difference is above the tolerance of the dtype, as with
            active dropout.
    """
    sample = encoded[0].sample(1)
    with model.at(point) as module:
        first, second = (_finite_losses(model, module, sample, point) for _ in range(2))
    noise = _difference(first, second)
    if not noise <= TOLERANCE[model.dtype]:
        raise EvaluationError(
            "the model gives different losses for the same point and examples",
            expected=f"a difference below {TOLERANCE[model.dtype]:g}",
            got=f"{noise:.3g} (relative to 1 + loss)",
            remedy="switch off what is random in the model (dropout, sampling, noise) before evaluating",
        )
    return noise


def check_finite(
    losses: np.ndarray, where: str, *, examples: np.ndarray | None = None, task: str | None = None
) -> None:
    """Raise if examples have no finite loss; they are never averaged away.

    Args:
        losses: `[N]`, nats.
        where: Task, split and point, for the message.
        examples: `[N]`, the examples' numbers, where the losses are not those of a whole split.
        task: The task's name, for those who know its examples under other numbers.

    Raises:
        LossesNotFinite: If a loss is NaN or infinite.
    """
    broken = np.flatnonzero(~np.isfinite(losses))
    if len(broken):
        raise LossesNotFinite(where, broken if examples is None else examples[broken], task=task)


def _finite_losses(model: PointModel, module: nn.Module, sample: Encoded, point: Adapter) -> np.ndarray:
    """The rows' losses in nats, `[R]`, of a module that is at a point; NaN only for rows outside of the sample."""
    losses, _ = model.score_rows(module, sample)
    order = np.asarray(sample.order)
    where = f"{sample.task}/{sample.split} at {point.name!r}"
    check_finite(losses[order], where, examples=sample.scored_examples, task=sample.task)
    return losses


def _difference(first: np.ndarray, second: np.ndarray) -> float:
    """The largest difference of rows that both have, relative to 1 + loss."""
    scored = ~(np.isnan(first) & np.isnan(second))
    return float(np.max(np.abs(first - second)[scored] / (1 + np.abs(second[scored]))))

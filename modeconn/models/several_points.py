"""Several points in one batch: the weights that they change are stacked, and a batch is read once for all of them.

A model that is too small for its device spends the time of a point on starting one small product after the other. Under
`torch.func.vmap` each of them is one product for P points.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModelError
from modeconn.models.encoded import Batch, EncodedTask, ExampleSums, reduce_rows
from modeconn.models.family import score_batch
from modeconn.models.halving import is_out_of_memory
from modeconn.models.matmul_precision import products, rounds
from modeconn.models.offloaded import is_spread
from modeconn.models.placing import changes, check_fits
from modeconn.models.point_model import PointModel
from modeconn.models.quantised import quantization_of
from modeconn.models.scoring import Scored, answerable, score_batches, scoring_room
from modeconn.models.shares import RowScores, Share, alone

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel


def check_points_per_batch(count: int, module: nn.Module) -> None:
    """Raise unless a model can read a batch for so many points together.

    Args:
        count: P.
        module: The base model.

    Raises:
        ModelError: If the number is below 1, or the model's weights are narrow, rounded or spread over devices.
    """
    if count < 1:
        raise ModelError(
            f"points_per_batch (--points-per-batch) cannot be {count}",
            expected="a number of points, 1 or more",
            got=str(count),
            remedy="leave it out: points are evaluated one after the other",
        )
    dtype = next(one.dtype for one in module.parameters() if one.is_floating_point())
    odd = quantization_of(module) or ("a base that is spread over devices" if is_spread(module) else None)
    if odd is None and dtype not in (torch.float32, torch.float64):
        odd = str(dtype).removeprefix("torch.")
    if count > 1 and odd:
        raise ModelError(
            f"a batch cannot be read for {count} points together",
            expected="weights in float32 or float64 on one device, of which each point has its own",
            got=odd,
            remedy="leave points_per_batch (--points-per-batch) out: it is for models that are small for their device",
        )


def evaluate_together(
    model: "AdapterModel", points: Sequence[Adapter], encoded: Sequence[EncodedTask], share: Share = alone
) -> list[list[ExampleSums]]:
    """Per-example sums of every split at several points; the model is afterwards what it was before.

    Points that are no change of weights (prompts), that change different weights, or write answers, go one after the
    other.

    Args:
        model: The model.
        points: P points.
        encoded: M splits from `encode`.
        share: Who scores which batches: all that take part call this, and get the same.

    Returns:
        `[P][M]` results.

    Raises:
        ModelError: If a point does not fit, or the model cannot be run over stacked weights.
    """
    weights = _stacked(model, points)
    if weights is None:
        return [model.evaluate(point, encoded, share) for point in points]
    by_split = []
    for split in encoded:
        if split.questions is None:
            scored = _scored(model, weights, len(points), split, share)
            by_split.append([reduce_rows(split, *rows) for rows in scored])
        else:
            by_split.append([model.evaluate(point, [split], share)[0] for point in points])
    return [list(one) for one in zip(*by_split, strict=True)]


def points_per_batch(model: PointModel) -> int:
    """How many points a model takes together; 1 for models that have no such choice."""
    return getattr(model, "points_per_batch", 1)


def _stacked(model: "AdapterModel", points: Sequence[Adapter]) -> dict[str, torch.Tensor] | None:
    """Every parameter that the points change, `[P, ...]`; None where there is nothing to stack."""
    if len(points) == 1 or not all(point.config.kind.has_update for point in points):
        return None
    for point in points:
        check_fits(model.module, point, model.base_name)
    several = [changes(model.module, point) for point in points]
    names = set(several[0][0])
    if any(branches or set(replaced) != names for replaced, branches in several):
        return None
    stacks: dict[tuple[int, ...], torch.Tensor] = {}  # tied names share theirs
    found = {}
    for name in several[0][0]:
        own = [replaced[name] for replaced, _ in several]
        key = tuple(map(id, own))
        if key not in stacks:
            stacks[key] = torch.stack([one.detach().to(model.device, model.dtype) for one in own])
        found[name] = stacks[key]
    return found


@torch.inference_mode()
def _scored(
    model: "AdapterModel", weights: Mapping[str, torch.Tensor], count: int, encoded: EncodedTask, share: Share
) -> list[RowScores]:
    """Loss and correctness of a split's rows at each of the points."""
    module, choices = model.module, answerable(model, encoded)
    rounding = products(model, module) if rounds(model) else nullcontext()  # oneDNN's products take no stacks
    with rounding:
        with _holding(module, {name: stack[0] for name, stack in weights.items()}):
            scoring_room(model, module, encoded, partial(score_batch, model.family, module, **choices))
        with _holding(module, weights):  # all of them are in memory
            room = scoring_room(model, module, encoded, partial(score_batch, model.family, module, **choices))
        score = partial(_score_stacked, model, weights, choices=choices)
        found = score_batches(model, encoded, score, share=share, room=room, num_points=count)  # [2, P, R]
    return [(found[0, number], found[1, number]) for number in range(count)]


def _score_stacked(
    model: "AdapterModel",
    weights: Mapping[str, torch.Tensor],
    batch: Batch,
    *,
    choices: Mapping[str, torch.Tensor | None],
) -> Scored:
    """Per-row sums of a batch at each of the points, `[P, B]` twice."""

    def one(own: Mapping[str, torch.Tensor]) -> Scored:
        with _holding(model.module, own):
            return score_batch(model.family, model.module, batch, **choices)

    try:
        with warnings.catch_warnings():
            # Where torch knows no product of stacks, it makes one after the other: right, and no faster.
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            return torch.func.vmap(one, randomness="error")(dict(weights))
    except (RuntimeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"{type(model.module).__name__} cannot be run for several points together",
            expected="a forward pass that torch.func.vmap can take, without choices that depend on numbers",
            got=first_line[:200],
            remedy="leave points_per_batch (--points-per-batch) out",
        ) from error


@contextmanager
def _holding(module: nn.Module, tensors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """A context in which tensors, also those of a `vmap`, stand in the place of parameters, each in its own module."""
    owners = {name: module.get_submodule(name.rpartition(".")[0]) for name in tensors}
    kept = {name: owner._parameters[name.rpartition(".")[2]] for name, owner in owners.items()}
    try:
        for name, tensor in tensors.items():
            owners[name]._parameters[name.rpartition(".")[2]] = tensor  # type: ignore[assignment]
        yield
    finally:
        for name, parameter in kept.items():
            owners[name]._parameters[name.rpartition(".")[2]] = parameter

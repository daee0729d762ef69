"""Gauges of LoRA points: rewriting points in one gauge, so that their factors can be compared, or in another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.agreement import check_same_base, check_same_shapes
from modeconn.adapters.factors import Factors, balanced, factors_of, nearest_rotation, random_gauge
from modeconn.adapters.gauge_report import gauge_report
from modeconn.adapters.kinds.lora import combined_config
from modeconn.adapters.update import LowRank, Update
from modeconn.errors import AdapterError

# A gauge's condition number is at most exp(2 * strength); above 400 rounding to float32 loses too much of the update.
MAX_STRENGTH = 3.0


@dataclass(frozen=True, eq=False)
class Alignment:
    """Two points in one gauge.

    Both are LoRA points of one layout and of scaling 1, so they can be joined in `space="factors"`.

    Attributes:
        point: The point that was rotated; the same function as before.
        reference: The point that it was rotated onto, balanced; the same function as before.
        report: How much of the distance was gauge, one row for each parameter and last the "total"; see
            `modeconn.adapters.gauge_report.gauge_report` for the columns.
    """

    point: Adapter
    reference: Adapter
    report: pd.DataFrame


def align(point: Adapter, *, to: Adapter) -> Alignment:
    """Rewrite a LoRA point in the gauge of another, without changing what either does.

    Of all pairs `(B G, G^-1 A)` of one update `U S V^T` the balanced ones, `(U S^1/2 Q, Q^T S^1/2 V^T)` with Q
    orthogonal, have the least `|B|^2 + |A|^2`. The reference takes Q = 1, the point the nearest balanced pair:

        Q = argmin |B_point Q - B_to|^2 + |Q^T A_point - A_to|^2    over orthogonal Q    (Schoenemann 1966)

    Two points of one function get the same factors, whatever their gauges, ranks and scalings were. Not guaranteed
    are: the nearest pair over all invertible G; a distance below that before, since balancing scales B up where it was
    small, so that points that share a gauge, such as two short trainings from one initial A, may move apart (the
    report then has a negative share); a line between them without a barrier.

    Scalings are folded in, half into each factor. Where ranks differ, the smaller pair is padded with columns and rows
    of zeros. A parameter that one point does not update gets a pair of zeros there. Saved modules pass unchanged. All
    is computed in float64 from the factors and stored in float32: an update moves by about 1e-7 of its norm.

    Args:
        point: What is rotated.
        to: What it is rotated onto. Its own balanced pair is that of an SVD, whose signs are arbitrary: turning both
            points at once changes neither distances nor the line between them.

    Returns:
        Both points in one gauge, and the report.

    Raises:
        AdapterError: If the points are of different bases or shapes, or an update has no factors.

    Example:
        Of two adapter folders `a` and `b`::

            alignment = align(Adapter.from_pretrained(b), to=Adapter.from_pretrained(a))
            alignment.report.set_index("parameter").loc["total", "gauge_share"]
            LinearPath(alignment.reference, alignment.point, space="factors")
    """
    reference, rotated = aligned([to, point])
    return Alignment(rotated, reference, gauge_report((to, point), (reference, rotated)))


def aligned(points: Sequence[Adapter]) -> list[Adapter]:
    """The points in one gauge: the first is balanced, every later one is rotated onto it (see `align`).

    All get one layout, with the largest rank of each parameter, and scaling 1. The later points are as near to the
    first as rotations bring them, not to each other.

    Args:
        points: At least one LoRA point.

    Raises:
        AdapterError: If there is no point, the points are of different bases or shapes, or an update has no factors.
    """
    if not points:
        raise AdapterError(
            "there is nothing to align", expected="at least one point", got="none", remedy="give the points of a path"
        )
    _check_have_updates(points)
    check_same_base(points)
    check_same_shapes(points)
    found: list[dict[str, Factors]] = [{} for _ in points]
    holders = {name: point for point in points for name in point.updates}  # parameter -> a point that updates it
    for name in sorted(holders):
        for own, pair in zip(found, _aligned_pairs(name, points, holders[name]), strict=True):
            own[name] = pair
    tables = frozenset(name for name, holder in holders.items() if holder.updates[name].lookup)
    return [_with_factors(point, factors, tables) for point, factors in zip(points, found, strict=True)]


def regauge(
    point: Adapter, *, seed: int, strength: float = 1.0, flip: bool = False, name: str | None = None
) -> Adapter:
    """The same function in another gauge, `(B G, G^-1 A)` with a random G for every parameter.

    `G = Q_1 diag(exp(strength * u)) Q_2` with Q_1, Q_2 uniform over the orthogonal matrices and u uniform in [-1, 1].
    A LoRA checkpoint keeps its config, ranks, scalings and layout; a point with several parts becomes one pair of
    scaling 1 for each parameter. An update moves by what rounding to float32 does, at most about
    `exp(2 * strength)` times 1e-7 of its norm.

    Args:
        point: A LoRA point.
        seed: Decides every G.
        strength: How far G is from orthogonal, from 0 (orthogonal) to 3.
        flip: Take `G = -I` instead, which turns the sign of every factor and rounds nothing.
        name: How tables call the result; the point's name and "regauged" by default.

    Raises:
        AdapterError: If the strength is out of range, or an update has no factors.

    Example:
        >>> from modeconn.adapters.config import AdapterConfig
        >>> config = AdapterConfig.parse({"peft_type": "LORA", "r": 1, "lora_alpha": 1}, "the adapter")
        >>> pair = {"A": torch.ones(1, 2), "B": torch.ones(2, 1)}
        >>> tensors = {f"base_model.model.q.lora_{kind}.weight": value for kind, value in pair.items()}
        >>> flipped = regauge(Adapter.from_tensors(tensors, config), seed=0, flip=True)
        >>> flipped.vector.tolist(), flipped.updates["q.weight"].dense().tolist()
        ([-1.0, -1.0, -1.0, -1.0], [[1.0, 1.0], [1.0, 1.0]])
    """
    if not 0 <= strength <= MAX_STRENGTH:  # also if NaN
        raise AdapterError(
            f"cannot put {point.name} in another gauge",
            expected=f"a strength from 0 to {MAX_STRENGTH:g}: a stronger gauge loses the update in float32",
            got=f"strength={strength:g}",
            remedy="use strength=1, or 0 for an orthogonal gauge",
        )
    _check_have_updates([point])
    generator = torch.Generator().manual_seed(seed)
    plain = _is_plain_lora(point)
    updates = {}
    for parameter in sorted(point.updates):
        rank = factors_of(point, parameter).rank  # raises where there are no factors
        gauge, inverse = random_gauge(rank, strength, generator)
        if flip:
            gauge = inverse = -torch.eye(rank, dtype=torch.float64)
        updates[parameter] = _turned(point.updates[parameter], gauge, inverse, keep_scaling=plain)
    changed = replace(point, updates=updates, name=name or f"{point.name} regauged", source=None, own=None)
    return changed if plain or not updates else _with_combined_config(changed)


def _check_have_updates(points: Sequence[Adapter]) -> None:
    """Raise if a point is of a kind that has no weight update."""
    for point in points:
        if point.replaces:
            raise AdapterError(
                f"{point.name} has no gauge of factors",
                expected="an adapter with a weight update in low-rank factors, as LoRA",
                got="a full fine-tune, whose symmetry is the order of its units",
                remedy="permute the units of one onto the other's: modeconn.adapters.symmetry.matched(a, to=b)",
            )
        if not point.config.kind.has_update:
            raise AdapterError(
                f"{point.name} has no gauge that could be aligned or changed",
                expected="an adapter with a weight update in low-rank factors, as LoRA",
                got=point.config.kind.name,
                remedy='join it in space="factors", the only coordinates that it has',
            )


def _aligned_pairs(name: str, points: Sequence[Adapter], holder: Adapter) -> list[Factors]:
    """The points' balanced factors of one parameter, all of one rank and rotated onto the first."""
    rank = max(point.updates[name].rank for point in points if name in point.updates)
    nothing = factors_of(holder, name, rank=rank).zero()
    first, *rest = (
        balanced(factors_of(point, name, rank=rank)) if name in point.updates else nothing for point in points
    )
    return [first, *(pair.rotated(nearest_rotation(pair, to=first)) for pair in rest)]


def _with_factors(point: Adapter, factors: Mapping[str, Factors], tables: frozenset[str]) -> Adapter:
    """The point with other factors, in float32 and with scaling 1; `tables` are the embedding tables among them."""
    updates = {
        name: Update.of(LowRank(up.float(), down.float(), scaling=1.0, lookup=name in tables))
        for name, (up, down) in factors.items()
    }
    changed = replace(point, updates=updates, source=None, own=None)
    return _with_combined_config(changed) if updates else changed


def _with_combined_config(point: Adapter) -> Adapter:
    """The point with a LoRA config of scaling 1 and of the ranks of its updates."""
    return replace(point, config=replace(point.config, raw=combined_config(point.config, point.updates)))


def _turned(update: Update, gauge: torch.Tensor, inverse: torch.Tensor, *, keep_scaling: bool) -> Update:
    """The update as one pair `(B G, G^-1 A)`, in units of its own scaling or of 1."""
    scaling = update.low_rank[0].scaling if keep_scaling else 1.0
    up, down = update.factors(unit=scaling, dtype=torch.float64)
    return Update.of(LowRank((up @ gauge).float(), (inverse @ down).float(), scaling=scaling, lookup=update.lookup))


def _is_plain_lora(point: Adapter) -> bool:
    """Whether the point's config describes its factors: one part for each parameter, with the config's scaling."""
    return point.config.kind.name == "LORA" and all(
        update.coefficients == (1.0,)
        and len(update.low_rank) == 1
        and update.low_rank[0].scaling == point.config.scaling(name.removesuffix(".weight"))
        for name, update in point.updates.items()
    )

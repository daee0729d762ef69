"""Curves that begin as the line between two points, and bends of another rank than the line's."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.adapters.kinds.lora import combined_config
from modeconn.adapters.truncating import truncated
from modeconn.adapters.update import LowRank, Update
from modeconn.errors import PathError, listed
from modeconn.paths.curve import Curve, CurveKind, check_count, curve_name, derived
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Space

_SEED = 0  # of the rows that fill factors up: a curve is the same whenever it is made


class Bent(Curve):
    """A curve that its ends and a number of bends make."""

    label: ClassVar[str]  # begins the names of such curves

    @classmethod
    def between(
        cls,
        start: Adapter,
        end: Adapter,
        *,
        num_bends: int = 1,
        space: Space = "weights",
        name: str | None = None,
        heads: Heads | None = None,
        bend_rank: int | None = None,
    ) -> Self:
        """The curve whose bends lie evenly on the line, so that it is the line: where a fit begins.

        Args:
            start: The point at t = 0.
            end: The point at t = 1.
            num_bends: How many free points lie between them: 0 to 16, on a chain any number.
            space: The coordinates.
            name: How tables call the path.
            heads: Whose head counts where the ends' differ, as in `Path`.
            bend_rank: The rank of every bend, in weights space. `r_0 + r_1` by default, which holds the line
                exactly. Of a smaller one the bends are the nearest to the line's points, so that the curve is not
                quite the line; of a larger one it is the line, with more directions in which it can leave it.

        Raises:
            PathError: If the number of bends or their rank is out of range, or the rank cannot be chosen.
        """
        cls._check_bends(num_bends)
        options: dict[str, Any] = {"space": space, "name": name, "heads": heads, "bend_rank": bend_rank}
        return straight(cls, cls.label, (start, end), num_bends + 2, **options)

    @classmethod
    @abstractmethod
    def _check_bends(cls, num_bends: int) -> None:
        """Raise unless such a curve can have this number of bends."""


def straight(
    kind: type[CurveKind],
    label: str,
    ends: tuple[Adapter, Adapter],
    num_points: int,
    *,
    space: Space,
    name: str | None,
    heads: Heads | None,
    bend_rank: int | None,
    **fields: Any,  # noqa: ANN401
) -> CurveKind:
    """A curve whose control points lie evenly on the line between two points.

    Args:
        kind: The class of the curve.
        label: Begins its name, unless one is given.
        ends: The points at t = 0 and t = 1.
        num_points: K, both ends included.
        space: The coordinates.
        name: How tables call it.
        heads: Whose head counts.
        bend_rank: The rank of every bend; None for that of the line's points (see `of_rank`).
        fields: Further attributes of `kind`, such as a degree.

    Raises:
        PathError: If the ends cannot be joined, or the bends cannot have this rank.
    """
    if bend_rank is not None:
        _check_rank(bend_rank, space)
    line = LinearPath(*ends, space=space, name=curve_name(label, ends, name), heads=heads)
    t = torch.arange(num_points, dtype=torch.float64) / (num_points - 1)
    curve = derived(line, kind, torch.stack([1 - t, t], dim=1), name=line.name, **fields)
    if bend_rank is None:
        return curve
    return curve.with_points([curve.start, *of_rank(curve.bends, bend_rank), curve.end])


def of_rank(bends: Sequence[Adapter], rank: int) -> list[Adapter]:
    """Points of weights space with factors of one rank in every module they change.

    Of a higher rank the nearest of this one is taken (Eckart and Young 1936), and the point moves by the singular
    values that are left out. Of a lower rank `up` gets columns of 0, so that the point stays, and `down` random rows
    of the size of the others, so that gradients reach the columns: of two zeros neither would ever move. All bends get
    the same rows.

    Args:
        bends: The points.
        rank: Their rank.

    Raises:
        PathError: If an update has no factors.
    """
    filling: dict[tuple[str, int], LowRank] = {}
    generator = torch.Generator().manual_seed(_SEED)
    found = []
    for bend in bends:
        unfit = [name for name, update in bend.updates.items() if not update.low_rank]
        if unfit or not bend.updates:
            raise PathError(
                f"{bend.name} cannot get the rank {rank}",
                expected="ends whose updates are low-rank",
                got=f"no factors of {listed(unfit)}" if unfit else "no update of a matrix",
                remedy="give the bends yourself: BezierCurve([start, truncated(point.on(model), rank)[0], end])",
            )
        near = _nearest(bend, rank)
        updates = {
            name: _filled(name, near.get(name), update, rank, filling, generator)
            for name, update in sorted(bend.updates.items())
        }
        config = replace(bend.config, raw=combined_config(bend.config, updates))
        found.append(replace(bend, updates=updates, config=config, own=None))
    return found


def _nearest(bend: Adapter, rank: int) -> Mapping[str, Update]:
    """The updates of a bend that have at most a rank, as they are, and the nearest to the others."""
    high = {name: update for name, update in bend.updates.items() if update.rank > rank}
    kept = {name: update for name, update in bend.updates.items() if name not in high}
    return {**kept, **truncated(replace(bend, updates=high, own=None), rank)[0].updates} if high else kept


def _filled(
    name: str,
    near: Update | None,
    whole: Update,
    rank: int,
    filling: dict[tuple[str, int], LowRank],
    generator: torch.Generator,
) -> Update:
    """An update with columns of 0 over random rows up to a rank; None for an update that is 0."""
    missing = rank - (near.rank if near else 0)
    if missing == 0 and near:
        return near
    if (name, missing) not in filling:
        up, down = whole.factors()
        size = float(down.square().mean().sqrt()) or down.shape[1] ** -0.5
        rows = size * torch.randn(missing, down.shape[1], generator=generator)
        filling[name, missing] = LowRank(torch.zeros(len(up), missing), rows, 1.0, lookup=whole.lookup)
    fill = Update.of(filling[name, missing])
    return Update.combine((1.0, 1.0), (near, fill)) if near else fill


def _check_rank(rank: int, space: Space) -> None:
    """Raise unless the bends of a curve in a space can have a rank of their own."""
    check_count("as the rank of its bends", rank, least=1, remedy="give a rank such as 16, or none for r0 + r1")
    if space != "weights":
        raise PathError(
            f'bends in space="{space}" have no rank of their own',
            expected='bend_rank=None, or space="weights"',
            got=f"bend_rank={rank}",
            remedy="leave it out: there a bend has the shapes of the ends' tensors, and so their rank",
        )

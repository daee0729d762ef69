"""The points of a chain in common coordinates, each a vector: what AutoNEB moves."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import LowRank, Update
from modeconn.errors import FitError, listed
from modeconn.fitting.bends import Bend
from modeconn.models.trainable import Branch, Trainable
from modeconn.paths.chain import PolygonalChain


@dataclass(frozen=True, eq=False)
class Coordinates:
    """How a vector `[P]` is a point of a chain.

    Attributes:
        form: A point whose names, shapes and scalings all points of the chain have.
        keep_layout: Whether its tensors are those of the chain's points, as in factors space.
        heads: Saved modules that all points have, where the chain's policy says whose they are.
    """

    form: Bend
    keep_layout: bool
    heads: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, chain: PolygonalChain, device: torch.device) -> "tuple[Coordinates, torch.Tensor]":
        """Coordinates for a chain, and its control points in them, `[K, P]`.

        In factors space they are the points' own tensors. In weights space the distinct factors of all control points
        are put next to each other once, `up = [B_1 B_2 ...]`, and a point is `[c_1 s_1 A_1 ; c_2 s_2 A_2 ; ...]` under
        them, with c = 0 for factors that it does not have: exact, and of one rank for all, r_0 + r_1 for pivots
        on a line between two checkpoints. As long as points share `up`, straight is straight in weights space; between
        pivots p and q that have moved, a point in these coordinates is `a (1 - a) (B_q - B_p) (A_q - A_p)` off.

        Raises:
            FitError: If a point has an update without factors.
        """
        keep_layout = chain.space != "weights"
        heads = {} if chain.heads is None else {name: one.to(device) for name, one in chain.start.saved.items()}
        points = [replace(point, saved={}) for point in chain.points] if heads else chain.points
        bends = [Bend.of(point, device) for point in points] if keep_layout else _lifted(points, device)
        return cls(bends[0], keep_layout, heads), torch.stack([_packed(bend) for bend in bends])

    def bend(self, vector: torch.Tensor) -> Bend:
        """A vector `[P]` as a point; gradients reach the vector."""
        shapes = [tensor.shape for tensor in self.form.tensors]
        pieces = vector.split([shape.numel() for shape in shapes])
        return self.form.with_tensors([piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True)])

    def trainable(self, vector: torch.Tensor) -> Trainable:
        """A vector `[P]` as the function of a model."""
        bend = self.bend(vector)
        branches = {name: Branch(up, bend.scalings[name] * down) for name, (up, down) in bend.factors.items()}
        return Trainable(None, branches, {**self.heads, **bend.saved})

    def adapter(self, vector: torch.Tensor, like: Adapter, *, name: str) -> Adapter:
        """A vector `[P]` as an adapter of the base that `like` is of."""
        return self.bend(vector).point(like, name=name, keep_layout=self.keep_layout)


def _packed(bend: Bend) -> torch.Tensor:
    """A point as a vector, `[P]`."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in bend.tensors])


def _lifted(points: Sequence[Adapter], device: torch.device) -> list[Bend]:
    """Points with one set of factors `up`, and what each has under them as `down`."""
    names = sorted({name for point in points for name in point.updates})
    unfit = {name for point in points for name, update in point.updates.items() if not update.low_rank}
    if unfit or not (names or points[0].saved):
        raise FitError(
            f"the chain from {points[0].name} to {points[-1].name} has points without factors",
            expected="ends and pivots whose updates are low-rank",
            got=f"no factors of {listed(unfit)}" if unfit else "no update at all",
            remedy="fit a curve with bends of LoRA instead: fit_curve",
        )
    parts = {name: _distinct(point.updates.get(name) for point in points) for name in names}
    ups = {
        name: torch.cat([part.up for part in found], dim=1).to(device, torch.float32) for name, found in parts.items()
    }
    units, tables = dict.fromkeys(names, 1.0), frozenset(name for name in names if parts[name][0].lookup)
    bends = []
    for point in points:
        downs = {name: _under(found, point.updates.get(name)).to(device) for name, found in parts.items()}
        saved = {name: value.to(device) for name, value in sorted(point.saved.items())}
        bends.append(Bend({name: (ups[name], downs[name]) for name in names}, saved, units, tables))
    return bends


def _distinct(updates: Iterable[Update | None]) -> list[LowRank]:
    """The parts of some updates, each once."""
    return list({id(part): part for update in updates if update for part in update.low_rank}.values())


def _under(parts: Sequence[LowRank], update: Update | None) -> torch.Tensor:
    """An update as `down` under the `up` of all parts next to each other, `[R, columns]` float32."""
    pairs = zip(update.low_rank, update.coefficients, strict=True) if update else ()
    weights = {id(part): weight for part, weight in pairs}
    return torch.cat([weights.get(id(part), 0.0) * part.scaling * part.down.float() for part in parts])

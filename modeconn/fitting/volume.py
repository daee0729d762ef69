"""The volume of a simplex as a function of the corners that move."""

import math
from collections.abc import Sequence

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import FitError, listed
from modeconn.fitting.bends import Bend
from modeconn.paths.gram import centred

_FLAT = 1e-5  # of the volume that edges of these lengths could have: below, it may be what float32 rounds away


class Volume:
    """The volume of a simplex through which gradients reach its free corners.

    Args:
        corners: All n corners in order: a `Bend` moves, an `Adapter` does not.
        space: The coordinates: "weights" measures weight updates, the others the adapters' own tensors.
        device: Where the bends are.

    Raises:
        FitError: If an update of a corner has no factors.
    """

    def __init__(self, corners: Sequence[Bend | Adapter], *, space: str, device: torch.device) -> None:
        self._in_weights = space == "weights"
        self._corners = [one if isinstance(one, Bend) else _held(one, device) for one in corners]

    def gram(self) -> torch.Tensor:
        """Inner products of the corners as they are now, `[n, n]` float64.

        From the factors, `<U D, V E> = tr((U^T V)(E D^T))`: no dense update is formed.
        """
        size = range(len(self._corners))
        found = {(k, m): self._inner(self._corners[k], self._corners[m]) for k in size for m in size if k <= m}
        return torch.stack([found[min(k, m), max(k, m)] for k in size for m in size]).reshape(len(size), -1)

    def log(self) -> torch.Tensor:
        """The logarithm of the (n - 1)-dimensional volume, `[]` float64; minus infinity for none.

        `V = sqrt(det(E E^T)) / (n - 1)!` with the edges E from the first corner.
        """
        edges = centred(self.gram())[1:, 1:]  # [n - 1, n - 1]
        return torch.linalg.slogdet(edges)[1] / 2 - math.lgamma(len(self._corners))

    @property
    def is_flat(self) -> bool:
        """Whether the corners lie in fewer than n - 1 dimensions, up to rounding."""
        edges = centred(self.gram().detach())[1:, 1:]
        lengths = edges.diagonal().clamp(min=0.0).sqrt()
        if not (lengths > 0).all():
            return True
        sign, log = torch.linalg.slogdet(edges / torch.outer(lengths, lengths))
        return bool(sign <= 0) or float(log) / 2 < math.log(_FLAT)

    def _inner(self, one: Bend, other: Bend) -> torch.Tensor:
        """The inner product of two corners, `[]` float64."""
        total = torch.zeros((), dtype=torch.float64, device=one.tensors[0].device)
        for name in one.factors.keys() & other.factors.keys():
            (up, down), (other_up, other_down) = _double(one.factors[name]), _double(other.factors[name])
            if self._in_weights:
                scaling = one.scalings[name] * other.scalings[name]
                total = total + scaling * ((up.T @ other_up) * (down @ other_down.T)).sum()
            else:
                total = total + (up * other_up).sum() + (down * other_down).sum()
        for name in one.saved.keys() & other.saved.keys():
            total = total + (one.saved[name].double() * other.saved[name].double()).sum()
        return total


def _held(point: Adapter, device: torch.device) -> Bend:
    """A corner that does not move."""
    unfit = [name for name, update in point.updates.items() if not update.low_rank]
    if unfit:
        raise FitError(
            f"the volume of a simplex with the corner {point.name} has no gradient",
            expected="corners whose updates are low-rank",
            got=f"no factors of {listed(unfit)}",
            remedy="take corners of LoRA: truncated(point.on(model), rank)[0]",
        )
    bend = Bend.of(point, device)
    return bend.with_tensors([tensor.detach() for tensor in bend.tensors])


def _double(pair: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors in float64: near corners cancel."""
    return pair[0].double(), pair[1].double()

"""Inner products of points, one parameter at a time."""

from collections.abc import Sequence

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import BaseWeights, Update


def gram_matrix(points: Sequence[Adapter], base: BaseWeights | None = None) -> torch.Tensor:
    """`G[k, l] = <dW_k, dW_l>` summed over all parameters, saved modules included, `[K, K]` float64.

    From the factors where both updates have factors; else dense, one parameter at a time and then forgotten.

    Args:
        points: K points.
        base: The base's weights, for updates that are functions of them.

    Raises:
        AdapterError: If such an update is met and there is no base.
    """
    points = [point if base is None else point.within(base) for point in points]
    total = torch.zeros(len(points), len(points), dtype=torch.float64)
    for name in sorted({name for point in points for name in point.updates}):
        present = {
            k: _bound(point.updates[name], name, base) for k, point in enumerate(points) if name in point.updates
        }
        for k, first in present.items():
            for m, second in present.items():
                if k <= m:
                    total[k, m] += first.inner(second)
    for name in sorted({name for point in points for name in point.saved}):
        present = {k: point.saved[name].double() for k, point in enumerate(points) if name in point.saved}
        for k, first in present.items():
            for m, second in present.items():
                if k <= m:
                    total[k, m] += (first * second).sum()
    return total.triu() + total.triu(1).T


def gram_from_first(points: Sequence[Adapter]) -> torch.Tensor:
    """What `centred` makes of the Gram matrix, from the differences themselves, `[K, K]` float64.

    Raises:
        AdapterError: If a difference is a function of the base's weights.
    """
    return gram_matrix([point - points[0] for point in points])


def centred(gram: torch.Tensor) -> torch.Tensor:
    """Inner products of the points' differences from the first one, `[K, K]` from `[K, K]`.

    For rows that sum to 0 it serves as well as the Gram matrix, and does not carry the rounding of what the points have
    in common: between equal points all is exactly 0.
    """
    return gram - gram[:1] - gram[:, :1] + gram[0, 0]


def _bound(update: Update, name: str, base: BaseWeights | None) -> Update:
    """An update that no longer needs the base, where it did and there is one."""
    if base is None or not update.needs_base:
        return update
    return update.on(base.weight(name), transposed=base.transposed(name))

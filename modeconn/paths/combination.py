"""Points in the span of a path's control points, in the path's coordinates."""

from collections.abc import Sequence

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.update import BaseWeights
from modeconn.errors import PathError
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.path import Path, Space


def spanning(
    points: Sequence[Adapter], *, space: Space, base: BaseWeights | None = None, name: str | None = None
) -> PolygonalChain:
    """The chain through points, which checks that they can be combined and knows their inner products.

    Args:
        points: Two points or more.
        space: The coordinates.
        base: The base's weights, where updates are functions of them.
        name: The chain's name.

    Raises:
        PathError: If there are fewer than two points, or they cannot be combined in the space.
    """
    chain = PolygonalChain(points, space=space, name=name)
    return chain if base is None else chain.on(base)


def combination(path: Path, row: torch.Tensor, *, name: str) -> Adapter:
    """The combination of a path's control points with coefficients `[K]`; a control point is returned as it is."""
    return path.point(row.double(), name)


def gram_with(path: Path, other: Adapter) -> torch.Tensor:
    """The Gram matrix of a path's control points and one point more, `[K + 1, K + 1]`, float64.

    Raises:
        PathError: If the point cannot be combined with the others, or only in another gauge than theirs.
    """
    gram = finite_gram(spanning([*path.points, other], space=path.space, base=path.base))
    # Aligned factors are aligned anew, each point to the first: bends that have moved since do not stay where they are.
    if not torch.allclose(gram[:-1, :-1], path.gram, rtol=0.0, atol=1e-4 * float(path.gram.diagonal().max())):
        raise PathError(
            f"{other.name} cannot be brought into the gauge of the path {path.name!r}",
            expected="control points that are aligned with the first one",
            got="bends that are not",
            remedy='compare them in space="weights", which knows no gauge',
        )
    return gram


def finite_gram(path: Path) -> torch.Tensor:
    """A path's Gram matrix, `[K, K]`.

    Raises:
        PathError: If it holds NaN or infinity; the message names the points.
    """
    broken = [p.name for p, square in zip(path.points, path.gram.diagonal(), strict=True) if not square.isfinite()]
    if broken:
        raise PathError(
            "distances between points are not finite",
            expected="points of finite numbers",
            got=f"NaN or infinity in {', '.join(broken)}",
            remedy="leave out the checkpoint that diverged",
        )
    return path.gram

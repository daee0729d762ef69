"""How much of an update lies in the largest and in the smallest singular directions of the base's weight."""

from dataclasses import dataclass

import torch

from modeconn.adapters.part import BaseWeights
from modeconn.geometry.comparison import held
from modeconn.geometry.decomposition import Decomposition


@dataclass(frozen=True, eq=False)
class BaseDirections:
    """The singular directions of one weight of the base, float64, in the orientation of the changes.

    Attributes:
        weight: `W_0`, `[rows, columns]`.
        left: All its left singular vectors, `[rows, m]`, m the smaller side; the largest singular value first.
        right: Its right ones, `[columns, m]`.
    """

    weight: torch.Tensor
    left: torch.Tensor
    right: torch.Tensor

    @classmethod
    def of(cls, weight: torch.Tensor) -> "BaseDirections":
        """Decompose a weight, `[rows, columns]`; the time grows with the third power of its smaller side."""
        left, _, right = torch.linalg.svd(weight.double(), full_matrices=False)
        return cls(weight.double(), left, right.T)

    def shares(self, change: Decomposition, count: int) -> dict[str, float]:
        """The shares of a change's squared norm in the base's `count` first and last singular directions.

        PiSSA (arXiv 2404.02948) trains the first, MiLoRA (2406.09044) the last. The last are the last of the m
        directions that the weight has: what it maps to 0 because it is not square belongs to neither.

        Args:
            change: The change.
            count: How many directions; at most m.

        Returns:
            `top_columns`, `bottom_columns` (of outputs) and `top_rows`, `bottom_rows` (of inputs), each in [0, 1], and
            what a change in random directions would have, `columns_by_chance` and `rows_by_chance`.
        """
        count, total = min(count, self.left.shape[1]), change.square
        found = {}
        for name, side, basis in (("columns", "left", self.left), ("rows", "right", self.right)):
            found[f"top_{name}"] = held(change, basis[:, :count], side) / total
            found[f"bottom_{name}"] = held(change, basis[:, -count:], side) / total
            found[f"{name}_by_chance"] = count / basis.shape[0]
        return found


def base_matrices(parameter: str, base: BaseWeights) -> dict[str, torch.Tensor]:
    """A parameter of the base as matrices by name, cut and turned as `matrices_of` does it with a change.

    Args:
        parameter: The parameter's name.
        base: The base's weights.

    Returns:
        Nothing of a parameter that the base lacks; a vector as `[n, 1]`.
    """
    if not base.has(parameter):
        return {}
    weight = base.weight(parameter).detach()
    if weight.ndim == 1:
        return {parameter: weight[:, None]}
    if base.transposed(parameter):
        weight = weight.mT
    if weight.ndim == 3 and "experts" in parameter:
        return {f"{parameter}[{number}]": one for number, one in enumerate(weight)}
    return {parameter: weight.flatten(1)}

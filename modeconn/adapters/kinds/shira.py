"""SHiRA: a few entries of the update at fixed places."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfSize
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_rank
from modeconn.adapters.update import needs_base
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_VALUES, _PLACES = ".shira_weight", ".shira_indices"


@dataclass(frozen=True, eq=False)
class Sparse(OfSize):
    """An update that is zero but for a few entries.

    SHiRA (Bhardwaj 2024, arXiv 2406.13175).

    Attributes:
        values: The entries, `[n]`, float32.
        places: Their rows and columns, `[2, n]`, whole numbers.
    """

    values: torch.Tensor
    places: torch.Tensor

    @property
    def is_zero(self) -> bool:
        """Whether all entries are 0."""
        return not self.values.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The entries at their places, 0 elsewhere.

        Raises:
            AdapterError: If a place is outside of the matrix.
        """
        if base is None:
            raise needs_base("SHiRA")
        rows, columns = self.places.to(base.device).long()
        if int(rows.max()) >= base.shape[0] or int(columns.max()) >= base.shape[1]:
            raise AdapterError(
                "an update of SHiRA does not fit the base model",
                expected=f"places within a weight {list(base.shape)}",
                got=f"rows up to {int(rows.max())} and columns up to {int(columns.max())}",
                remedy="give the base that the adapter was trained on",
            )
        return torch.zeros_like(base).index_put_((rows, columns), self.values.to(base), accumulate=True)


def read_shira(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a SHiRA file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape that does not fit.
    """

    def part(unread: Unread, module: str) -> Sparse:
        found = {name[1:]: unread.take(module, name) for name in (_VALUES, _PLACES)}
        values, places = found.values()
        if values.ndim != 1 or tuple(places.shape) != (2, len(values)) or (places < 0).any():
            raise misfit(config, module, "shira_weight [n] and shira_indices [2, n], none negative", found)
        return Sparse(values, places)

    expected = "shira_weight and shira_indices of each module"
    return read_per_module(Unread(tensors, config), (_VALUES,), part, expected)


SHIRA = Kind(
    "SHIRA",
    read_shira,
    # How the places were chosen: they are in the file.
    frozenset({"fan_in_fan_out", "init_weights", "mask_type", "r", "random_seed"}),
    fits={"r": is_rank},
    constants=(_PLACES,),
)

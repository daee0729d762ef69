"""FourierFT: a few entries of the spectrum of the update."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfSize
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_number, is_pattern, is_rank
from modeconn.adapters.update import needs_base
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


@dataclass(frozen=True, eq=False)
class Spectrum(OfSize):
    """An update whose two-dimensional spectrum is zero but for a few entries at random places.

    FourierFT (Gao 2024, arXiv 2405.03003): `dW = s Re(ifft2(F))`. The places depend on the seed and on the number of
    entries of the matrix, which only the base knows.

    Attributes:
        values: The entries of F, `[n]`, float32.
        seed: Where the places come from.
        scaling: The factor s, no unit.
    """

    values: torch.Tensor
    seed: int
    scaling: float

    @property
    def is_zero(self) -> bool:
        """Whether all entries are 0."""
        return not self.values.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s Re(ifft2(F))`, computed in float32 as PEFT does in models of every dtype.

        Raises:
            AdapterError: If the matrix has fewer entries than the spectrum.
        """
        if base is None:
            raise needs_base("FourierFT")
        rows, columns = base.shape
        if len(self.values) > rows * columns:
            raise AdapterError(
                "a spectrum of FourierFT does not fit the base model",
                expected=f"at most {rows * columns} entries, those of a weight [{rows}, {columns}]",
                got=f"{len(self.values)}",
                remedy="give the base that the adapter was trained on",
            )
        places = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(self.seed))[: len(self.values)]
        spectrum = torch.zeros(rows * columns, device=base.device)
        spectrum[places.to(base.device)] = self.values.to(base.device)
        return (torch.fft.ifft2(spectrum.reshape(rows, columns)).real * self.scaling).to(base.dtype)


def read_fourier(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a FourierFT file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or is not a vector.
    """

    def part(unread: Unread, module: str) -> Spectrum:
        values = unread.take(module, ".fourierft_spectrum")
        if values.ndim != 1:
            raise misfit(config, module, "a vector fourierft_spectrum [n]", {"fourierft_spectrum": values})
        return Spectrum(values, config.raw.get("random_loc_seed", 777), float(config.raw.get("scaling", 150.0)))

    return read_per_module(
        Unread(tensors, config), (".fourierft_spectrum",), part, "a fourierft_spectrum of each module"
    )


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the entries decides the update."""
    return {"random_loc_seed": config.raw.get("random_loc_seed", 777), "scaling": config.raw.get("scaling", 150.0)}


FOURIERFT = Kind(
    "FOURIERFT",
    read_fourier,
    # How many entries a module has is seen in the tensors.
    frozenset(
        {"bias", "fan_in_fan_out", "init_weights", "n_frequency", "n_frequency_pattern", "random_loc_seed", "scaling"}
    ),
    fits={
        "bias": is_bias,
        "n_frequency": is_rank,
        "n_frequency_pattern": lambda value: is_pattern(value, is_rank),
        "random_loc_seed": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "scaling": is_number,
    },
    scalings=_scalings,
)

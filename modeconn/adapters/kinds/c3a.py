"""C3A: updates made of circulant blocks."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_pattern, is_rank
from modeconn.adapters.part import Part

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


@dataclass(frozen=True, eq=False)
class Circulant(Part):
    """Square blocks, each row of which is the one above it moved on by one place.

    C3A (Chen 2024, arXiv 2407.19342): `dW_oi[a, c] = w_oi[(c - a) mod b] / in` for the block in row o and column i.

    Attributes:
        kernels: The w, `[out / b, in / b, b]`.
    """

    kernels: torch.Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        rows, columns, size = self.kernels.shape
        return rows * size, columns * size

    @property
    def is_zero(self) -> bool:
        """Whether all kernels are zero."""
        return not self.kernels.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The blocks side by side; by gathering, where PEFT goes through Fourier space and back in float32."""
        kernels = self.kernels if base is None else self.kernels.to(base.device, base.dtype)
        places = torch.arange(kernels.shape[2], device=kernels.device)
        blocks = kernels[:, :, (places[None, :] - places[:, None]) % len(places)]  # [o, i, b, b]
        return blocks.permute(0, 2, 1, 3).reshape(self.shape) / self.shape[1]


def read_c3a(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a C3A file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is left over, or of a shape or block size that does not fit.
    """

    def part(unread: Unread, module: str) -> Circulant:
        kernels = unread.take(module, ".c3a_kernel")
        size = config.by_pattern("block_size_pattern", module, config.raw.get("block_size", 256))
        if kernels.ndim != 3 or kernels.shape[2] != size:
            expected = f"c3a_kernel [out / b, in / b, b] with b = {size}"
            raise misfit(config, module, expected, {"c3a_kernel": kernels}, most=3)
        return Circulant(kernels)

    return read_per_module(Unread(tensors, config), (".c3a_kernel",), part, "a c3a_kernel of each module")


C3A = Kind(
    "C3A",
    read_c3a,
    frozenset({"bias", "block_size", "block_size_pattern", "init_weights"}),
    fits={"bias": is_bias, "block_size": is_rank, "block_size_pattern": lambda value: is_pattern(value, is_rank)},
)

"""LoRA of a convolution."""

from dataclasses import dataclass

import torch

from modeconn.adapters.part import Part


@dataclass(frozen=True, eq=False)
class Convolution(Part):
    """The change of a kernel, `dW[o, i, ...] = s sum_r B[o, r] A[r, i, ...]`: a convolution to r channels, and on.

    Attributes:
        up: B, `[out, r]`, float32.
        down: A, `[r, in, ...]` with the extents of the kernel, float32.
        scaling: The factor s.
    """

    up: torch.Tensor
    down: torch.Tensor
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in, ...]`."""
        return self.up.shape[0], *self.down.shape[1:]

    @property
    def stored(self) -> bool:
        """True: kernels have one orientation."""
        return True

    @property
    def is_zero(self) -> bool:
        """Whether one of the factors is zero."""
        return not (self.up.any() and self.down.any())

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The change of the kernel."""
        up, down = (value if base is None else value.to(base.device, base.dtype) for value in (self.up, self.down))
        return self.scaling * (up @ down.flatten(1)).reshape(self.shape)

"""Linear layers by oneDNN on a CPU, which multiplies float32 matrices faster than torch's own choice.

The functions are private ones of torch. Where they are missing, or give other numbers, nothing changes.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_FEWEST = 2**20  # multiplications, below which the choice does not matter


@contextmanager
def fast_linear() -> Iterator[None]:
    """A context in which linear layers of float32 weights on a CPU are multiplied by oneDNN; no model is changed."""
    if not _serves():
        yield
        return
    with LinearCalls(_fits, _product):
        yield


class LinearCalls(TorchFunctionMode):
    """Takes the calls of `linear`, and of `addmm` as GPT-2's layers make them.

    Args:
        fits: Whether a call is taken, by what it reads, its weight `[out, in]` and its bias or None.
        product: What stands for it.
    """

    def __init__(self, fits: Callable[..., bool], product: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self._fits, self._product = fits, product

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None  # noqa: ANN401
    ) -> Any:  # noqa: ANN401  # fmt: skip
        call = None
        if func is functional.linear and not kwargs:
            call = args[0], args[1], args[2] if len(args) > 2 else None
        elif func is torch.addmm and not kwargs and args[0].ndim == 1:
            call = args[1], args[2].T, args[0]
        if call is not None and self._fits(*call):
            return self._product(*call)
        return func(*args, **(kwargs or {}))


def _fits(read: Any, weight: Any, bias: Any = None) -> bool:  # noqa: ANN401
    """Whether a product is one of plain float32 matrices on a CPU, large enough, and needs no gradient."""
    given = [read, weight] if bias is None else [read, weight, bias]
    return (
        not torch.is_grad_enabled()
        and all(type(one) in (torch.Tensor, torch.nn.Parameter) for one in given)
        and all(one.dtype == torch.float32 and one.device.type == "cpu" for one in given)
        and is_large(read, weight)
        and not torch.is_autocast_enabled("cpu")
    )


def is_large(read: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether a product of `[..., in]` and `[out, in]` is so large that it matters how it is made."""
    return weight.ndim == 2 and read.ndim > 1 and read.numel() * weight.numel() >= _FEWEST * read.shape[-1]


def _product(read: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`x W^T + b`, `[..., in] -> [..., out]`."""
    return torch.ops.mkldnn._linear_pointwise(read, weight, bias, "none", [], "")


@cache
def _serves() -> bool:
    """Whether torch has the function here, and its numbers are those of `linear`."""
    tokens = torch.Generator().manual_seed(0)
    read, weight, bias = (torch.randn(size, generator=tokens) for size in ((2, 8, 12), (10, 12), (10,)))
    try:
        found = [
            _product(read, one, each) - functional.linear(read, one, each)
            for one in (weight, weight.T.contiguous().T)
            for each in (bias, None)
        ]
    except (RuntimeError, AttributeError, TypeError):  # not built in, not there, or of another signature
        return False
    return all(float(one.abs().max()) < 1e-5 for one in found)

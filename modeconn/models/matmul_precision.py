"""Products of float32 matrices, rounded where that is declared; weights, residual stream, norms and loss are not."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from modeconn.errors import ModelError, listed
from modeconn.models.family import reads_packed
from modeconn.models.fast_linear import LinearCalls, fast_linear, is_large
from modeconn.models.point_model import PointModel

MatmulPrecision = Literal["float32", "tf32", "bfloat16"]
_EPS = {"tf32": 2.0**-10, "bfloat16": torch.finfo(torch.bfloat16).eps}


def check_matmul_precision(precision: str, *, dtype: torch.dtype, device: torch.device) -> None:
    """Raise unless products can be rounded in this way.

    Args:
        precision: "float32", "tf32" or "bfloat16".
        dtype: That of the model's weights.
        device: Where the model lives.

    Raises:
        ModelError: If the name is unknown, the weights are not float32, or the device has no tf32.
    """
    if precision not in get_args(MatmulPrecision):
        raise ModelError(
            f"unknown precision of matrix products: {precision!r}",
            expected=f"one of {listed(get_args(MatmulPrecision))}",
            got=repr(precision),
            remedy='use matmul_precision="float32" (--matmul-precision float32), which rounds nothing',
        )
    if precision == "float32":
        return
    if dtype != torch.float32:
        raise ModelError(
            f"products in {precision} are made of float32 weights",
            expected="dtype float32, in which everything else is computed",
            got=str(dtype).removeprefix("torch."),
            remedy="leave --dtype or --matmul-precision out: weights in bfloat16 are multiplied in it anyway",
        )
    if precision == "tf32" and device.type != "cuda":
        raise ModelError(
            "tf32 is a format of CUDA devices",
            expected="a model on a CUDA device",
            got=str(device),
            remedy='use "bfloat16", or leave products in float32',
        )


def products(model: PointModel, module: nn.Module) -> AbstractContextManager[None]:
    """A context in which a module multiplies as its model says; no weight is changed.

    "bfloat16" rounds factors and results of large products of float32 linear layers, the head's excepted; "tf32" the
    factors of all products on a CUDA device.

    Args:
        model: Says how exactly.
        module: The module at a point. One that is a reference, in float32, is left to torch.
    """
    precision = precision_of(model)
    if precision == "bfloat16":
        return _in_bfloat16(module)
    if precision == "tf32":
        return _in_tf32()
    return fast_linear() if reads_packed(module) else nullcontext()


def precision_of(model: PointModel) -> MatmulPrecision:
    """How a model multiplies; "float32" for models that have no such choice."""
    return getattr(model, "matmul_precision", "float32")


def rounds(model: PointModel) -> bool:
    """Whether a model rounds its products."""
    return precision_of(model) != "float32"


def exact_products(model: PointModel) -> PointModel:
    """The model with its products in float32, of the same weights; itself where nothing is rounded."""
    return model if not rounds(model) else replace(model, matmul_precision="float32")  # type: ignore[type-var]


def rounding_of(model: PointModel) -> float:
    """The distance from 1 to the next number in which the model multiplies."""
    return _EPS.get(precision_of(model), torch.finfo(model.dtype).eps)


@contextmanager
def _in_tf32() -> Iterator[None]:
    """Torch's own setting, for a while."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def _in_bfloat16(module: nn.Module) -> Iterator[None]:
    """Large products of linear layers in bfloat16, read and given in float32; the head's stay exact.

    Rounded logits alone would move the loss more than all layers below.
    """
    head = getattr(module, "get_output_embeddings", lambda: None)()
    with LinearCalls(partial(_fits, getattr(head, "weight", None)), _product):
        yield


def _fits(kept: torch.Tensor | None, read: Any, weight: Any, bias: Any) -> bool:  # noqa: ANN401, ARG001
    """Whether a product is a large one of plain float32 matrices, and not of the weight that is kept exact."""
    return (
        weight is not kept
        and all(type(one) in (torch.Tensor, nn.Parameter) and one.dtype == torch.float32 for one in (read, weight))
        and is_large(read, weight)
    )


def _product(read: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """`x W^T + b` of rounded x and W, `[..., in] -> [..., out]` float32; the sum with b is not rounded."""
    found = functional.linear(read.bfloat16(), weight.bfloat16()).float()
    return found if bias is None else found + bias

"""The change of a parameter as matrices in one orientation, held as factors wherever there are factors."""

from dataclasses import dataclass

import torch

from modeconn.adapters.kinds.convolution import Convolution
from modeconn.adapters.kinds.fused import Fused
from modeconn.adapters.kinds.lora_files import one_convolution, one_fused
from modeconn.adapters.part import BaseWeights
from modeconn.adapters.update import Update

_PIECE = 4096  # entries that are formed at once: what fits into the cache takes a third of the time


@dataclass(frozen=True, eq=False)
class Matrix:
    """One matrix of a change, `[out, in]` as in `torch.nn.Linear`; of an embedding `[tokens, dim]`.

    Attributes:
        up: `[rows, R]`, or the whole matrix where there are no factors; float64.
        down: `[R, columns]` float64, or None.
        is_vector: Whether it is a bias or a norm, `[n, 1]`, which has a size and a direction but no subspaces.
    """

    up: torch.Tensor
    down: torch.Tensor | None = None
    is_vector: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.up.shape[0], (self.up if self.down is None else self.down).shape[1]

    def dense(self) -> torch.Tensor:
        """The matrix itself, `[rows, columns]`."""
        return self.up if self.down is None else self.up @ self.down

    def entries(self, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Some of its entries, `[E], [E] -> [E]`; a product of factors is formed for these alone."""
        if self.down is None:
            return self.up[rows, columns]
        across = self.down.T.contiguous()  # [columns, R]: what is gathered lies in one piece
        pieces = zip(rows.split(_PIECE), columns.split(_PIECE), strict=True)
        return torch.cat([(self.up[i] * across[j]).sum(dim=1) for i, j in pieces])  # [E, R] -> [E]


def matrices_of(parameter: str, update: Update, base: BaseWeights | None = None) -> dict[str, Matrix]:
    """The change of one parameter as matrices by name.

    A stack of experts is one matrix for each, `name[0]`, `name[1]`, ...; a kernel `[out, in, ...]` is a matrix with as
    many rows as it has outputs; a vector is a matrix of one column.

    Args:
        parameter: The parameter's name.
        update: Its change.
        base: The base's weights: for changes that are functions of them, and for how the model stores the parameter.

    Raises:
        AdapterError: If the change is a function of the base's weight, and there is no base.
    """
    there = base is not None and base.has(parameter)
    transposed = base is not None and there and base.transposed(parameter)
    if base is not None and there and update.needs_base:
        update = update.within(base, parameter).on(base.weight(parameter), transposed=transposed)
    turned = transposed and update.stored  # without a base, what is stored as [in, out] cannot be told
    if update.low_rank:
        up, down = update.factors(dtype=torch.float64)
        return {parameter: Matrix(up, down)}
    if all(isinstance(part, Fused) for part in update.parts):
        return _of_experts(parameter, one_fused(update, unit=1.0), turned=turned)
    if all(isinstance(part, Convolution) for part in update.parts):
        kernel = one_convolution(update, unit=1.0)
        return {parameter: Matrix(kernel.up.double(), kernel.down.flatten(1).double())}
    return _of_dense(parameter, update.dense().double(), turned=turned)


def _of_experts(parameter: str, experts: Fused, *, turned: bool) -> dict[str, Matrix]:
    """The factors of a stack of experts, `[E, out, r]` and `[E, r, in]`, or of one matrix as the model stores it."""
    up, down = experts.up.double(), experts.down.double()
    if up.ndim == 2:
        return {parameter: Matrix(down.T, up.T) if turned else Matrix(up, down)}
    return {f"{parameter}[{number}]": Matrix(up[number], down[number]) for number in range(len(up))}


def _of_dense(parameter: str, change: torch.Tensor, *, turned: bool) -> dict[str, Matrix]:
    """A dense change of any shape."""
    if change.ndim == 1:
        return {parameter: Matrix(change[:, None], is_vector=True)}
    if change.ndim == 3 and "experts" in parameter:
        change = change.mT if turned else change
        return {f"{parameter}[{number}]": Matrix(one) for number, one in enumerate(change)}
    flat = change.flatten(1)
    return {parameter: Matrix(flat.T if turned and change.ndim == 2 else flat)}

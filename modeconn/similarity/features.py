"""Two matrices of features as centred tensors, checked: what cannot be compared is refused with its reason."""

import numpy as np
import torch

from modeconn.errors import EvaluationError
from modeconn.models.finite import check_finite

Features = torch.Tensor | np.ndarray
LEAST_EXAMPLES = 4  # below, the debiased estimate divides by zero


def centred_pair(x: Features, y: Features) -> tuple[torch.Tensor, torch.Tensor]:
    """Both matrices with their column means taken off and a Frobenius norm of 1, in float64.

    Args:
        x: `[N, P]`, one row an example.
        y: `[N, Q]`, the same examples in the same order.

    Raises:
        EvaluationError: If there are fewer than 4 examples, different numbers of them, values that are not finite, or
            features that are the same for all examples.
    """
    first, second = as_rows(x, "x"), as_rows(y, "y")
    if len(first) != len(second):
        raise EvaluationError(
            "features of different examples cannot be compared",
            expected="as many rows in x as in y: the same examples in the same order",
            got=f"{len(first)} rows and {len(second)} rows",
            remedy="compute both on the same inputs",
        )
    return _unit(first, "x"), _unit(second, "y")


def as_rows(values: Features, name: str) -> torch.Tensor:
    """A matrix as a tensor on its own device.

    Raises:
        EvaluationError: If it is no matrix, has fewer than 4 rows, or holds NaN or infinity.
    """
    rows = values.detach() if isinstance(values, torch.Tensor) else _from_numpy(values, name)
    if rows.ndim != 2 or 0 in rows.shape or rows.is_complex():
        raise _no_matrix(name, f"shape {list(rows.shape)}, {rows.dtype}")
    rows = rows.float() if rows.dtype == torch.bool else rows
    if len(rows) < LEAST_EXAMPLES:
        raise EvaluationError(
            f"too few examples to compare the features {name}",
            expected=f"{LEAST_EXAMPLES} examples or more",
            got=str(len(rows)),
            remedy="take more examples: some hundred for an interval that says something",
        )
    check_finite(rows, f"the features {name}")
    return rows


def _from_numpy(values: object, name: str) -> torch.Tensor:
    """What numpy reads as an array, tables and lists too; copied where torch takes none: read-only, or backwards."""
    array = np.asarray(values)
    if array.dtype.kind not in "biufc":
        raise _no_matrix(name, f"shape {list(array.shape)}, {array.dtype}")
    if array.dtype.kind == "f" and array.dtype not in (np.float16, np.float32, np.float64):
        array = array.astype(np.float64)  # of another byte order, or longer
    plain = array.flags.writeable and all(stride >= 0 for stride in array.strides)
    return torch.from_numpy(array if plain else array.copy())


def _no_matrix(name: str, got: str) -> EvaluationError:
    """The error for what holds no features."""
    return EvaluationError(
        f"the features {name} cannot be compared",
        expected="a matrix of real numbers [N, D], one row an example",
        got=got,
        remedy="pool or flatten what belongs to one example: features.reshape(len(features), -1)",
    )


def centred(rows: torch.Tensor) -> torch.Tensor:
    """Rows `[..., N, P]` in float64 without their columns' means; a device without float64 hands them to the CPU."""
    wide = (rows.cpu() if rows.device.type == "mps" else rows).double()
    return wide - wide.mean(-2, keepdim=True)


def is_constant(rows: torch.Tensor, without_mean: torch.Tensor) -> bool:
    """Whether all rows are the same but for rounding.

    Args:
        rows: `[N, P]`, in the precision in which they were computed.
        without_mean: The same, centred in float64.
    """
    precision = torch.finfo(rows.dtype).eps if rows.is_floating_point() else 0.0
    largest = float(rows.abs().max())
    return float(without_mean.abs().max()) <= 8 * min(precision, torch.finfo(torch.float32).eps) * largest


def _unit(rows: torch.Tensor, name: str) -> torch.Tensor:
    """Centred rows of Frobenius norm 1: no measure here depends on scale, and products cannot overflow."""
    without_mean = centred(rows)
    if is_constant(rows, without_mean):
        raise EvaluationError(
            f"the features {name} are constant",
            expected="features that differ between examples",
            got=f"{len(rows)} rows that are all the same",
            remedy="look where they were taken: at the embedding, the last token is often the same for all prompts",
        )
    without_mean = without_mean / without_mean.abs().max()  # squares of tiny numbers would vanish
    return without_mean / without_mean.norm()

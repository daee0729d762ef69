"""Two folders of base models: whether they hold one model, in whatever files and precision."""

from enum import Enum
from functools import lru_cache
from pathlib import Path

import torch

from modeconn.adapters.shards import MODEL_FILES, OLD_MODEL_FILES, has_full_model, open_shards
from modeconn.adapters.stored import StoredTensor, stamp_of
from modeconn.errors import AdapterError

_PIECE = 1 << 22  # elements that are compared at once
_Stamps = tuple[tuple[str, int, int], ...]


class Sameness(Enum):
    """What two folders hold."""

    ONE = "the same numbers"
    ROUNDED = "one model in two precisions"
    DIFFERENT = "different numbers"
    UNKNOWN = "not known"


def compared(folder: Path, other: Path) -> Sameness:
    """Compare the weights of two folders, tensor by tensor and in pieces, up to the first difference.

    Files, their order and dtypes do not count: numbers are equal if they are after widening. A model and its copy in a
    narrower dtype are told apart from two models, because a base that was rounded is another function, though a near
    one.

    Args:
        folder: One; it need not exist.
        other: The other.

    Returns:
        `UNKNOWN` where one is not there, or cannot be read.
    """
    one, two = folder.expanduser().resolve(), other.expanduser().resolve()
    if not (has_full_model(one) and has_full_model(two)):
        return Sameness.UNKNOWN
    return Sameness.ONE if one == two else _compared(one, two, _stamps(one), _stamps(two))


def _stamps(folder: Path) -> _Stamps:
    """Names, sizes and times of change of a folder's weights."""
    files = {file for pattern in (*MODEL_FILES, *OLD_MODEL_FILES) for file in folder.glob(pattern)}
    return tuple((file.name, *stamp_of(file)) for file in sorted(files))


@lru_cache(maxsize=32)  # every point of a path asks again
def _compared(folder: Path, other: Path, stamps: _Stamps, others: _Stamps) -> Sameness:  # noqa: ARG001
    """The comparison itself, of files as they were at these times."""
    try:
        here, there = open_shards(folder), open_shards(other)
        if {n: t.shape for n, t in here.items()} != {n: t.shape for n, t in there.items()}:
            return Sameness.DIFFERENT
        found = Sameness.ONE
        for name in sorted(here):
            same = _tensors(here[name], there[name])
            if same is Sameness.DIFFERENT:
                return same
            found = Sameness.ROUNDED if same is Sameness.ROUNDED else found
        return found
    except AdapterError:  # told where the base is opened
        return Sameness.UNKNOWN


def _tensors(one: StoredTensor, two: StoredTensor) -> Sameness:
    """Two tensors of one shape."""
    found = Sameness.ONE
    for start in range(0, one.numel, _PIECE):
        stop = min(start + _PIECE, one.numel)
        first, second = one.stretch(start, stop), two.stretch(start, stop)
        wide = torch.promote_types(first.dtype, second.dtype)
        if torch.equal(first.to(wide), second.to(wide)):
            continue
        if not _is_rounded(first, second):
            return Sameness.DIFFERENT
        found = Sameness.ROUNDED
    return found


def _is_rounded(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Whether one holds the other's numbers rounded to its own dtype."""
    if first.dtype == second.dtype:
        return False
    return torch.equal(first, second.to(first.dtype)) or torch.equal(first.to(second.dtype), second)

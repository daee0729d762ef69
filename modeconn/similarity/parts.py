"""A minibatch dealt out into parts in which every row is another example's, and the HSIC terms of the parts."""

from collections.abc import Sequence

import torch

from modeconn.similarity.features import centred
from modeconn.similarity.hsic import u_centred

_TURNS = 2  # of the longest example's rows: each meets so many rows of every other; more cost more and tell little


def dealt(
    number: int, lengths: Sequence[int] | None, *, max_rows: int, generator: torch.Generator
) -> list[torch.Tensor]:
    """Which rows go into which parts.

    Of an example with several rows each part holds one, drawn without repetition until all have had their turn: there
    are twice as many parts as the longest example has rows, and in each every example counts once.

    Args:
        number: Rows in all, n.
        lengths: Rows of every example, one example after the other; None where each row is an example.
        max_rows: Of a part.
        generator: Of the dealing.

    Returns:
        Numbers of rows, `[P, m]` each, parts of one size together, so many that their Gram matrices take no more room
        than that of `max_rows` rows.
    """
    if lengths is None and number <= max_rows:
        return [torch.arange(number)[None]]  # nothing to deal out
    table = torch.arange(number)[None] if lengths is None else _turns(lengths, generator)  # [P, examples]
    count = table.shape[1]
    columns = torch.randperm(count, generator=generator) if count > max_rows else torch.arange(count)
    groups = columns.tensor_split(-(-count // max_rows))
    return [part for one in groups for part in table[:, one].split(max(1, max_rows**2 // len(one) ** 2))]


def _turns(lengths: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    """For each part, one row of each example, `[P, examples]`."""
    count, first, columns = _TURNS * max(lengths), 0, []
    for length in lengths:
        rounds = [torch.randperm(length, generator=generator) for _ in range(-(-count // length))]
        columns.append(first + torch.cat(rounds)[:count])
        first += length
    return torch.stack(columns, 1)


def terms_of_parts(
    sides: Sequence[Sequence[torch.Tensor]], parts: Sequence[torch.Tensor], *, matched: bool
) -> dict[str, torch.Tensor]:
    """HSIC of all pairs, debiased and biased, averaged over the parts.

    Args:
        sides: The features and the reference's, one `[n, D]` for each site.
        parts: From `dealt`.
        matched: Only pairs in the same place, instead of all.

    Returns:
        `xx` `[S]`, `yy` `[S']`, `xy` `[S, S']` (`[S]` where matched), and the same with ` biased`.
    """
    found = [_terms([[_chosen(rows, part) for rows in side] for side in sides], matched=matched) for part in parts]
    count = sum(len(part) for part in parts)
    return {key: torch.stack([one[key] for one in found]).sum(0) / count for key in found[0]}


def _chosen(rows: torch.Tensor, part: torch.Tensor) -> torch.Tensor:
    """The rows of some parts, `[P, m, D]`; not copied where they are all in one, whose order does not matter."""
    return rows[None] if part.shape == (1, len(rows)) else rows[part]


def _terms(sides: Sequence[Sequence[torch.Tensor]], *, matched: bool) -> dict[str, torch.Tensor]:
    """Sums over P parts of one size; a side is one `[P, m, D]` for each site."""
    grams = [torch.stack([rows @ rows.mT for rows in map(centred, side)]) for side in sides]  # [S, P, m, m] each
    number = grams[0].shape[-1]
    diagonals = [gram.diagonal(dim1=-2, dim2=-1).clone() for gram in grams]  # [S, P, m]
    rows = [u_centred(gram).flatten(1) for gram in grams]  # [S, P m^2]
    found = {}
    for key, a, b in (("xx", 0, 0), ("yy", 1, 1), ("xy", 0, 1)):
        grid = key == "xy" and not matched
        inner = _inner(rows[a], rows[b], grid=grid)
        itself = _inner(diagonals[a].flatten(1), diagonals[b].flatten(1), grid=grid) * number / (number - 2)
        traces = _inner(diagonals[a].sum(-1), diagonals[b].sum(-1), grid=grid) / ((number - 1) * (number - 2))
        found[key] = inner / (number * (number - 3))
        found[f"{key} biased"] = (inner + itself - traces) / (number - 1) ** 2  # what debiasing takes off is put back
    return found


def _inner(a: torch.Tensor, b: torch.Tensor, *, grid: bool) -> torch.Tensor:
    """Inner products of all rows of two matrices, or of those in the same place."""
    return a @ b.T if grid else (a * b).sum(1)

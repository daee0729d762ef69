"""Batches of about equal cost: rows of like length, as many as a token budget holds."""

from collections.abc import Sequence

import torch

_POOL = 16  # batches whose rows are sorted together: enough to spare most padding, few enough to stay random


def token_budget_batches(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Group rows so that no batch, padded to its longest row, has more tokens than the budget.

    The rows are taken from the longest to the shortest (equal ones in their order), so that padding is small, the
    same lengths always give the same batches, and a batch that is too large for the memory comes first.

    Args:
        lengths: The number of tokens of every row.
        token_budget: Tokens a batch, padding included; a row longer than that is a batch of its own.

    Returns:
        Row numbers of every batch; each row is in one batch.

    Raises:
        ValueError: If the budget is below 1.

    Example:
        >>> token_budget_batches([3, 8, 4, 4], token_budget=9)
        [[1], [2, 3], [0]]
    """
    if token_budget < 1:
        raise ValueError(f"token_budget must be at least 1, got {token_budget}")
    batches: list[list[int]] = []
    longest = 0
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        if batches and longest * (len(batches[-1]) + 1) <= token_budget:
            batches[-1].append(row)
        else:
            batches.append([row])
            longest = lengths[row]
    return batches


def shuffled_batches(lengths: Sequence[int], batch_size: int, generator: torch.Generator) -> list[list[int]]:
    """Random batches of rows of like length, as training takes them.

    The rows are shuffled, pools of 16 batches are sorted by length, and the batches are shuffled again.

    Args:
        lengths: The number of tokens of every row.
        batch_size: Rows a batch; the last one may be smaller.
        generator: The source of randomness.

    Returns:
        Row numbers of every batch; each row is in one batch.
    """
    rows = torch.randperm(len(lengths), generator=generator).tolist()
    batches = []
    for start in range(0, len(rows), _POOL * batch_size):
        pool = sorted(rows[start : start + _POOL * batch_size], key=lambda row: -lengths[row])
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]

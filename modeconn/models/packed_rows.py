"""Rows that stand one after the other in one long row, and which positions of it are scored.

Rows that begin with the same context, as the labels of one example do, share it: a text is a context and what follows
it in each row, its branches. Every branch is read as if it stood right behind the context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import torch
from torch.nn.utils.rnn import pad_sequence

from modeconn.tasks.rows import Row


@dataclass(frozen=True)
class Text:
    """One text of a packed row.

    Attributes:
        length: Its tokens, branches included.
        start: The first scored position in it.
        num_scored: How many positions from there on are scored.
        branches: The tokens of each branch; none where the text is one row.
        last: The last position that is no padding token, where it is not the last of all.
    """

    length: int
    start: int
    num_scored: int
    branches: tuple[int, ...] = ()
    last: int | None = None

    @property
    def shared(self) -> int:
        """The tokens before the branches."""
        return self.length - sum(self.branches)

    def places(self) -> list[int]:
        """The position in its row of every token, `length` of them: branches go on from the context."""
        return [*range(self.shared), *(self.shared + place for size in self.branches for place in range(size))]

    def owners(self) -> list[int]:
        """The branch of every token, from 1 on; 0 for the context."""
        return [0] * self.shared + [number for number, size in enumerate(self.branches, 1) for _ in range(size)]

    def rows(self) -> list[list[int]]:
        """The tokens of every row as numbers in the text."""
        owners = self.owners()
        return [
            [token for token, owner in enumerate(owners) if owner in (0, branch)]
            for branch in (range(1, len(self.branches) + 1) if self.branches else (0,))
        ]


@dataclass(frozen=True)
class Packed:
    """How rows stand in one row.

    Attributes:
        texts: The texts, one after the other.
        scored: The scored positions in the row, `[S]`.
        places: For every row's targets `[B, A]`, padded, which of the S positions tells their likelihood.
    """

    texts: tuple[Text, ...]
    scored: torch.Tensor
    places: torch.Tensor

    @property
    def num_tokens(self) -> int:
        """The tokens of the row, T."""
        return sum(text.length for text in self.texts)

    def to(self, device: torch.device) -> "Packed":
        """The same on a device."""
        move = {"device": device, "non_blocking": True}
        return Packed(self.texts, self.scored.to(**move), self.places.to(**move))


def by_context(rows: Sequence[Row]) -> list[list[int]]:
    """Numbers of rows; those of one example that follow one another with the same context are together.

    Example:
        >>> by_context([Row((1, 2), (3,), 0), Row((1, 2), (4, 5), 0), Row((1,), (3,), 1)])
        [[0, 1], [2]]
    """
    return [
        list(group) for _, group in groupby(range(len(rows)), key=lambda row: (rows[row].example, rows[row].context))
    ]


def continued(rows: Sequence[Row]) -> tuple[dict[str, torch.Tensor], Packed]:
    """Rows of a decoder, each a context and its targets, as one row in which every context stands once.

    The last token of a row is never read. A context's last position and all branches are scored.

    Returns:
        `input_ids` and `position_ids`, `[1, T]` each, and how the rows stand in them.
    """
    texts, tokens, places, begin = [], [], [], 0
    for group in by_context(rows):
        context, branches = rows[group[0]].context, [rows[row].targets[:-1] for row in group]
        sizes = tuple(map(len, branches))
        length, start = len(context) + sum(sizes), len(context) - 1
        texts.append(Text(length, start, length - start, sizes if len(group) > 1 else ()))
        tokens.append([*context, *(token for branch in branches for token in branch)])
        for first, last in pairwise(accumulate(sizes, initial=begin + 1)):
            places.append([begin, *range(first, last)])  # the context's last position, then the branch
        begin += length - start
    return _row(tokens, texts), Packed(tuple(texts), _scored(texts), _padded(places))


def ended(rows: Sequence[Sequence[int]], pad_id: int | None = None) -> tuple[dict[str, torch.Tensor], Packed]:
    """Texts of a classifier as one row, of which the first positions are scored.

    Args:
        rows: The texts.
        pad_id: The padding token: a text may end with it, as where it is the token that ends texts, too.

    Returns:
        `input_ids` and `position_ids`, `[1, T]` each, and how the texts stand in them.
    """
    texts = [Text(len(row), 0, 1, last=_last(row, pad_id)) for row in rows]
    return _row(rows, texts), Packed(tuple(texts), _scored(texts), torch.arange(len(rows))[:, None])


def at_ends(packed: Packed) -> Packed:
    """The same texts, of which the last positions are scored that are no padding token, as transformers finds them."""
    texts = tuple(Text(text.length, text.length - 1 if text.last is None else text.last, 1) for text in packed.texts)
    return Packed(texts, _scored(texts).to(packed.scored.device), packed.places)


def unpack(inputs: dict[str, torch.Tensor], packed: Packed, *, left: bool, pad_id: int = 0) -> dict[str, torch.Tensor]:
    """Packed rows as padded ones: `input_ids` and `attention_mask`, `[B, L]` each.

    Args:
        inputs: From `continued` or `ended`.
        packed: How the rows stand in them.
        left: Whether the padding stands on the left.
        pad_id: The token that fills rows; decoders with a head for classes find the end of a text by it.
    """
    side = "left" if left else "right"
    tokens = inputs["input_ids"][0]
    numbers = [
        torch.tensor(row, device=tokens.device) + begin
        for text, begin in zip(packed.texts, _begins(packed.texts), strict=True)
        for row in text.rows()
    ]
    rows = [tokens[row] for row in numbers]
    masks = [torch.ones_like(row) for row in rows]
    padded = [
        pad_sequence(one, batch_first=True, padding_side=side, padding_value=value)
        for one, value in ((rows, pad_id), (masks, 0))
    ]
    return {"input_ids": padded[0], "attention_mask": padded[1]}


def _row(rows: Sequence[Sequence[int]], texts: Sequence[Text]) -> dict[str, torch.Tensor]:
    """The tokens one after the other and their positions, `[1, T]` each."""
    return {
        "input_ids": torch.tensor([[token for row in rows for token in row]]),
        "position_ids": torch.tensor([[place for text in texts for place in text.places()]]),
    }


def _last(row: Sequence[int], pad_id: int | None) -> int | None:
    """The last position that is no padding token, where it is not the last of all; 0 where there is none."""
    last = next((place for place in reversed(range(len(row))) if row[place] != pad_id), 0)
    return None if last == len(row) - 1 else last


def _begins(texts: Sequence[Text]) -> Iterator[int]:
    """Where every text begins in the row."""
    begin = 0
    for text in texts:
        yield begin
        begin += text.length


def _scored(texts: Sequence[Text]) -> torch.Tensor:
    """The scored positions in the row, `[S]`."""
    begins = zip(texts, _begins(texts), strict=True)
    return torch.tensor([begin + text.start + place for text, begin in begins for place in range(text.num_scored)])


def _padded(places: Sequence[Sequence[int]]) -> torch.Tensor:
    """`[B, A]`, zeros on the left: targets are padded there, too."""
    return pad_sequence([torch.tensor(row) for row in places], batch_first=True, padding_side="left")

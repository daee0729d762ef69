"""Rows to be scored: what is read, what is scored, and what is cut so that they fit."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from modeconn.errors import TaskError

Pair = tuple[tuple[int, ...], tuple[int, ...]]  # context and targets


@dataclass(frozen=True)
class Row:
    """One sequence to be scored.

    Attributes:
        context: Tokens that are read: the prompt, special tokens included.
        targets: Tokens that are scored: the answer's, or a classifier's class.
        example: Number of the example in its split.
        lead: Tokens that a decoder of its own reads before the answer, unscored: `<s>` in BART; in all rows the same.
        allowed: The classes that may be the answer where rows of different tasks are trained together; None for all.
    """

    context: tuple[int, ...]
    targets: tuple[int, ...]
    example: int
    lead: tuple[int, ...] = ()
    allowed: tuple[int, ...] | None = field(default=None, repr=False)  # kept points are named by what is shown


@dataclass(frozen=True)
class EncodedRows:
    """A split as rows.

    Attributes:
        rows: One row an example, or one a label and example.
        answers: The right choice of every example, 0 for free answers.
        num_truncated: Examples of which a part of the prompt was cut.
        label_tokens: The token of every label, where each label is one token: then one pass over the prompt tells the
            likelihood of all, and `rows` has one row an example. Otherwise None.
    """

    rows: tuple[Row, ...]
    answers: tuple[int, ...]
    num_truncated: int
    label_tokens: tuple[int, ...] | None = None

    def in_one_pass(self) -> "EncodedRows":
        """The same rows, one an example where every label is one token after the same context."""
        num_choices = len(self.rows) // len(self.answers)
        labels = self.rows[:num_choices]
        tokens = tuple(row.targets[0] for row in labels)
        groups = [self.rows[i : i + num_choices] for i in range(0, len(self.rows), num_choices)]
        alike = num_choices > 1 and all(
            tuple(row.targets for row in group) == tuple((token,) for token in tokens)
            and len({row.context for row in group}) == 1
            for group in groups
        )
        if not alike:
            return self
        right = tuple(group[answer] for group, answer in zip(groups, self.answers, strict=True))
        return replace(self, rows=right, label_tokens=tokens)


def fitted_rows(
    pairs: list[list[Pair]],
    answers: list[int],
    prefix: tuple[int, ...],
    suffix: tuple[int, ...],
    max_length: int,
    where: str,
    *,
    lead: tuple[int, ...] = (),
    ending: tuple[int, ...] = (),
    targets_apart: bool = False,
) -> EncodedRows:
    """Rows that fit: a prompt that is too long loses its middle, since questions stand at either end.

    Cutting the middle follows LongBench (Bai 2023, arXiv 2308.14508). All choices of an example keep the same prompt.

    Args:
        pairs: Context and targets of every choice of every example, without special tokens.
        answers: The right choice of every example.
        prefix: Special tokens before the context.
        suffix: Special tokens after it.
        max_length: Tokens that a row may have.
        where: Task and split, for messages.
        lead: What a decoder of its own reads before the targets.
        ending: Tokens to score after the targets.
        targets_apart: Whether context and targets are read by different parts of the model.

    Raises:
        TaskError: If an answer has no tokens, no context, or does not fit.
    """
    rows, num_truncated = [], 0
    fixed = len(prefix) + len(suffix)
    for example, options in enumerate(pairs):
        longest = len(lead) + max(len(targets) for _, targets in options) + len(ending)
        room = max_length - fixed - (0 if targets_apart else longest)
        _check_room(options, room, longest if targets_apart else 0, max_length, f"{where} example {example}")
        cut = any(len(context) > room for context, _ in options)
        num_truncated += cut
        for context, targets in options:
            kept = without_middle(context, room)
            whole = prefix + kept + suffix
            if not whole:
                raise _no_context(f"{where} example {example}")
            rows.append(Row(whole, targets + ending, example, lead))
    return EncodedRows(tuple(rows), tuple(answers), num_truncated).in_one_pass()


def without_middle(tokens: tuple[int, ...], room: int) -> tuple[int, ...]:
    """At most `room` tokens: the first half and the last half of them."""
    if len(tokens) <= room:
        return tokens
    head = room // 2
    return tokens[:head] + tokens[len(tokens) - (room - head) :]


def _check_room(options: list[Pair], room: int, apart: int, max_length: int, where: str) -> None:
    """Raise if an answer has no tokens, or leaves no room for its prompt."""
    if any(not targets for _, targets in options):
        raise TaskError(
            f"an answer of {where} has no tokens",
            expected="at least one token",
            got="an answer that the tokenizer drops",
            remedy="mend the example",
        )
    if room < 1 or apart > max_length:
        needed = max(max_length - room + 1, apart)  # with one token of the prompt
        raise TaskError(
            f"the answer of {where} does not fit",
            expected=f"prompt and answer within max_length={max_length} tokens, answers uncut",
            got=f"an answer of {max(len(targets) for _, targets in options)} tokens",
            remedy=f"give max_length={needed} (--max-length) or more, or leave the example out",
        )


def _no_context(where: str) -> TaskError:
    """The error for a row whose first answer token has nothing before it."""
    return TaskError(
        f"the answer of {where} has no context",
        expected="a prompt, or a tokenizer that begins texts with a special token",
        got="an empty prompt",
        remedy="give every example a prompt",
    )


def check_told_apart(pairs: list[list[Pair]], labels: Sequence[str], *, ended: bool, where: str) -> None:
    """Raise if the likeliest label could not be told from the tokens.

    Args:
        pairs: Context and targets of every label, for every example.
        labels: Their names.
        ended: Whether an end-of-sequence token is scored after each.
        where: Task and split, for the message.

    Raises:
        TaskError: If two labels have the same tokens, or one begins with all tokens of another and no end is scored:
            the longer one is never likelier then.
    """
    for spelled in {tuple(targets for _, targets in options) for options in pairs}:
        # Sorted, a label is followed by one that begins with it, if there is any.
        ordered = sorted(zip(spelled, labels, strict=True))
        for (shorter, first), (longer, second) in pairwise(ordered):
            if shorter == longer:
                raise TaskError(
                    f"the tokenizer does not tell the labels of {where} apart",
                    expected="labels of different tokens",
                    got=f"{first!r} and {second!r}, which become the same tokens",
                    remedy="rename one of them in words that the tokenizer knows",
                )
            if not ended and longer[: len(shorter)] == shorter:
                raise TaskError(
                    f"a label of {where} is the beginning of another, which could never be the likelier one",
                    expected="labels of which none begins with another's tokens, or a scored end of the answer",
                    got=f"{first!r} and {second!r}",
                    remedy="score the end-of-sequence token too, with score_eos=True (--score-eos; in training"
                    " eval_score_eos, --eval-score-eos), or rename a label",
                )

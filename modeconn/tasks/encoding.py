"""Examples as token rows: where the answer begins, what is cut, which rows belong to one question."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from modeconn.errors import TaskError, listed
from modeconn.tasks.task import Example, Task


class Tokenizer(Protocol):
    """What encoding needs of a tokenizer of transformers."""

    eos_token_id: int | None

    def __call__(self, text: list[str], *, add_special_tokens: bool) -> dict[str, list[list[int]]]:
        """Token ids of every text under "input_ids"."""
        ...


@dataclass(frozen=True, kw_only=True)
class EncodingSettings:
    """How examples become tokens; recorded with every result.

    Attributes:
        max_length: Tokens that a row may have; None takes what the model holds.
        score_eos: Whether the end-of-sequence token after the answer is scored (training does, evaluation does not).
        all_choices: Whether a task with a label set gets one row a label (evaluation) or the answer's row only.
        token_budget: Tokens a batch, padding included.
        mask_labels: Whether a classifier's logits outside the task's own labels are left out.
        separator: What stands between prompt and answer of a causal model where neither has a blank there.
    """

    max_length: int | None = None
    score_eos: bool = False
    all_choices: bool = True
    token_budget: int = 2048
    mask_labels: bool = False
    separator: str = " "

    def __post_init__(self) -> None:
        for name in ("token_budget", "max_length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise TaskError(
                    f"{name} cannot be used to encode a task",
                    expected="a number of tokens, 1 or more",
                    got=repr(value),
                    remedy=f"give --{name.replace('_', '-')} a positive value",
                )


@dataclass(frozen=True)
class Row:
    """One sequence to be scored.

    Attributes:
        context: Tokens that are read: the prompt, special tokens included.
        targets: Tokens that are scored: the answer's, or a classifier's class.
        example: Number of the example in its split.
        choice: Index of the label that `targets` spells; 0 for free answers.
    """

    context: tuple[int, ...]
    targets: tuple[int, ...]
    example: int
    choice: int = 0


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


def encode_continuations(
    task: Task, split: str, tokenizer: Tokenizer, *, max_length: int, settings: EncodingSettings
) -> EncodedRows:
    """Rows for a causal model: prompt and answer as one text, tokenised as one.

    The answer begins at the first token in which the text with the answer and the prompt alone differ. Where the
    tokenizer merges the end of the prompt with the start of the answer, the merged token is scored, and the
    context ends before it; blanks that end a prompt are read as the answer's. So every row is the
    tokenizer's own tokenisation of the text. All choices of an example begin at one token, the earliest that any
    of them needs: likelihoods given different contexts could not be compared.

    Raises:
        TaskError: If an answer has no tokens, no context, or does not fit into `max_length`.
    """
    prefix, _ = special_tokens(tokenizer)
    eos = _eos(tokenizer) if settings.score_eos else ()
    examples = task.split(split)
    choices, answers = _choices(task, examples, settings)
    prompts = _tokenize(tokenizer, [example.prompt.rstrip() for example in examples])
    texts = [
        _joined(example.prompt, choice, settings.separator)
        for example, options in zip(examples, choices, strict=True)
        for choice in options
    ]
    tokens = iter(_tokenize(tokenizer, texts))
    pairs = []
    for prompt, options in zip(prompts, choices, strict=True):
        pieces = [next(tokens) for _ in options]
        start = min(_num_shared(prompt, piece) for piece in pieces)
        pairs.append([(piece[:start], piece[start:]) for piece in pieces])
    return _fit(pairs, answers, prefix, (), max_length, f"{task.name}/{split}", ending=eos)


def encode_sources(
    task: Task, split: str, tokenizer: Tokenizer, *, max_length: int, settings: EncodingSettings
) -> EncodedRows:
    """Rows for an encoder-decoder: the prompt is the encoder's, the answer the decoder's.

    Raises:
        TaskError: If an answer has no tokens or does not fit into `max_length`.
    """
    prefix, suffix = special_tokens(tokenizer)
    eos = _eos(tokenizer) if settings.score_eos else ()
    examples = task.split(split)
    choices, answers = _choices(task, examples, settings)
    prompts = _tokenize(tokenizer, [example.prompt for example in examples])
    targets = iter(_tokenize(tokenizer, [choice.strip() for options in choices for choice in options]))
    pairs = [[(p, next(targets)) for _ in options] for p, options in zip(prompts, choices, strict=True)]
    return _fit(pairs, answers, prefix, suffix, max_length, f"{task.name}/{split}", ending=eos, targets_apart=True)


def encode_texts(
    task: Task, split: str, tokenizer: Tokenizer, *, max_length: int, labels: Sequence[str]
) -> EncodedRows:
    """Rows for a classifier: the prompt is the text, the target the answer's place in `labels`.

    Raises:
        TaskError: If an answer is not one of `labels`.
    """
    prefix, suffix = special_tokens(tokenizer)
    examples = task.split(split)
    index = {label: number for number, label in enumerate(labels)}
    unknown = {example.answer for example in examples} - index.keys()
    if unknown:
        raise TaskError(
            f"the classifier has no class for some answers of {task.name}/{split}",
            expected=f"one of {listed(labels)}",
            got=listed(unknown),
            remedy="train the head over the union of the tasks' labels",
        )
    prompts = _tokenize(tokenizer, [example.prompt for example in examples])
    answers = [index[example.answer] for example in examples]
    pairs = [[(prompt, (answer,))] for prompt, answer in zip(prompts, answers, strict=True)]
    return _fit(pairs, answers, prefix, suffix, max_length, f"{task.name}/{split}", targets_apart=True)


def special_tokens(tokenizer: Tokenizer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tokens that the tokenizer puts before and after a text."""
    inner = tokenizer(["a"], add_special_tokens=False)["input_ids"][0]
    outer = tokenizer(["a"], add_special_tokens=True)["input_ids"][0]
    for start in range(len(outer) - len(inner) + 1):
        if outer[start : start + len(inner)] == inner:
            return tuple(outer[:start]), tuple(outer[start + len(inner) :])
    raise TaskError(
        "the tokenizer's special tokens cannot be told from its text",
        expected="special tokens before and after the text only",
        got=f"{outer} with and {inner} without special tokens",
        remedy="use the tokenizer that belongs to the base model",
    )


def _choices(
    task: Task, examples: Iterable[Example], settings: EncodingSettings
) -> tuple[list[tuple[str, ...]], list[int]]:
    """The answers to score for every example, and which of them is right."""
    if task.labels is None or not settings.all_choices:
        return [(example.answer,) for example in examples], [0 for _ in examples]
    index = {label: number for number, label in enumerate(task.labels)}
    return [task.labels for _ in examples], [index[example.answer] for example in examples]


def _tokenize(tokenizer: Tokenizer, texts: list[str]) -> list[tuple[int, ...]]:
    """Token ids without special tokens."""
    if not texts:
        return []
    return [tuple(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def _joined(prompt: str, answer: str, separator: str) -> str:
    """Prompt and answer as one text, with a separator where neither brings a blank."""
    blank = prompt[-1:].isspace() or answer[:1].isspace()
    return prompt + answer if blank else prompt + separator + answer


def _num_shared(prompt: tuple[int, ...], text: tuple[int, ...]) -> int:
    """The number of tokens at the start in which a text and its prompt alone agree."""
    pairs = zip(prompt, text, strict=False)
    return next((number for number, (a, b) in enumerate(pairs) if a != b), min(len(prompt), len(text)))


def _eos(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The end-of-sequence token, or nothing where the tokenizer has none."""
    return () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)


def _fit(
    pairs: list[list[tuple[tuple[int, ...], tuple[int, ...]]]],
    answers: list[int],
    prefix: tuple[int, ...],
    suffix: tuple[int, ...],
    max_length: int,
    where: str,
    *,
    ending: tuple[int, ...] = (),
    targets_apart: bool = False,
) -> EncodedRows:
    """Rows that fit: a prompt that is too long loses its middle, since questions stand at either end.

    Cutting the middle follows LongBench (Bai 2023, arXiv 2308.14508). All choices of an example keep the same prompt.
    """
    rows, num_truncated = [], 0
    fixed = len(prefix) + len(suffix)
    for example, options in enumerate(pairs):
        longest = max(len(targets) for _, targets in options) + len(ending)
        room = max_length - fixed - (0 if targets_apart else longest)
        _check_room(options, room, longest if targets_apart else 0, max_length, f"{where} example {example}")
        cut = any(len(context) > room for context, _ in options)
        num_truncated += cut
        for choice, (context, targets) in enumerate(options):
            kept = _without_middle(context, room)
            whole = prefix + kept + suffix
            if not whole:
                raise _no_context(f"{where} example {example}")
            rows.append(Row(whole, targets + ending, example, choice))
    return EncodedRows(tuple(rows), tuple(answers), num_truncated).in_one_pass()


def _without_middle(tokens: tuple[int, ...], room: int) -> tuple[int, ...]:
    """At most `room` tokens: the first half and the last half of them."""
    if len(tokens) <= room:
        return tokens
    head = room // 2
    return tokens[:head] + tokens[len(tokens) - (room - head) :]


def _check_room(
    options: list[tuple[tuple[int, ...], tuple[int, ...]]], room: int, apart: int, max_length: int, where: str
) -> None:
    """Raise if an answer has no tokens, or leaves no room for its prompt."""
    if any(not targets for _, targets in options):
        raise TaskError(
            f"an answer of {where} has no tokens",
            expected="at least one token",
            got="an answer that the tokenizer drops",
            remedy="mend the example",
        )
    if room < 1 or apart > max_length:
        raise TaskError(
            f"the answer of {where} does not fit",
            expected=f"prompt and answer within max_length={max_length} tokens, answers uncut",
            got=f"an answer of {max(len(targets) for _, targets in options)} tokens",
            remedy="raise max_length, or leave the example out",
        )


def _no_context(where: str) -> TaskError:
    """The error for a row whose first answer token has nothing before it."""
    return TaskError(
        f"the answer of {where} has no context",
        expected="a prompt, or a tokenizer that begins texts with a special token",
        got="an empty prompt",
        remedy="give every example a prompt",
    )

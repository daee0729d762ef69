"""Examples as token rows: where the answer begins, what is cut, which rows belong to one question."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from modeconn.errors import TaskError, listed
from modeconn.tasks.boundaries import Tokenizer, joined, num_shared, prompts_alone, tokenize
from modeconn.tasks.rows import EncodedRows, check_told_apart, fitted_rows
from modeconn.tasks.task import Example, Task


@dataclass(frozen=True, kw_only=True)
class EncodingSettings:
    """How examples become tokens; recorded with every result.

    Attributes:
        max_length: Tokens that a row may have; None takes what the model holds.
        score_eos: Whether the end-of-sequence token after the answer is scored (training does, evaluation does not).
        all_choices: Whether a task of the metric accuracy gets one row a label (evaluation) or the answer's row only.
        token_budget: Tokens a batch, padding included.
        mask_labels: Whether a classifier's logits outside the task's own labels are left out.
        separator: What stands between prompt and answer of a causal model where neither has a blank there.
        generate: Whether answers are written where a task's metric asks for it; without, its score is `exact_match`.
    """

    max_length: int | None = None
    score_eos: bool = False
    all_choices: bool = True
    token_budget: int = 2048
    mask_labels: bool = False
    separator: str = " "
    generate: bool = True

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


def encode_continuations(
    task: Task, split: str, tokenizer: Tokenizer, *, max_length: int, settings: EncodingSettings
) -> EncodedRows:
    """Rows for a causal model: prompt and answer as one text, tokenised as one.

    The answer begins at the first token in which the text with the answer and the prompt alone differ. Where the
    tokenizer merges the end of the prompt with the start of the answer, as most do with a space before a word, the
    merged token is scored, and the context ends before it; a line break that ends a prompt is context. So every row
    is the tokenizer's own tokenisation of the text. All choices of an example begin at one token, the earliest that any
    of them needs: likelihoods given different contexts could not be compared.

    Raises:
        TaskError: If an answer has no tokens, no context, or does not fit into `max_length`, or two labels cannot be
            told apart.
    """
    prefix, _ = special_tokens(tokenizer)
    eos = _eos(tokenizer) if settings.score_eos else ()
    examples = task.split(split)
    choices, answers = _choices(task, examples, settings)
    prompts = prompts_alone(tokenizer, [example.prompt for example in examples])
    texts = [
        joined(example.prompt, choice, settings.separator)
        for example, options in zip(examples, choices, strict=True)
        for choice in options
    ]
    tokens = iter(tokenize(tokenizer, texts))
    pairs = []
    for spellings, options in zip(prompts, choices, strict=True):
        pieces = [next(tokens) for _ in options]
        start = _answer_start(spellings, pieces)
        pairs.append([(piece[:start], piece[start:]) for piece in pieces])
    where = f"{task.name}/{split}"
    if _chooses(task, settings):
        check_told_apart(pairs, task.labels or (), ended=bool(eos), where=where)
    return fitted_rows(pairs, answers, prefix, (), max_length, where, ending=eos)


def encode_sources(
    task: Task, split: str, tokenizer: Tokenizer, *, max_length: int, settings: EncodingSettings
) -> EncodedRows:
    """Rows for an encoder-decoder: the prompt is the encoder's, the answer the decoder's.

    Special tokens that the tokenizer puts before a text stand before the answer, too, unscored.

    Raises:
        TaskError: If an answer has no tokens or does not fit into `max_length`, or two labels cannot be told apart.
    """
    prefix, suffix = special_tokens(tokenizer)
    eos = _eos(tokenizer) if settings.score_eos else ()
    examples = task.split(split)
    choices, answers = _choices(task, examples, settings)
    prompts = tokenize(tokenizer, [example.prompt for example in examples])
    targets = iter(tokenize(tokenizer, [choice.strip() for options in choices for choice in options]))
    pairs = [[(p, next(targets)) for _ in options] for p, options in zip(prompts, choices, strict=True)]
    where = f"{task.name}/{split}"
    if _chooses(task, settings):
        check_told_apart(pairs, task.labels or (), ended=bool(eos), where=where)
    return fitted_rows(pairs, answers, prefix, suffix, max_length, where, lead=prefix, ending=eos, targets_apart=True)


def encode_texts(
    task: Task, split: str, tokenizer: Tokenizer, *, max_length: int, labels: Sequence[str]
) -> EncodedRows:
    """Rows for a classifier: the prompt is the text, the target the answer's place in `labels`.

    Blanks around a label do not make it another class.

    Raises:
        TaskError: If an answer is not one of `labels`.
    """
    prefix, suffix = special_tokens(tokenizer)
    prompts = tokenize(tokenizer, [example.prompt for example in task.split(split)])
    answers = class_numbers(task, split, labels)
    pairs = [[(prompt, (answer,))] for prompt, answer in zip(prompts, answers, strict=True)]
    return fitted_rows(pairs, answers, prefix, suffix, max_length, f"{task.name}/{split}", targets_apart=True)


def _answer_start(spellings: Collection[tuple[int, ...]], pieces: Sequence[tuple[int, ...]]) -> int:
    """The first token that belongs to the answer in any of the texts of one prompt, `pieces`, with its choices.

    Choices may go on from different spellings of the prompt's end, two line breaks from one token before " no", from
    two before "yes": what they do not have in common is no context.
    """
    of_prompt = [max(num_shared(prompt, piece) for prompt in spellings) for piece in pieces]
    return min(*of_prompt, *(num_shared(pieces[0], piece) for piece in pieces))


def class_numbers(task: Task, split: str, labels: Sequence[str]) -> list[int]:
    """The place of every answer of a split in `labels`; blanks around a label do not make it another class.

    Raises:
        TaskError: If an answer is not one of `labels`.
    """
    examples = task.split(split)
    index = {label.strip(): number for number, label in enumerate(labels)}
    unknown = {example.answer.strip() for example in examples} - index.keys()
    if unknown:
        raise TaskError(
            f"the classifier has no class for some answers of {task.name}/{split}",
            expected=f"one of {listed(labels)}",
            got=listed(unknown),
            remedy="train the head over the union of the tasks' labels",
        )
    return [index[example.answer.strip()] for example in examples]


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
    if task.labels is None or not _chooses(task, settings):
        return [(example.answer,) for example in examples], [0 for _ in examples]
    index = {label: number for number, label in enumerate(task.labels)}
    return [task.labels for _ in examples], [index[example.answer] for example in examples]


def _chooses(task: Task, settings: EncodingSettings) -> bool:
    """Whether the likeliest of the task's labels is asked for, rather than the answer alone."""
    return settings.all_choices and task.metric == "accuracy"


def _eos(tokenizer: Tokenizer) -> tuple[int, ...]:
    """The end-of-sequence token, or nothing where the tokenizer has none."""
    return () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)

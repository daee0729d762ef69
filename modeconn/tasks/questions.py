"""Examples as questions: the tokens after which a model writes, without a glance at the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from modeconn.errors import TaskError

from .boundaries import Tokenizer, joined, num_shared, prompts_alone, tokenize
from .encoding import EncodingSettings, special_tokens
from .examples import Example
from .metrics import GENERATED, MAX_NEW_TOKENS
from .rows import without_middle
from .scores import check_scorer
from .task import Task

_PROBE = "a"  # stands for any answer: which of a prompt's last tokens a word after it takes along


@dataclass(frozen=True)
class Questions:
    """A split whose answers are written and scored.

    Attributes:
        contexts: The tokens of every prompt, `[N]`; special tokens included.
        lead: Tokens that a decoder of its own reads before it writes: `<s>` in BART.
        num_new: Tokens that an answer may have.
        num_truncated: Prompts that were cut.
        examples: What was asked; outputs are scored against it.
    """

    contexts: tuple[tuple[int, ...], ...]
    lead: tuple[int, ...]
    num_new: int
    num_truncated: int
    examples: tuple[Example, ...]


def asks_for_text(task: Task, settings: EncodingSettings) -> bool:
    """Whether a task's score is that of a written answer."""
    return task.metric in GENERATED and settings.generate and settings.all_choices


def continuation_questions(
    task: Task, split: str, tokenizer: Tokenizer, *, max_length: int, settings: EncodingSettings
) -> Questions:
    """Questions to a causal model.

    A context is what precedes the answer in `encode_continuations`, found with a letter in place of the answer: a blank
    that ends a prompt is left to the model where the tokenizer joins it to a word. Of the answers, only whether all
    begin with a blank is looked at. A prompt that leaves too little room for the answer loses its middle.

    Raises:
        TaskError: If `max_new_tokens` leaves no room for a prompt, or the metric needs a library that is not installed.
    """
    check_scorer(task.metric)
    prefix, _ = special_tokens(tokenizer)
    examples = task.split(split)
    num_new = _num_new(task, max_length, len(prefix) + 1)
    prompts = [example.prompt for example in examples]
    blank = " " if all(example.answer[:1].isspace() for example in examples) else ""  # how the task writes answers
    probes = tokenize(tokenizer, [joined(prompt, blank + _PROBE, settings.separator) for prompt in prompts])
    contexts = [
        _context(tokenizer, spellings, probe)
        for spellings, probe in zip(prompts_alone(tokenizer, prompts), probes, strict=True)
    ]
    return _questions(contexts, prefix, (), (), max_length - num_new, num_new, examples)


def source_questions(task: Task, split: str, tokenizer: Tokenizer, *, max_length: int) -> Questions:
    """Questions to an encoder-decoder, whose encoder reads the whole prompt.

    Raises:
        TaskError: If `max_new_tokens` is more than the decoder holds, or the metric needs a library that is not
            installed.
    """
    check_scorer(task.metric)
    prefix, suffix = special_tokens(tokenizer)
    examples = task.split(split)
    num_new = _num_new(task, max_length, len(prefix))
    contexts = tokenize(tokenizer, [example.prompt for example in examples])
    return _questions(contexts, prefix, suffix, prefix, max_length, num_new, examples)


def refuse_classifier(task: Task) -> TaskError:
    """The error for a classifier that shall write."""
    return TaskError(
        f"a classifier cannot be scored by {task.metric}, as {task.name} asks",
        expected="a causal model or an encoder-decoder, which write answers",
        got="a sequence classifier, which chooses one of its classes",
        remedy="choose the metric accuracy, or another base model",
    )


def _num_new(task: Task, max_length: int, needed: int) -> int:
    """How many tokens an answer may have."""
    if task.max_new_tokens is None:
        return max(1, min(MAX_NEW_TOKENS, max_length // 2))
    if task.max_new_tokens > max_length - needed:
        raise TaskError(
            f"the written answers of {task.name} do not fit",
            expected=f"prompt and answer within max_length={max_length} tokens",
            got=f"max_new_tokens={task.max_new_tokens}",
            remedy=f"give at most {max_length - needed} in task.json, or raise max_length (--max-length)",
        )
    return task.max_new_tokens


def _context(tokenizer: Tokenizer, spellings: set[tuple[int, ...]], probe: tuple[int, ...]) -> tuple[int, ...]:
    """The prompt's tokens, without a last one that belongs to the blank before the answer."""
    shared, spelling = max((num_shared(spelling, probe), spelling) for spelling in spellings)
    rest = spelling[shared:]
    # What is left to the model must be blank: text of the prompt would otherwise count as its answer.
    return probe[:shared] if shared and not tokenizer.decode(list(rest)).strip() else spelling


def _questions(
    contexts: Sequence[tuple[int, ...]],
    prefix: tuple[int, ...],
    suffix: tuple[int, ...],
    lead: tuple[int, ...],
    room: int,
    num_new: int,
    examples: Sequence[Example],
) -> Questions:
    """Contexts cut to the room that there is, between their special tokens."""
    room -= len(prefix) + len(suffix)
    cut = sum(len(context) > room for context in contexts)
    whole = tuple(prefix + without_middle(context, room) + suffix for context in contexts)
    return Questions(whole, lead, num_new, cut, tuple(examples))

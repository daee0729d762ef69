"""Records -> examples, with all faults of a split told at once.

A record is a mapping of column names to values, as it stands in a file. An integer is an index into the
label set in every answer column but the one called `answer`, where only text is meant.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Literal, NamedTuple, get_args

from modeconn.errors import TaskError, listed

from .columns import IMAGE_COLUMN, Columns
from .images import ImageFault, StoredImage, digest_of, is_image, stored_image

Unlisted = Literal["error", "leave-out"]  # what becomes of an answer outside the label set
_ABSENT = object()
_SHOWN = 10  # faults and indices shown before the rest is only counted
_LEAVE_OUT = 'load the task without these examples: unlisted="leave-out" (--unlisted-answers leave-out)'


@dataclass(frozen=True, slots=True)
class Example:
    """One question asked of a model.

    Attributes:
        prompt: The text before the answer; for text/label data the text itself.
        answer: What a right model continues with; for text/label data the name of the label.
    """

    prompt: str
    answer: str

    @property
    def shown(self) -> str:
        """What stands for the question in a table."""
        return self.prompt


@dataclass(frozen=True, slots=True)
class ImageExample(Example):
    """One image to be classified.

    Attributes:
        prompt: The image's size and the hash of its pixels, by which it is told from others.
        answer: The name of its class.
        image: Where its pixels are.
    """

    image: StoredImage = field(compare=False)

    @classmethod
    def of(cls, image: StoredImage, answer: str) -> "ImageExample":
        """An image, decoded once for its hash, and its class.

        Raises:
            ImageFault: If the image cannot be decoded.
        """
        pixels = image.pixels()
        height, width, channels = pixels.shape
        return cls(f"image {width}x{height}x{channels} {digest_of(pixels)}", answer, image)

    @property
    def shown(self) -> str:
        """The file's name, where there is one, else size and hash."""
        return self.image.name or self.prompt


class Fault(NamedTuple):
    """What is wrong with a record and how it is mended; equal faults are told together."""

    what: str
    remedy: str
    unlisted: bool = False  # only the label set is at odds with it


class SplitExamples(NamedTuple):
    """The examples of one split, and the numbers of the records that were left out, counted from 0."""

    examples: tuple[Example, ...]
    left_out: tuple[int, ...]


def examples_from(
    records: Sequence[object],
    columns: Columns,
    *,
    labels: tuple[str, ...] | None,
    where: str,
    unlisted: Unlisted = "error",
) -> SplitExamples:
    """The examples of one split.

    Args:
        records: Mappings or examples.
        columns: The columns to read of a mapping.
        labels: The label set; None for free answers.
        where: The file or split that the records came from, for the message.
        unlisted: Whether an answer outside the label set is an error, or its record left out.

    Raises:
        TaskError: If there is no record or none is left, or a record lacks its prompt or answer, holds something
            other than text, or answers outside the label set. All faults are told in one message.
    """
    if not records:
        raise TaskError(
            f"{where} holds no examples",
            expected="one example or more",
            got="an empty list",
            remedy="add examples, or leave the split out",
        )
    read = [_read(record, columns, labels) for record in records]
    faults: dict[Fault, list[int]] = {}
    for index, result in enumerate(read):
        if isinstance(result, Fault):
            faults.setdefault(result, []).append(index)
    passed = {fault: faults.pop(fault) for fault in list(faults) if fault.unlisted and unlisted == "leave-out"}
    if faults:
        raise _faulty(faults, len(records), _expected(records, columns, labels), where)
    examples = tuple(result for result in read if isinstance(result, Example))
    if not examples:
        raise _nothing_left(passed, labels, where)
    return SplitExamples(examples, tuple(sorted(index for indices in passed.values() for index in indices)))


def checked_unlisted(unlisted: Unlisted) -> Unlisted:
    """What becomes of answers outside the label set; raises TaskError unless it is "error" or "leave-out"."""
    if unlisted not in get_args(Unlisted):
        raise TaskError(
            "unlisted= cannot be used to read a task",
            expected=" or ".join(map(repr, get_args(Unlisted))),
            got=repr(unlisted),
            remedy="leave it out to have answers outside the label set refused",
        )
    return unlisted


def _read(record: object, columns: Columns, labels: tuple[str, ...] | None) -> Example | Fault:
    """One record's example, or its first fault."""
    if isinstance(record, Example):
        columns, prompt, answer = Columns(), record.prompt, record.answer
    elif isinstance(record, Mapping):
        prompt, answer = record.get(columns.prompt, _ABSENT), record.get(columns.answer, _ABSENT)
    else:
        return Fault(f"not a record but of type {type(record).__name__}", "write records with named columns")
    if columns.answer != "answer":
        answer = _label_name(answer, columns.answer, labels)
        if isinstance(answer, Fault):
            return answer
    pictured = is_image(prompt)
    fault = (None if pictured else _prompt_fault(prompt, columns.prompt)) or _text_fault(answer, columns.answer)
    if fault:
        return fault
    if labels is not None and answer not in labels:
        return Fault(
            f"{columns.answer!r} is {_short(str(answer))}, outside the label set",
            f"mend the examples or add the label to the label set; spaces and capitals count; or {_LEAVE_OUT}",
            unlisted=True,
        )
    if isinstance(record, ImageExample):
        return record
    return _image_example(prompt, str(answer), columns.prompt) if pictured else Example(str(prompt), str(answer))


def _image_example(value: object, answer: str, column: str) -> ImageExample | Fault:
    """The example of an image, or what is wrong with it."""
    try:
        return ImageExample.of(stored_image(value), answer)
    except ImageFault as fault:
        return Fault(f"{column!r} is {fault.what}", fault.remedy)


def _label_name(value: object, column: str, labels: tuple[str, ...] | None) -> object:
    """The label that an index stands for, a fault, or the value itself where it is no index."""
    # CSV knows only text, so digits count as an index there; but never where a label is itself a number,
    # since then "1" would be a name and "0", by the same file's rule, an index.
    if labels and isinstance(value, str) and _is_whole(value) and not any(map(_is_whole, labels)):
        value = int(value)
    if not isinstance(value, Integral) or isinstance(value, bool):
        return value
    index = int(value)
    if labels is None:
        return Fault(
            f"{column!r} is a number, and no label names are declared",
            'list the label names in their order, as "labels" in task.json or with labels=',
        )
    if not 0 <= index < len(labels):
        return Fault(
            f"{column!r} is the index {index}, outside 0 to {len(labels) - 1}",
            f"mend the index, declare all labels, or leave out a split without labels with splits=; or {_LEAVE_OUT}",
            unlisted=True,
        )
    return labels[index]


def _is_whole(text: str) -> bool:
    """Whether a text is a whole number of sane length in ASCII digits."""
    return re.fullmatch(r"-?[0-9]{1,18}", text) is not None


def _prompt_fault(value: object, column: str) -> Fault | None:
    """What keeps a value from being a prompt; text in a column of images would be read as a prompt in words."""
    if column == IMAGE_COLUMN and isinstance(value, str):
        return Fault(
            f"{column!r} is text", "give pixels, or a folder of images with a folder for each class; call text 'text'"
        )
    return _text_fault(value, column)


def _text_fault(value: object, column: str) -> Fault | None:
    """What keeps a value from being a text, if anything does."""
    complete = "complete or remove these examples, or name other columns with prompt_column=, answer_column="
    if value is _ABSENT or value is None:
        return Fault(f"{column!r} is {'null' if value is None else 'missing'}", complete)
    if not isinstance(value, str):
        return Fault(f"{column!r} is not text but of type {type(value).__name__}", "write it as a string")
    if not value.strip():
        return Fault(f"{column!r} is blank", complete)
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        return Fault(f"{column!r} holds half of a surrogate pair", "write it as valid Unicode")
    return None


def _expected(records: Sequence[object], columns: Columns, labels: tuple[str, ...] | None) -> str:
    """What every example should have, in words."""
    prompts = [record.get(columns.prompt) for record in records if isinstance(record, Mapping)]
    pictured = columns.prompt == IMAGE_COLUMN or any(map(is_image, prompts))
    asked = (
        f"an image as {columns.prompt!r} and text" if pictured else f"text that is not blank as {columns.prompt!r} and"
    )
    within = "" if labels is None else f"; the label set is {listed(map(_short, labels))}"
    return f"{asked} {columns.answer!r} in every example{within}"


def _faulty(faults: dict[Fault, list[int]], total: int, expected: str, where: str) -> TaskError:
    """One error for all faults of a split."""
    count = sum(map(len, faults.values()))
    told = [f"{fault.what} in {_indices(indices)}" for fault, indices in list(faults.items())[:_SHOWN]]
    if len(faults) > _SHOWN:
        told.append(f"{len(faults) - _SHOWN} faults more")
    return TaskError(
        f"cannot use {count} of the {total} examples of {where}",
        expected=expected,
        got=f"{'; '.join(told)} (counted from 0)",
        remedy="; ".join(dict.fromkeys(fault.remedy for fault in faults)),
    )


def _nothing_left(passed: dict[Fault, list[int]], labels: tuple[str, ...] | None, where: str) -> TaskError:
    """The error of a split in which no answer is in the label set."""
    told = [fault.what for fault in list(passed)[:_SHOWN]]
    return TaskError(
        f"no example of {where} is left",
        expected=f"an example with an answer in the label set {listed(map(_short, labels or ()))}",
        got=f"none in {sum(map(len, passed.values()))} examples: {'; '.join(told)}",
        remedy="mend the label set, or take the split away (in Python: splits=); spaces and capitals count",
    )


def _indices(indices: Sequence[int]) -> str:
    """The first indices, and the count where there are more."""
    shown = ", ".join(map(str, indices[:_SHOWN]))
    rest = len(indices) - _SHOWN
    more = f" and {rest} more ({len(indices)} in all)" if rest > 0 else ""
    return f"example{'s' if len(indices) > 1 else ''} {shown}{more}"


def _short(text: str) -> str:
    """A quoted text of bounded length."""
    return repr(text if len(text) <= 60 else f"{text[:57]}...")

"""Which two columns of a record are the prompt and the answer.

Three pairs are known: `prompt`/`answer` (free text), `text`/`label` (a label's name or its index) and `image`/`label`.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from modeconn.errors import TaskError, listed

IMAGE_COLUMN = "image"
PAIRS = (("prompt", "answer"), ("text", "label"), (IMAGE_COLUMN, "label"))


class Columns(NamedTuple):
    """The two columns of a record that are read."""

    prompt: str = "prompt"
    answer: str = "answer"


def find_columns(
    records: Iterable[object], *, prompt: str | None = None, answer: str | None = None, where: str
) -> Columns:
    """The columns to read: the first known pair that the records hold.

    Args:
        records: All records of all splits; those that are not mappings do not count.
        prompt: The prompt's column, if the user named it.
        answer: The answer's column, if the user named it.
        where: What is read, for the message.

    Raises:
        TaskError: If a named column is nowhere, or no known column is.

    Example:
        >>> find_columns([{"text": "fine", "label": 1}], where="reviews.csv")
        Columns(prompt='text', answer='label')
    """
    records = list(records)
    present = {str(key) for record in records if isinstance(record, Mapping) for key in record}
    named = {name for name in (prompt, answer) if name is not None}
    if not present and not named:  # nothing but examples, or nothing readable at all
        return Columns()
    pairs = [Columns(prompt or known_prompt, answer or known_answer) for known_prompt, known_answer in PAIRS]
    whole = [pair for pair in pairs if present.issuperset(pair)]
    part = [pair for pair in pairs if not present.isdisjoint(pair)]
    if not named <= present or not part:
        wanted = listed(map(repr, named)) if named else " or ".join(f"{p!r} and {a!r}" for p, a in PAIRS)
        raise TaskError(
            f"cannot find the columns of {where}",
            expected=f"the columns {wanted}",
            got=f"the columns {listed(map(repr, present))}",
            remedy="rename the columns, or name them with prompt_column= and answer_column=",
        )
    return (whole or part)[0]

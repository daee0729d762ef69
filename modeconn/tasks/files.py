"""JSON, JSON lines and CSV files -> records."""

import json
from io import StringIO
from pathlib import Path

from modeconn.errors import TaskError

SUFFIXES = (".json", ".jsonl", ".csv")


def read_records(path: Path) -> list[object]:
    """The records of one file, in order; they are not checked beyond the file's own form.

    JSON holds one list; JSON lines hold one object in each line that is not blank; CSV (commas, double
    quotes) has a header, and every cell is text: `NA` and `null` are words.

    Raises:
        TaskError: If the file is empty, or not of the form its suffix promises.
        OSError: If it cannot be opened.
    """
    text = read_text(path)
    if path.suffix == ".json":
        records = _list(parse_json(text, path, expected="JSON: a list of objects"), path)
    elif path.suffix == ".jsonl":
        records = _json_lines(text, path)
    else:
        records = _csv_rows(text, path)
    if not records:
        raise _empty(path, "no examples")
    return records


def read_text(path: Path) -> str:
    """A file's text, which must be UTF-8 and not blank; a byte order mark is left out."""
    try:
        text = path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise _unreadable(
            path,
            expected="text in UTF-8",
            got=f"byte 0x{error.object[error.start]:02x} at byte offset {error.start}",
            remedy="save the file as UTF-8",
        ) from error
    if not text.strip("\ufeff \t\r\n"):
        raise _empty(path, "an empty file")
    return text.removeprefix("\ufeff")


def parse_json(text: str, path: Path, *, expected: str, line: int | None = None) -> object:
    """The value of a JSON text; `line` is where it stands in a file of JSON lines."""
    try:
        return json.loads(text)
    # json.loads raises ValueError for numbers of thousands of digits, RecursionError for deep nesting.
    except (ValueError, RecursionError) as error:
        message = getattr(error, "msg", str(error))
        row, column = line or getattr(error, "lineno", 1), getattr(error, "colno", 1)
        lines_remedy = message == "Extra data" and line is None
        raise _unreadable(
            path,
            expected=expected,
            got=f"not JSON in line {row}, column {column}: {message}",
            remedy="call it .jsonl if each line is an object" if lines_remedy else "mend the file",
        ) from error


def _list(value: object, path: Path) -> list[object]:
    """The value, which must be a list."""
    if isinstance(value, list):
        return value
    raise _unreadable(
        path,
        expected="JSON: a list of objects",
        got=f"a value of type {type(value).__name__}",
        remedy="write the examples as one list",
    )


def _json_lines(text: str, path: Path) -> list[object]:
    """The object of every line that is not blank."""
    expected = "JSON lines: one object in each line"
    records = []
    # Not splitlines(): it would also break at characters that may stand inside a JSON string.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        record = parse_json(line, path, expected=expected, line=number)
        if not isinstance(record, dict):
            got = f"a value of type {type(record).__name__} in line {number}"
            raise _unreadable(path, expected=expected, got=got, remedy="write one object in each line")
        records.append(record)
    return records


def _csv_rows(text: str, path: Path) -> list[object]:
    """The rows below the header as mappings of text; a cell that a short row lacks is blank."""
    import pandas as pd

    expected = "CSV: a header, then rows with as many cells"
    try:
        # Without header=None, rows longer than the header would silently become an index.
        table = pd.read_csv(StringIO(text, newline=""), header=None, dtype=str, na_filter=False)
    except pd.errors.ParserError as error:
        got = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise _unreadable(path, expected=expected, got=got, remedy="quote cells that hold commas") from error
    header, *rows = table.to_numpy().tolist()
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        got = f"the column {twice[0]!r} more than once"
        raise _unreadable(path, expected=expected, got=got, remedy="name each column once")
    return [dict(zip(header, row, strict=True)) for row in rows]


def _unreadable(path: Path, *, expected: str, got: str, remedy: str) -> TaskError:
    """The error of a file that is not of its form."""
    return TaskError(f"cannot read {path}", expected=expected, got=got, remedy=remedy)


def _empty(path: Path, got: str) -> TaskError:
    """The error of a file without examples."""
    return TaskError(
        f"{path} holds no examples",
        expected="one example or more",
        got=got,
        remedy="add examples, or remove the file",
    )

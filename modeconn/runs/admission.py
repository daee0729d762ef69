"""Whether a run may use a folder: start afresh, go on, or be refused before any work is lost."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from modeconn.atomic import replacing
from modeconn.errors import ModeconnError, RunError, listed
from modeconn.runs.lock import FolderLock
from modeconn.runs.record import RECORD_NAME, RunRecord, differences, read_record

INNER = ".run"  # lock, parts and files being written; gone once a run has ended well
SHOWN = 10
# The disk's own refusals. Other OSErrors inside a block (a missing input) are not about the target.
DISK_REFUSALS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EPERM", "EIO", "ENAMETOOLONG")
    if hasattr(errno, name)
)


def admit(folder: Path, wanted: RunRecord, *, overwrite: bool, locked: bool = False) -> RunRecord | None:
    """Decides what a run does with a folder; changes nothing.

    Args:
        folder: The run folder, absolute; it need not exist.
        wanted: The record that the run would write.
        overwrite: Whether what a former run of the same command left may go.
        locked: Whether the caller holds the folder's lock.

    Returns:
        The record of the same run to go on from, or None to start afresh.

    Raises:
        RunError: The folder cannot be used.
    """
    _refuse_unwritable(folder)
    if not locked:
        FolderLock(folder / INNER / "lock").refuse_if_held()
    former = read_record(folder)
    if former is None:
        _refuse_foreign(folder)
        return None
    if left_nothing(folder, former):
        return None
    _refuse_command(folder, former, wanted)
    if overwrite or former.status == "discarded":
        return None
    _refuse_other(folder, differences(former, wanted))
    if former.status == "finished" and not all((folder / name).exists() for name in former.files):
        return replace(former, status="interrupted")  # somebody took a result away: make it again
    return former


def refuse_changed(folder: Path, known: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Raises RunError when an input's content is not what the run started with: parts would not fit."""
    changed = [name for name, content in found.items() if known.get(name, content) != content]
    if changed:
        raise RunError(
            f"cannot go on with the run in {folder}",
            expected="the inputs that it started with",
            got=f"changed content of {listed(changed)}",
            remedy="give another --output-dir, or --overwrite to start again",
        )


def discard_files(folder: Path) -> None:
    """Removes what a former run wrote, and nothing else.

    `run.json` first says `discarded`, so that a crash half-way is neither taken for a finished run nor for
    a folder of somebody else. Each file leaves its name by a rename before it is deleted.
    """
    former = read_record(folder)
    if former is None:
        return
    inner = folder / INNER
    with replacing(folder / RECORD_NAME, scratch=inner / "writing") as temporary:
        temporary.write_text(replace(former, status="discarded").text(), encoding="utf-8", newline="\n")
    bin_folder = inner / "discarded" / uuid.uuid4().hex
    bin_folder.mkdir(parents=True)
    for index, name in enumerate(former.files):
        if (folder / name).exists():
            os.replace(folder / name, bin_folder / str(index))
    for name in ("discarded", "partial"):
        sweep(inner / name)


def sweep(folder: Path) -> None:
    """Removes a folder of ours with all that is in it, as far as the system lets us."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def refusal(target: Path) -> Iterator[None]:
    """Tells a full or refusing disk as a `RunError`, whichever library met it; other errors pass."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_REFUSALS:
            raise
        raise unwritable(target, error.strerror or str(error)) from error
    except ModeconnError:
        raise
    except Exception as error:
        number = _number_of(error)
        if number is None:
            raise
        raise unwritable(target, os.strerror(number)) from error


def _number_of(error: BaseException) -> int | None:
    """The disk's refusal behind another library's error: torch hides the OSError, safetensors tells its number."""
    one: BaseException | None = error
    while one is not None:
        told = re.search(r"\(os error (\d+)\)", str(one))
        number = one.errno if isinstance(one, OSError) else int(told.group(1)) if told else None
        if number in DISK_REFUSALS:
            return number
        one = one.__cause__ or one.__context__
    return None


def unwritable(target: Path, got: str) -> RunError:
    """The refusal of a place that takes no files."""
    return RunError(
        f"cannot write {target}",
        expected="a folder that can be written, on a disk with room",
        got=got,
        remedy="give another --output-dir, or make room there",
    )


def _refuse_unwritable(folder: Path) -> None:
    """Finds out now, not after hours, that a folder cannot be made or written."""
    existing = next(place for place in (folder, *folder.parents) if os.path.exists(place))
    if not existing.is_dir():
        raise unwritable(folder, f"the file {existing} in its place")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise unwritable(folder, f"no permission to write in {existing}")


def _refuse_foreign(folder: Path) -> None:
    """Refuses a folder with files that no run of ours wrote."""
    names = [path.name for path in folder.iterdir() if path.name != INNER] if folder.exists() else []
    if names:
        raise RunError(
            f"cannot use {folder} as a run folder",
            expected=f"a new or empty folder, or one with the {RECORD_NAME} of a run",
            got=f"files of something else: {listed(names)}",
            remedy="give another --output-dir",
        )


def left_nothing(folder: Path, former: RunRecord) -> bool:
    """Whether a run ended early without a file or a part: its folder is as good as empty."""
    if former.status not in ("failed", "interrupted"):
        return False
    parts = folder / INNER / "partial"
    written = any((folder / name).exists() for name in former.files)
    return not written and not any(path.is_file() for path in parts.rglob("*"))


def _refuse_command(folder: Path, former: RunRecord, wanted: RunRecord) -> None:
    """Refuses a folder with the run of another command, which not even an overwrite may replace."""
    if former.command != wanted.command:
        raise RunError(
            f"cannot write into {folder}: it holds the run of another command",
            expected=f"a run of {wanted.command}, or none",
            got=f"a run of {former.command}",
            remedy="give another --output-dir",
        )


def _refuse_other(folder: Path, found: list[str]) -> None:
    """Refuses a folder that holds another run, naming what differs."""
    if not found:
        return
    rest = len(found) - SHOWN
    more = f", and {rest} more" if rest > 0 else ""
    raise RunError(
        f"cannot write into {folder}: it holds another run",
        expected="the command, settings and inputs of the run in it",
        got=", ".join(found[:SHOWN]) + more,
        remedy="give another --output-dir, or --overwrite to replace the run in it",
    )

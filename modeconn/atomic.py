"""Files and folders that appear whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path, *, scratch: Path) -> Iterator[Path]:
    """A temporary path of the same name that takes the target's place when the block ends well.

    When the block raises, the former target stays as it was and the temporary path is removed. A file
    changes hands in one rename. A folder needs two, so a crash between them leaves no folder, never half
    of one.

    Args:
        target: The file or folder to write; its parent folders are made.
        scratch: A folder of the same file system; what is being written lies there, hidden, until it is whole.

    Yields:
        A path that does not exist yet, with the target's name, for the block to make.

    Raises:
        FileNotFoundError: The block wrote nothing there.
        OSError: The file system refused; the former target is whole.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    desk = Path(tempfile.mkdtemp(dir=scratch, prefix=".writing-"))
    temporary = desk / "new" / target.name
    try:
        temporary.parent.mkdir()
        yield temporary
        if temporary.is_file():
            _reach_disk(temporary)
        _put(temporary, target, former=desk / "former")
    finally:
        shutil.rmtree(desk, ignore_errors=True)


def _reach_disk(file: Path) -> None:
    """Waits until the file's bytes are on disk: a late "disk full" must come before the rename."""
    with file.open("r+b") as handle:
        os.fsync(handle.fileno())


def _put(temporary: Path, target: Path, *, former: Path) -> None:
    """Renames into place; a folder in the way is set aside first, and put back when the rename fails."""
    if not target.is_dir():
        os.replace(temporary, target)
        return
    os.replace(target, former)
    try:
        os.replace(temporary, target)
    except OSError:
        os.replace(former, target)
        raise

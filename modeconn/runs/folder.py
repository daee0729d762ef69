"""A run folder: created, resumed or refused; its files appear whole; its record says how it ended."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from modeconn import atomic
from modeconn.errors import ModeconnError, RunError
from modeconn.runs import tables
from modeconn.runs.admission import (
    INNER,
    admit,
    discard_files,
    left_nothing,
    refusal,
    refuse_changed,
    sweep,
    unwritable,
)
from modeconn.runs.lock import FolderLock
from modeconn.runs.processes import Processes
from modeconn.runs.record import RECORD_NAME, RunRecord
from modeconn.runs.strict_json import plain

if TYPE_CHECKING:
    import pandas as pd


class RunFolder:
    """What one run leaves on disk; `RunFolder.open` makes it, a `with` block is the run.

    The block writes `run.json` when it starts and when it ends: `finished`, `failed`, or `interrupted`
    with all finished parts kept. Every file takes its name by a rename once it is whole. A run that failed before
    its first part was finished leaves nothing, not even a folder that it made.

    Of several processes the main one writes.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     with RunFolder.open(folder, command="demo", settings={"seed": 0}) as run:
        ...         run.record(device="cpu", dtype="float32")
        ...         path = run.write_text("a result", "note.txt")
        ...     RunFolder.open(folder, command="demo", settings={"seed": 0}).finished
        True
    """

    def __init__(
        self,
        folder: Path,
        wanted: RunRecord,
        former: RunRecord | None,
        *,
        overwrite: bool,
        processes: Processes | None = None,
    ) -> None:
        self.folder, self.processes = folder, processes or Processes()
        self.finished = former is not None and former.status == "finished"
        self.resumed = former is not None and not self.finished
        self._wanted, self._overwrite = wanted, overwrite
        self._record = former or wanted
        self._lock = FolderLock(folder / INNER / "lock")
        self._scratch = folder / INNER / "writing"
        self._open = False
        self._began = 0.0
        self._made: tuple[Path, ...] = ()  # folders that were not there before, the innermost first

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        command: str,
        settings: object,
        hashes: Mapping[str, str] | None = None,
        overwrite: bool = False,
        processes: Processes | None = None,
    ) -> Self:
        """Looks at a folder before any work is done; writes nothing.

        Args:
            folder: Where the run goes; it and its parents are made when the run starts.
            command: The verb that runs.
            settings: Its settings, a dataclass or a mapping of plain values.
            hashes: Content hashes of the inputs by name, where they are known already. A run whose inputs
                have changed since is another run.
            overwrite: Whether to replace what a former run of the same command left here. Files that no
                run wrote stay.
            processes: Those that share the run. The main process alone looks at the folder and writes it; in the others
                the run is the same, and its block leaves the folder as it is.

        Returns:
            The run: `finished` if the same run ended well here before, `resumed` if it ended early, so
            that parts of it may be here.

        Raises:
            RunError: The folder holds another run or files of no run, is in use by another process, or
                cannot be written.
        """
        path = Path(folder).expanduser().absolute()
        content = dict(plain(settings, at="settings"))
        wanted = RunRecord(command=command, settings=content, hashes=dict(hashes or {}))
        processes = processes or Processes()
        former = processes.from_main(lambda: admit(path, wanted, overwrite=overwrite))
        return cls(path, wanted, former, overwrite=overwrite, processes=processes)

    def __enter__(self) -> Self:
        if not self.processes.is_main:
            return self
        self._made = tuple(folder for folder in (self.folder, *self.folder.parents) if not folder.exists())
        try:
            self._lock.acquire()
        except OSError as error:
            raise unwritable(self.folder, error.strerror or str(error)) from error
        try:
            self._start()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.processes.is_main:
            return
        self._open = False
        try:
            self._end(error)
        except ModeconnError:
            if error is None:  # else the first error is the one to show
                raise
        finally:
            self._lock.release()

    def record(self, **facts: Any) -> None:  # noqa: ANN401  (any JSON value)
        """Adds facts to `run.json`.

        Args:
            **facts: `device`, `dtype`, `seeds={...}` and `hashes={...}` are entries of their own;
                anything else goes to `facts`.

        Raises:
            RunError: A resumed run met other inputs than it started with, or a number is not finite.
        """
        if not self.processes.is_main:
            return
        self._must_be_open()
        refuse_changed(self.folder, self._record.hashes, facts.get("hashes", {}))
        self._save(self._record.with_facts(facts))

    def path(self, name: str | Path) -> Path:
        """The absolute path of a file of this run; raises ValueError for a name outside the folder."""
        path = self.folder / name
        parts = path.relative_to(self.folder).parts if path.is_relative_to(self.folder) else ()
        if not parts or ".." in parts or parts == (RECORD_NAME,):
            raise ValueError(f"{name} is not a name for a file of a run")
        return path

    def partial(self, key: str) -> Path:
        """A path for a part of the result: it survives an interrupt and goes when the run ends well.

        Args:
            key: A relative file name, such as `line-0000.parquet`.

        Returns:
            An absolute path that the write methods take as a name; it exists if the part was finished.
        """
        return self.path(Path(INNER, "partial", key))

    @contextmanager
    def replacing(self, name: str | Path) -> Iterator[Path]:
        """A temporary path that becomes the named file or folder when the block ends well.

        Args:
            name: A name in the run folder, or a path from `partial`.

        Yields:
            A path with the same file name for the block to write to.

        Raises:
            RunError: The disk is full or refuses; the former file is whole.
        """
        self._must_be_open()
        target = self.path(name)
        listed = target.relative_to(self.folder).as_posix()
        if listed not in self._record.files and not listed.startswith(f"{INNER}/"):
            # Noted first: a file that a crash leaves unnoted would outlive an overwrite.
            self._save(replace(self._record, files=(*self._record.files, listed)))
        with refusal(target), atomic.replacing(target, scratch=self._scratch) as temporary:
            yield temporary

    def write_csv(self, frame: "pd.DataFrame", name: str | Path) -> Path:
        """Writes a table as CSV, floats exact, and returns its path; `modeconn.runs.read_csv` reads it."""
        with self.replacing(name) as temporary:
            tables.write_csv(frame, temporary)
        return self.path(name)

    def write_parquet(self, frame: "pd.DataFrame", name: str | Path) -> Path:
        """Writes a table as parquet and returns its path."""
        with self.replacing(name) as temporary:
            tables.write_parquet(frame, temporary)
        return self.path(name)

    def write_text(self, text: str, name: str | Path) -> Path:
        """Writes UTF-8 text with Unix line ends and returns its path."""
        with self.replacing(name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
        return self.path(name)

    def _start(self) -> None:
        """Looks again, now that nobody else can change the folder, and writes the first `run.json`."""
        former = admit(self.folder, self._wanted, overwrite=self._overwrite, locked=True)
        if former is not None and former.status == "finished":
            raise RunError(
                f"cannot run again in {self.folder}",
                expected="a run that is not finished",
                got=f"one that finished after {former.seconds:g} s",
                remedy="start the same command again: it shows the result",
            )
        with refusal(self.folder):
            if former is None:
                discard_files(self.folder)
            sweep(self._scratch)
        record = former.again() if former else self._wanted
        self._save(record.with_facts({"hashes": self._wanted.hashes}))
        self._open, self._began = True, time.perf_counter()

    def _end(self, error: BaseException | None) -> None:
        """Writes how the run ended; a run that ended well leaves no parts behind, one that failed at once nothing."""
        self._save(self._record.ended(error, seconds=time.perf_counter() - self._began))
        self.finished = error is None
        if self.finished:
            sweep(self.folder / INNER)
        elif self._record.status == "failed" and left_nothing(self.folder, self._record):
            self._leave_nothing()

    def _leave_nothing(self) -> None:
        """Takes the record and the folders away that the run has made."""
        (self.folder / RECORD_NAME).unlink(missing_ok=True)
        sweep(self.folder / INNER)
        with suppress(OSError):  # others may have put something there
            for folder in self._made:
                folder.rmdir()

    def _save(self, record: RunRecord) -> None:
        """Writes the record by rename, then holds it: memory and disk never disagree for long."""
        target = self.folder / RECORD_NAME
        with refusal(target), atomic.replacing(target, scratch=self._scratch) as temporary:
            temporary.write_text(record.text(), encoding="utf-8", newline="\n")
        self._record = record

    def _must_be_open(self) -> None:
        """Raises RuntimeError outside the main process's `with` block, where no lock guards the folder."""
        if not self._open:
            raise RuntimeError("a run folder is written inside its `with` block")

"""A lock on a run folder, so that two processes never write one run."""

import os
from contextlib import suppress
from pathlib import Path

from modeconn.errors import RunError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


class FolderLock:
    """An exclusive lock in the form of a file that names the process holding it.

    The lock belongs to the open file (`flock`), so it ends with its process, however that ends: a file
    left by a killed process locks nothing. Where the system has no `flock`, the file itself is the lock.

    Args:
        path: The lock file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Takes the lock at once.

        Raises:
            RunError: Another process holds it.
        """
        while self._descriptor is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = self._open()
            # The former holder removes the file when it ends: a lock on a removed file guards nothing.
            if self._names(descriptor):
                self._descriptor = descriptor
                os.truncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
            else:
                os.close(descriptor)

    def release(self) -> None:
        """Gives the lock back and removes its file; does nothing when it is not held."""
        if self._descriptor is None:
            return
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None

    def refuse_if_held(self) -> None:
        """Raises `RunError` when another process holds the lock; leaves everything as it is."""
        with suppress(FileNotFoundError):  # no lock file, or one that just went
            os.close(self._open(create=False))

    def _open(self, *, create: bool = True) -> int:
        """A descriptor of the lock file that holds the lock."""
        if fcntl is None:
            return self._open_exclusively(create)
        descriptor = os.open(self._path, os.O_RDWR | (os.O_CREAT if create else 0), 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise self._held() from None
        except OSError:
            pass  # a file system without locks: better an unguarded run than none
        return descriptor

    def _open_exclusively(self, create: bool) -> int:
        """The lock file itself as the lock, for systems without `flock`."""
        if self._path.exists():
            raise self._held()
        return os.open(self._path, os.O_RDWR | (os.O_CREAT | os.O_EXCL if create else 0), 0o644)

    def _names(self, descriptor: int) -> bool:
        """Whether the lock file on disk is still the one that is open."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self._path))
        except FileNotFoundError:
            return False

    def _held(self) -> RunError:
        """The refusal, with the holder's process id."""
        holder = "unknown"
        with suppress(OSError):
            holder = self._path.read_text(encoding="utf-8") or holder
        return RunError(
            f"cannot use {self._path.parent.parent}",
            expected="a run folder that no other process writes",
            got=f"a folder in use by process {holder}",
            remedy="wait until that run ends, or give another --output-dir"
            + ("" if fcntl else f"; if no such process runs, delete {self._path}"),
        )

"""One holder at a time; nothing that a dead process left locks a folder."""

import os

import pytest

from modeconn.errors import RunError
from modeconn.runs import lock as lock_module
from modeconn.runs.lock import FolderLock


@pytest.fixture(params=["flock", "file"])
def path(request, tmp_path, monkeypatch):
    """A lock file's path, with `flock` and as on a system without it."""
    if request.param == "file":
        monkeypatch.setattr(lock_module, "fcntl", None)
    return tmp_path / ".run" / "lock"


def test_a_second_holder_is_refused(path):
    first, second = FolderLock(path), FolderLock(path)
    first.acquire()
    with pytest.raises(RunError, match="in use by process"):
        second.acquire()
    with pytest.raises(RunError, match="in use by process"):
        second.refuse_if_held()
    first.release()


def test_a_released_lock_can_be_taken_and_leaves_no_file(path):
    first, second = FolderLock(path), FolderLock(path)
    first.acquire()
    first.release()
    assert not path.exists()
    second.acquire()
    second.release()


def test_looking_at_a_free_lock_makes_no_file(path):
    FolderLock(path).refuse_if_held()
    assert not path.parent.exists()


def test_releasing_twice_does_not_end_the_next_holders_lock(path):
    first, second = FolderLock(path), FolderLock(path)
    first.acquire()
    first.release()
    second.acquire()
    first.release()
    with pytest.raises(RunError, match="in use by process"):
        first.acquire()
    second.release()


def test_a_file_left_by_a_dead_process_locks_nothing(tmp_path):
    pytest.importorskip("fcntl")
    (tmp_path / "lock").write_text("99999")
    lock = FolderLock(tmp_path / "lock")
    lock.refuse_if_held()
    lock.acquire()
    with pytest.raises(RunError, match=f"in use by process {os.getpid()}"):
        FolderLock(tmp_path / "lock").acquire()
    lock.release()


def test_a_lock_on_a_removed_file_is_taken_again(tmp_path):
    """The former holder removes the file between our opening and our locking of it."""
    pytest.importorskip("fcntl")

    class Late(FolderLock):
        opened = 0

        def _open(self, *, create=True):
            descriptor = super()._open(create=create)
            self.opened += 1
            if self.opened == 1:
                self._path.unlink()
            return descriptor

    late = Late(tmp_path / "lock")
    late.acquire()
    with pytest.raises(RunError, match="in use by process"):
        FolderLock(tmp_path / "lock").acquire()
    late.release()

"""What is written in a run folder is whole: a crash, a full disk or NaN leaves the former file."""

import pandas as pd
import pytest

from modeconn.errors import RunError
from modeconn.runs import RunFolder, read_record


@pytest.fixture
def run(tmp_path):
    """A run that is under way."""
    with RunFolder.open(tmp_path, command="x", settings={}) as run:
        yield run


def crash_in_a_write(run):
    with run.replacing("profile.csv") as temporary:
        temporary.write_text("ha")
        raise ZeroDivisionError


def test_a_crash_inside_a_write_leaves_the_former_file(run):
    path = run.write_text("whole", "profile.csv")
    with pytest.raises(ZeroDivisionError):
        crash_in_a_write(run)
    assert path.read_text() == "whole"
    assert list((run.folder / ".run").rglob("profile.csv")) == []


def test_a_full_disk_leaves_the_former_file_and_is_told(run):
    resource = pytest.importorskip("resource")
    path = run.write_text("whole", "big.txt")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write .*big.txt\n.*\n  got: File too large"):
            run.write_text("x" * 200_000, "big.txt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "whole"


def test_an_error_of_the_block_is_not_taken_for_the_disks(run):
    with pytest.raises(FileNotFoundError), run.replacing("a.txt"):
        (run.folder / "no-such-input").read_text()


def test_a_folder_is_replaced_as_a_whole(run):
    for name in ("first", "second"):
        with run.replacing("figures") as temporary:
            temporary.mkdir()
            (temporary / name).write_text("")
    assert [path.name for path in (run.folder / "figures").iterdir()] == ["second"]


def test_a_block_that_writes_nothing_is_an_error(run):
    with pytest.raises(FileNotFoundError), run.replacing("a.txt"):
        pass


@pytest.mark.parametrize("name", ["../x", "/x", "run.json", "", "a/../../x"])
def test_names_outside_the_folder_are_refused(run, name):
    with pytest.raises(ValueError, match="not a name for a file of a run"), run.replacing(name):
        pytest.fail("the block ran")


def test_a_number_that_is_not_finite_has_no_place_in_the_record(run):
    with pytest.raises(RunError, match=r"cannot write facts.gate as JSON\n.*\n  got: nan"):
        run.record(gate=float("nan"))
    assert read_record(run.folder).facts == {}


def test_tables_are_written_in_both_forms(run):
    frame = pd.DataFrame({"task": ["a"], "loss": [0.1]})
    assert run.write_csv(frame, "profile.csv").read_bytes() == b"task,loss\na,0.1\n"
    pd.testing.assert_frame_equal(pd.read_parquet(run.write_parquet(frame, "examples.parquet")), frame)


def test_what_is_written_is_listed_in_the_record(run):
    run.write_text("", run.partial("0.txt"))
    run.write_text("", "b.txt")
    run.write_text("", "a/c.txt")
    run.write_text("", "b.txt")
    assert read_record(run.folder).files == ("b.txt", "a/c.txt")

"""A run folder is created, resumed or refused, and never left with half a file."""

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from modeconn.errors import RunError
from modeconn.runs import RunFolder, read_record


@dataclass(frozen=True)
class Settings:
    num_points: int = 21
    tasks: tuple[str, ...] = ("a", "b")
    output_dir: str = "out"
    overwrite: bool = False


def opened(folder, *, command="evaluate", overwrite=False, hashes=None, **settings):
    return RunFolder.open(folder, command=command, settings=Settings(**settings), hashes=hashes, overwrite=overwrite)


def finish(folder, **settings):
    run = opened(folder, **settings)
    with run:
        run.write_text("old", "result.txt")
    return run


def interrupt(folder, error=KeyboardInterrupt, hashes=None):
    def work():
        with opened(folder) as run:
            run.write_text("half of it", run.partial("part.txt"))
            run.record(hashes=hashes or {})
            raise error

    with pytest.raises(error):
        work()


def test_a_new_folder_and_its_parents_are_made(tmp_path):
    finish(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "result.txt").read_text() == "old"


def test_opening_writes_nothing(tmp_path):
    opened(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_record_says_what_ran_and_how_it_ended(tmp_path):
    with opened(tmp_path) as run:
        run.record(device="cpu", dtype="float32", seeds={"data": 3}, hashes={"base": "ab"}, gate=1e-7)
        run.record(hashes={"task": "cd"})
    content = json.loads((tmp_path / "run.json").read_text())
    expected = {
        "command": "evaluate",
        "status": "finished",
        "device": "cpu",
        "dtype": "float32",
        "seeds": {"data": 3},
        "hashes": {"base": "ab", "task": "cd"},
        "facts": {"gate": 1e-7},
        "files": [],
        "error": None,
    }
    assert content | expected == content
    assert content["settings"] == {"num_points": 21, "tasks": ["a", "b"], "output_dir": "out", "overwrite": False}
    assert content["versions"].keys() == {"python", "modeconn", "torch", "transformers", "peft", "numpy"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", content["started"])
    assert content["seconds"] >= 0
    assert content["peak_memory_mib"] > 1


def test_the_status_is_running_inside_the_block(tmp_path):
    with opened(tmp_path):
        assert read_record(tmp_path).status == "running"


def test_a_finished_run_holds_its_files_and_nothing_hidden(tmp_path):
    run = opened(tmp_path)
    with run:
        run.write_text("x", run.partial("deep/part.txt"))
        run.write_text("y", "tables/profile.txt")
    names = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert names == {"run.json", "tables/profile.txt"}
    assert not (tmp_path / ".run").exists()


def test_a_finished_run_is_known_again(tmp_path):
    assert finish(tmp_path).finished
    assert opened(tmp_path).finished


def test_a_finished_run_is_not_started_again(tmp_path):
    finish(tmp_path)
    with pytest.raises(RunError, match="cannot run again in"), opened(tmp_path):
        pytest.fail("the block ran")


def test_a_finished_run_without_its_result_is_made_again(tmp_path):
    finish(tmp_path)
    (tmp_path / "result.txt").unlink()
    assert not opened(tmp_path).finished


def test_where_the_run_is_kept_does_not_make_it_another(tmp_path):
    finish(tmp_path, output_dir="here")
    assert opened(tmp_path, output_dir="there").finished


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError, "failed"), (KeyboardInterrupt, "interrupted"), (SystemExit, "interrupted")]
)
def test_an_error_is_recorded_and_passes(tmp_path, error, status):
    interrupt(tmp_path, error)
    record = read_record(tmp_path)
    assert (record.status, record.error) == (status, f"{error.__name__}: ")


def test_an_interrupted_run_keeps_its_parts_and_goes_on(tmp_path):
    interrupt(tmp_path)
    run = opened(tmp_path)
    assert run.resumed
    with run:
        assert run.partial("part.txt").read_text() == "half of it"
    assert read_record(tmp_path).attempts == 2


def test_time_adds_up_over_attempts(tmp_path):
    interrupt(tmp_path)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seconds": 100.0}))
    finish(tmp_path)
    assert read_record(tmp_path).seconds >= 100


def fail_at_once(folder, error=ValueError):
    def work():
        with opened(folder) as run:
            run.record(device="cpu")
            with run.replacing("result.txt") as temporary:
                temporary.write_text("half")
                raise error

    with pytest.raises(error):
        work()


def test_a_run_that_failed_before_its_first_part_leaves_nothing(tmp_path):
    fail_at_once(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_was_there_stays_with_what_is_in_it(tmp_path):
    (tmp_path / "empty").mkdir()
    fail_at_once(tmp_path / "empty")
    assert list((tmp_path / "empty").iterdir()) == []
    finish(tmp_path / "out", num_points=5)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="late"), opened(tmp_path / "out", overwrite=True):
        raise ValueError("late")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_interrupted_run_says_so_even_without_a_part(tmp_path):
    fail_at_once(tmp_path, KeyboardInterrupt)
    assert read_record(tmp_path).status == "interrupted"


def test_other_settings_are_another_run(tmp_path):
    finish(tmp_path)
    with pytest.raises(RunError, match=r"holds another run\n(.*\n)*  got: num_points 21 \(now 5\), tasks"):
        opened(tmp_path, num_points=5, tasks=("c",))


@pytest.mark.parametrize("overwrite", [False, True])
def test_the_run_of_another_command_is_never_replaced(tmp_path, overwrite):
    finish(tmp_path)
    with pytest.raises(RunError, match=r"got: a run of evaluate\n  remedy: give another --output-dir$"):
        opened(tmp_path, command="train", overwrite=overwrite)
    assert (tmp_path / "result.txt").read_text() == "old"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_run_that_left_nothing_makes_room_for_any_other(tmp_path, error):
    def fail():
        with opened(tmp_path, num_points=1) as run:
            run.record(hashes={"base": "ab"})
            raise error

    with pytest.raises(error):
        fail()
    with opened(tmp_path, command="train", num_points=5) as run:
        run.record(hashes={"base": "cd"})
    record = read_record(tmp_path)
    assert (record.command, record.settings["num_points"], record.hashes) == ("train", 5, {"base": "cd"})


def test_a_failed_run_that_left_a_file_is_another_run(tmp_path):
    def fail():
        with opened(tmp_path) as run:
            run.write_text("first of two", "result.txt")
            raise ValueError("late")

    with pytest.raises(ValueError, match="late"):
        fail()
    with pytest.raises(RunError, match="holds another run"):
        opened(tmp_path, num_points=5)


def test_at_most_ten_differences_are_told(tmp_path):
    before, now = ({f"s{index:02}": value for index in range(12)} for value in (0, 1))
    with RunFolder.open(tmp_path, command="x", settings=before):
        pass
    with pytest.raises(RunError, match=r"s09 0 \(now 1\), and 2 more\n"):
        RunFolder.open(tmp_path, command="x", settings=now)


def test_nested_settings_are_compared_by_dotted_name(tmp_path):
    with RunFolder.open(tmp_path, command="x", settings={"method": {"decay": 0.9, "rank": 1}}):
        pass
    with pytest.raises(RunError, match=r"got: method.decay 0.9 \(now 0.5\)\n"):
        RunFolder.open(tmp_path, command="x", settings={"method": {"decay": 0.5, "rank": 1}})


def test_changed_inputs_are_another_run(tmp_path):
    with opened(tmp_path, hashes={"start": "ab"}):
        pass
    assert opened(tmp_path, hashes={"start": "ab"}).finished
    with pytest.raises(RunError, match=r'got: content of start "ab" \(now "cd"\)'):
        opened(tmp_path, hashes={"start": "cd"})


def test_a_resumed_run_refuses_changed_inputs(tmp_path):
    interrupt(tmp_path, hashes={"task": "ab"})
    with pytest.raises(RunError, match="changed content of task"), opened(tmp_path) as run:
        run.record(hashes={"task": "cd"})


def test_files_of_something_else_are_never_taken_over(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(RunError, match=r"files of something else: thesis.tex\n"):
            opened(tmp_path, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_overwrite_replaces_what_the_run_wrote_and_keeps_the_rest(tmp_path):
    finish(tmp_path, num_points=5)
    (tmp_path / "notes.txt").write_text("mine")
    with opened(tmp_path, overwrite=True) as run:
        assert {path.name for path in tmp_path.iterdir()} == {".run", "notes.txt", "run.json"}
        run.write_text("new", "other.txt")
    assert {path.name for path in tmp_path.iterdir()} == {"notes.txt", "other.txt", "run.json"}
    assert read_record(tmp_path).settings["num_points"] == 21


def test_overwrite_drops_the_parts_of_an_interrupted_run(tmp_path):
    interrupt(tmp_path)
    with opened(tmp_path, overwrite=True) as run:
        assert not run.partial("part.txt").exists()


def test_overwrite_is_not_begun_by_opening(tmp_path):
    finish(tmp_path)
    opened(tmp_path, overwrite=True)
    assert (tmp_path / "result.txt").read_text() == "old"


def test_an_overwrite_cut_short_is_completed_by_the_next_run(tmp_path):
    finish(tmp_path, num_points=5)
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"finished"', '"discarded"'))  # as a crash would leave it
    with opened(tmp_path) as run:
        assert not (tmp_path / "result.txt").exists()
        run.write_text("new", "result.txt")
    assert opened(tmp_path).finished


@pytest.mark.parametrize("text", ["", "[]", '{"command": "evaluate"}', "\0"])
def test_a_record_of_something_else_is_refused(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunError, match=r"cannot read .*run.json\n  expected: the record of a run"):
        opened(tmp_path, overwrite=True)


def test_entries_of_another_version_are_no_obstacle(tmp_path):
    finish(tmp_path)
    path = tmp_path / "run.json"
    content = json.loads(path.read_text()) | {"later": 1}
    del content["peak_device_memory_mib"]
    path.write_text(json.dumps(content))
    assert opened(tmp_path).finished


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "out").write_text("")
    for folder in (tmp_path / "out", tmp_path / "out" / "deep"):
        with pytest.raises(RunError, match=r"cannot write .*\n.*\n  got: the file .*out in its place"):
            opened(folder)


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="got: no permission to write in"):
        opened(tmp_path / "out")


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a file system that refuses new folders")
def test_a_folder_that_cannot_be_made_is_refused():
    with pytest.raises(RunError, match="cannot write /proc/modeconn"), opened("/proc/modeconn"):
        pytest.fail("the block ran")


def test_a_folder_may_be_named_through_its_parent(tmp_path):
    (tmp_path / "a").mkdir()
    finish(tmp_path / "a" / ".." / "b")
    assert (tmp_path / "b" / "result.txt").exists()


def test_nothing_is_written_outside_the_block(tmp_path):
    run = finish(tmp_path)
    with pytest.raises(RuntimeError, match="inside its `with` block"):
        run.write_text("late", "late.txt")


KILLED = """
import sys, time
from modeconn.runs import RunFolder
run = RunFolder.open(sys.argv[1], command="x", settings={})
with run:
    run.write_text("done", run.partial("0.txt"))
    with run.replacing("1.txt") as temporary:
        temporary.write_text("ha")
        print("ready", flush=True)
        time.sleep(60)
"""


def test_a_killed_process_leaves_a_run_that_goes_on(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE)
    with process:
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(RunError, match=f"got: a folder in use by process {process.pid}\n"):
            RunFolder.open(tmp_path, command="x", settings={})
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "1.txt").exists()
    run = RunFolder.open(tmp_path, command="x", settings={})
    assert run.resumed
    with run:
        assert run.partial("0.txt").read_text() == "done"
        assert list((tmp_path / ".run").rglob("1.txt")) == []

"""`modeconn demo` on two embedded tasks: interrupted, taken up, finished and shown again."""

import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

import modeconn as mc
from modeconn.cli.demo import METHODS
from modeconn.cli.main import main
from modeconn.continual import ScoreMatrix
from modeconn.runs import read_csv, read_record

DATA = Path(__file__).parents[2] / "data"
NUM_TESTED = 60
SMALL = ["--tasks", "tone", "arithmetic", "--num-train-epochs", "1", "--num-points", "2", "--lines", *METHODS]
FIRST, SECOND = "after-1-tone", "after-2-arithmetic"
TABLES = {"run.json", "profile.csv", "examples.parquet", "barriers.csv", "bands.csv", "lost_examples.csv"}
FIGURES = ("profile", "barriers", "examples")
METRICS = ("accuracy", "exact_match")
COMPARED = ("forgetting", "sequential", "ilora")


class Ended(NamedTuple):
    """How a start of the demo ended, and the checkpoints that it left, with the times when they were written."""

    code: int
    out: str
    err: str
    checkpoints: dict[str, int]


class Demo(NamedTuple):
    """Three starts of one demo, one after the other."""

    folder: Path
    interrupted: Ended
    resumed: Ended
    again: Ended


def start(folder: Path) -> Ended:
    """One start of a small demo."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["demo", *SMALL, "--output-dir", str(folder)])
    written = {
        f"{method}/{name}": file.stat().st_mtime_ns
        for method in METHODS
        for name in (FIRST, SECOND)
        if (file := folder / method / name / "adapter_model.safetensors").exists()
    }
    return Ended(code, out.getvalue(), err.getvalue(), written)


def fewer_tested(folder: Path) -> Path:
    """The embedded base and the two tasks, of whose test splits the first examples alone."""
    shutil.copytree(DATA / "base", folder / "base")
    for name in ("tone", "arithmetic"):
        file = Path(shutil.copytree(DATA / "tasks" / name, folder / "tasks" / name)) / "test.json"
        file.write_text(json.dumps(json.loads(file.read_text())[:NUM_TESTED]))
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, stopped while its first checkpoint is scored, and started twice more."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    embedded = fewer_tested(tmp_path_factory.mktemp("embedded"))

    def stop(*_: object) -> object:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modeconn.cli.demo.files", lambda _: embedded)
        with patch.context() as during:
            during.setattr(mc.AdapterModel, "evaluate", stop)
            interrupted = start(folder)
        resumed = start(folder)
        with patch.context() as during:
            during.setattr("modeconn.models.adapter_model.load_base", None)  # calling it would fail
            again = start(folder)
    return Demo(folder, interrupted, resumed, again)


@pytest.mark.slow
def test_an_interrupted_demo_goes_on_after_its_last_checkpoint(demo: Demo) -> None:
    first = f"sequential/{FIRST}"
    assert (demo.interrupted.code, demo.interrupted.checkpoints.keys()) == (130, {first})
    assert demo.resumed.code == 0
    assert len(demo.resumed.checkpoints) == 4
    assert demo.resumed.checkpoints[first] == demo.interrupted.checkpoints[first]
    record = read_record(demo.folder / "sequential")
    assert record is not None
    assert (record.status, record.attempts) == ("finished", 2)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_demo_leaves_the_lines_of_every_method(demo: Demo, method: str) -> None:
    lines = demo.folder / "lines" / method
    figures = {f"figures/{name}.{ending}" for name in FIGURES for ending in ("pdf", "svg", "png", "csv")}
    assert {path.relative_to(lines).as_posix() for path in lines.rglob("*") if path.is_file()} == TABLES | figures
    assert set(read_csv(lines / "profile.csv")["path"]) == {f"{FIRST} -> {SECOND}"}


@pytest.mark.slow
def test_the_demo_compares_the_methods(demo: Demo) -> None:
    compared = demo.folder / "comparison"
    names = {path.relative_to(compared / "figures").as_posix() for path in (compared / "figures").iterdir()}
    assert names == {f"{one}-{m}.{end}" for one in COMPARED for m in METRICS for end in ("pdf", "svg", "png", "csv")}
    scores = read_csv(compared / "scores.csv")
    for method, own in scores.groupby("method"):
        assert own.reset_index(drop=True).equals(read_csv(demo.folder / str(method) / "scores.csv"))
        (line,) = (line for line in demo.resumed.out.splitlines() if line.split()[:1] == [method] and "." in line)
        shown = [float(number) for number in line.split()[1:]]
        assert shown == pytest.approx(list(ScoreMatrix.from_frame(own).summary().values()), abs=1e-4)
    assert set(scores["method"]) == set(METHODS)


@pytest.mark.slow
def test_the_first_task_is_learnt_and_then_forgotten_most_without_memory(demo: Demo) -> None:
    lost = {}
    for method in METHODS:
        scores = read_csv(demo.folder / method / "scores.csv").query("metric == 'loss' and task == 'tone'")
        before, learnt, forgotten = scores.set_index("after_task")["score"].loc[[0, 1, 2]]
        assert learnt < before
        assert all(f"{loss:.4f}" in demo.resumed.out for loss in (before, learnt, forgotten))
        lost[method] = forgotten / learnt
    assert lost["sequential"] > 1.2
    assert lost["ilora"] < lost["sequential"]


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_the_ends_of_the_line_are_the_checkpoints(demo: Demo, method: str) -> None:
    scores = read_csv(demo.folder / method / "scores.csv").query("metric == 'loss'")
    matrix = scores.set_index(["task", "after_task"])["score"]
    profile = read_csv(demo.folder / "lines" / method / "profile.csv").set_index(["task", "t"])["loss"]
    for task in ("tone", "arithmetic"):
        assert profile[task, 0.0] == pytest.approx(matrix[task, 1], rel=1e-5)
        assert profile[task, 1.0] == pytest.approx(matrix[task, 2], rel=1e-5)


@pytest.mark.slow
def test_a_finished_demo_is_shown_again_and_nothing_trained(demo: Demo) -> None:
    assert (demo.again.code, demo.again.out) == (0, demo.resumed.out)
    for part in ("lines/sequential", "lines/ilora", "comparison"):
        assert f"finished before, shown again: {demo.folder / part}\n" in demo.again.err
    assert demo.again.checkpoints == demo.resumed.checkpoints


@pytest.mark.parametrize("tasks", [["stance"], ["stance", "weather"]])
def test_tasks_that_make_no_demo_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tasks: list[str]
) -> None:
    assert main(["demo", "--tasks", *tasks, "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: the demo cannot be run on these tasks\n  expected: two or more of arithmetic, law")
    assert f"  got: {', '.join(tasks)}\n" in told
    assert not (tmp_path / "out").exists()

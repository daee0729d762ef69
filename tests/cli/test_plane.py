"""The command that measures a plane: three points, a curve, resuming, and what is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from modeconn.cli.main import main
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")


@pytest.fixture
def points(adapters: Callable[..., Path]) -> list[str]:
    return [str(adapters("llama", seed)) for seed in (1, 2, 3)]


@pytest.fixture
def plane(points: list[str], task_folders: list[str]) -> list[str]:
    """The arguments of a coarse plane, its output folder left out."""
    return ["plane", "--points", *points, "--tasks", *task_folders, "--num-points", "2", "--quiet"]


@pytest.fixture
def curve(points: list[str], tmp_path: Path) -> Path:
    """A path folder."""
    import modeconn as mc

    start, bend, end = (mc.Adapter.from_pretrained(point) for point in points)
    return mc.save_path(mc.BezierCurve([start, bend, end], name="arc"), tmp_path / "curve")


@pytest.mark.usefixtures("all_formats")
def test_a_plane_leaves_a_complete_run_folder(
    plane: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*plane, "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "distance: L2, from the plane" in printed
    assert "lowest loss of the grid" in printed
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert files == {
        "run.json",
        "plane.csv",
        "points.csv",
        *(f"figures/plane.{e}" for e in ("pdf", "svg", "png", "csv")),
    }
    assert len(read_csv(out / "plane.csv")) == 4 * 2
    assert read_csv(out / "points.csv")["name"].tolist() == ["llama-1", "llama-2", "llama-3"]
    record = read_record(out)
    assert record is not None
    assert {"base model", "task first", "adapter llama-3"} <= record.hashes.keys()
    assert len(record.facts["checks"]["points_agree_with_peft_within"]) == 3
    assert main([*plane, "--output-dir", str(out)]) == 0
    again = capsys.readouterr()
    assert again.out == printed
    assert again.err == f"finished before, shown again: {out}\n"
    assert main([*plane, "--output-dir", str(out), "--dry-run"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_a_path_is_projected_and_a_fourth_point_too(
    plane: list[str], points: list[str], adapters: Callable[..., Path], curve: Path, tmp_path: Path
) -> None:
    more = ["--points", *points, str(adapters("llama", 4)), "--path", str(curve)]
    assert main([*plane, *more, "--output-dir", str(tmp_path / "out")]) == 0
    found = read_csv(tmp_path / "out" / "points.csv")
    assert found["role"].value_counts().to_dict() == {"path": 41, "point": 3, "other": 1}
    assert found.query("role == 'other'")["distance"].item() > 0.1
    assert found.query("role == 'path'")["distance"].max() < 1e-5  # its bend is the third point


def test_a_curve_spans_a_plane_of_its_own(task_folders: list[str], curve: Path, tmp_path: Path) -> None:
    arguments = ["plane", "--path", str(curve), "--tasks", *task_folders, "--num-points", "2", "--quiet"]
    assert main([*arguments, "--output-dir", str(tmp_path / "out")]) == 0
    assert set(read_csv(tmp_path / "out" / "plane.csv")["surface"]) == {"plane along arc"}


def test_an_interrupted_plane_goes_on_and_equals_a_straight_one(
    plane: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import modeconn as mc

    evaluate, calls = mc.AdapterModel.evaluate, []

    def interrupted(self: mc.AdapterModel, *args: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return evaluate(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(mc.AdapterModel, "evaluate", interrupted)
    assert main([*plane, "--output-dir", str(tmp_path / "halted")]) == 130
    assert not (tmp_path / "halted" / "plane.csv").exists()
    assert main([*plane, "--output-dir", str(tmp_path / "halted")]) == 0
    assert len(calls) == 3 + 2  # two points were kept
    assert main([*plane, "--output-dir", str(tmp_path / "straight")]) == 0
    for name in ("plane.csv", "points.csv", "figures/plane.svg"):
        assert (tmp_path / "halted" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_a_dry_run_writes_nothing(plane: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*plane, "--output-dir", str(tmp_path / "out"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "MiB" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--num-points", "1"], "a grid cannot have 1 lines"),
        (["--margin", "-1"], "a grid cannot have a margin of -1.0"),
        (["--split", "eval"], "has no split 'eval'"),
        (["--path", "no-such-path"], "cannot read no-such-path/path.json"),
    ],
)
def test_bad_input_ends_with_1_and_four_parts(
    plane: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    assert main([*plane, "--output-dir", str(tmp_path / "out"), *extra]) == 1
    told = capsys.readouterr().err
    assert message in told
    assert all(part in told for part in ("expected: ", "got: ", "remedy: "))
    assert not (tmp_path / "out" / "plane.csv").exists()


@pytest.fixture
def around(points: list[str], task_folders: list[str]) -> list[str]:
    """The arguments of a coarse surface around the first point, its output folder left out."""
    return ["plane", "--around", points[0], "--tasks", *task_folders, "--num-points", "3", "--quiet"]


@pytest.mark.usefixtures("all_formats")
def test_around_one_checkpoint_both_directions_are_random(
    around: list[str], points: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import modeconn as mc

    out = tmp_path / "out"
    assert main([*around, "--seed", "3", "--radius", "0.5", "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "filter-normalised step, update" in printed
    found = read_csv(out / "plane.csv")
    point = mc.Adapter.from_pretrained(points[0])
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    tasks = [mc.Task.load(around[4 + number]) for number in range(2)]
    expected = mc.evaluate_surface(point, model, tasks, radius=0.5, num_points=3, seed=3).frame
    assert found["loss"].to_numpy() == pytest.approx(expected["loss"].to_numpy(), rel=1e-6)
    assert sorted(found["x"].unique()) == [-0.5, 0.0, 0.5]
    record = read_record(out)
    assert record is not None
    assert (record.facts["checks"]["filters"], record.facts["checks"]["seed"]) == ("update", 3)
    assert {path.name for path in (out / "figures").iterdir()} == {f"plane.{e}" for e in ("pdf", "svg", "png", "csv")}
    assert main([*around, "--seed", "3", "--radius", "0.5", "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out == printed


def test_a_dry_run_around_a_checkpoint_counts_the_grid(
    around: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*around, "--filters", "factors", "--dry-run", "--output-dir", str(tmp_path / "out")]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("points ")]
    assert line.split() == ["points", "9"]


def test_two_points_or_nothing_span_no_plane(
    plane: list[str], points: list[str], task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--output-dir", str(tmp_path / "out")]
    assert main([*plane, "--points", *points[:2], *out]) == 1
    assert "got: 2 points, no path" in capsys.readouterr().err
    assert main(["plane", "--tasks", *task_folders, *out]) == 1
    assert "got: 0 points, no path" in capsys.readouterr().err


def test_points_on_a_line_are_refused_before_the_model_is_loaded(
    plane: list[str],
    points: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import modeconn as mc

    line = mc.LinearPath(*(mc.Adapter.from_pretrained(point) for point in points[:2]))
    middle = line(0.5).save_pretrained(tmp_path / "middle")
    monkeypatch.setattr("modeconn.models.adapter_model.load_base", None)  # calling it would fail
    assert main([*plane, "--points", *points[:2], str(middle), "--output-dir", str(tmp_path / "out")]) == 1
    assert "three points on a line do not span a plane" in capsys.readouterr().err


def test_an_output_folder_with_an_input_is_never_written(
    plane: list[str], curve: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = shutil.move(curve, tmp_path / "out" / "curve")
    assert main([*plane, "--path", str(moved), "--output-dir", str(tmp_path / "out"), "--overwrite"]) == 1
    assert "holds nothing that the run reads" in capsys.readouterr().err
    assert (tmp_path / "out" / "curve" / "path.json").exists()


def test_how_examples_are_read_is_set_as_in_an_evaluation(plane: list[str], tmp_path: Path) -> None:
    given = ["--separator", "\n", "--unlisted-answers", "leave-out", "--output-dir", str(tmp_path / "out")]
    assert main([*plane, *given]) == 0
    record = read_record(tmp_path / "out")
    assert record is not None
    assert record.facts["encoding"]["separator"] == "\n"
    assert record.settings["unlisted_answers"] == "leave-out"

"""A command in several processes gives the tables of one, speaks once, and ends as one."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_tasks import make_task
from launches import launch, run_in

from modeconn.cli.main import main
from modeconn.evaluation import records
from modeconn.runs import read_record

pytestmark = pytest.mark.usefixtures("svg_only")

SEVERAL = """
import json, os, sys
from modeconn.cli.main import main
from modeconn.plotting.saving import save_figure
save_figure.__kwdefaults__["formats"] = ("svg",)  # as the test's own process
for arguments in json.loads(sys.argv[1]):
    told = f"process {os.environ['RANK']} ends with {main(arguments)}\\n"
    sys.stdout.write(told)  # in one piece: a launched process has no buffer
    sys.stdout.flush()
"""
BREAKING = """
import json, os, signal, sys
from modeconn.cli.main import main
from modeconn.errors import EvaluationError
from modeconn.evaluation import records

real, points = records.example_records, []

def measured(*arguments, **options):
    points.append(arguments)
    if os.environ["RANK"] == "1" and len(points) == 2:
        BREAK
    return real(*arguments, **options)

records.example_records = measured
sys.exit(main(json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A task whose score is that of written answers."""
    folder = tmp_path_factory.mktemp("tasks") / "written"
    folder.mkdir()
    examples = make_task("written", 0, labels=False, num_examples=10).splits["test"]
    records = [{"prompt": example.prompt, "answer": example.answer} for example in examples]
    (folder / "test.json").write_text(json.dumps(records))
    settings = {"name": "written", "metric": "generated_exact_match", "max_new_tokens": 3}
    (folder / "task.json").write_text(json.dumps(settings))
    return str(folder)


@pytest.fixture(scope="module")
def commands(adapters: Callable[..., Path], task_folders: list[str], written: str) -> dict[str, list[str]]:
    """Command lines by name, their output folders left out."""
    a, b, c = (str(adapters("llama", seed)) for seed in (1, 2, 3))
    first = task_folders[0]
    return {
        "grid": [
            "evaluate",
            "--start",
            a,
            "--end",
            b,
            "--tasks",
            first,
            written,
            "--num-points",
            "4",
            "--token-budget",
            "90",
        ],
        "resolved": ["evaluate", "--points", a, b, "--tasks", first, "--tolerance", "0.3"],
        "precise": ["evaluate", "--points", a, b, "--tasks", *task_folders, "--precision", "0.5", "--num-points", "3"],
        "plane": ["plane", "--points", a, b, c, "--tasks", *task_folders, "--num-points", "3"],
        "matrix": ["matrix", "--points", a, b, c, "--tasks", first, "--num-points", "4"],
    }


@pytest.fixture(scope="module")
def alone(commands: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process writes."""
    folder = tmp_path_factory.mktemp("alone")
    for name, arguments in commands.items():
        assert main([*arguments, "--output-dir", str(folder / name)]) == 0
    return folder


def tables(folder: Path) -> dict[str, bytes]:
    """Every table in a folder, byte for byte."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.suffix in (".csv", ".parquet")
    }


def kept(folder: Path) -> int:
    """The points that an unfinished run keeps."""
    return len(list((folder / ".run" / "partial").glob("point-*")))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "names"), [(2, ["grid", "resolved", "plane"]), (3, ["grid", "precise", "matrix"])])
def test_tables_of_several_processes_are_those_of_one(
    count: int, names: list[str], commands: dict[str, list[str]], alone: Path, tmp_path: Path
) -> None:
    several = [[*commands[name], "--output-dir", str(tmp_path / name)] for name in names]
    done = launch(count, SEVERAL, several, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" ends with 0\n") == count * len(names)
    assert done.stdout.count("\nwritten: ") == len(names)
    for name in names:
        assert tables(tmp_path / name) == tables(alone / name)
        record, expected = (read_record(folder / name) for folder in (tmp_path, alone))
        assert record is not None
        assert expected is not None
        assert record.status == "finished"
        assert record.facts["checks"] == expected.facts["checks"]
        assert record.facts["num_processes"] == count
        assert "num_processes" not in expected.facts


@pytest.mark.slow
@pytest.mark.parametrize(
    ("breaks", "finished"),
    [
        ('raise EvaluationError("it broke", expected="a", got="b", remedy="c")', 3),
        ("os.kill(os.getpid(), signal.SIGKILL)", 2),
    ],
)
def test_a_process_that_ends_early_ends_all_and_finished_points_are_kept(
    breaks: str,
    finished: int,
    commands: dict[str, list[str]],
    alone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arguments = [*commands["grid"], "--output-dir", str(tmp_path / "run")]
    done = launch(2, BREAKING.replace("BREAK", breaks), arguments, folder=tmp_path)
    assert done.returncode == 1
    assert "written: " not in done.stdout
    assert done.stderr.count("error: it broke\n  expected: a\n  got: b\n  remedy: c\n") == ("raise" in breaks)
    assert kept(tmp_path / "run") == finished

    real, points = records.example_records, []
    monkeypatch.setattr(records, "example_records", lambda *given, **more: points.append(given) or real(*given, **more))
    assert main(arguments) == 0
    assert len(points) == 4 - finished
    assert tables(tmp_path / "run") == tables(alone / "grid")


@pytest.mark.slow
def test_a_command_that_cannot_share_its_work_says_so_once(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"]
    settings = ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    done = run_in(tmp_path, [*launcher, *settings, "-m", "modeconn", "inspect", "adapter"])
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("error: modeconn inspect cannot share its work\n  expected: one process\n") == 1
    assert done.stderr.count("remedy: start it without torchrun and accelerate launch: modeconn inspect ...\n") == 1

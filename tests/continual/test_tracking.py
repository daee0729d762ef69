"""Trackers follow a run: every step, every score, the settings; they are closed whatever happens."""

import math
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from accelerate import tracking
from accelerate.tracking import GeneralTracker
from method_runs import NUM_STEPS, SEQUENCE, log_of

import modeconn as mc
from modeconn.cli.main import main
from modeconn.continual import train
from modeconn.runs import read_record

SHORT = {"num_train_epochs": 2, "learning_rate": 2e-2}


class Notes(GeneralTracker):
    """A tracker that keeps what it is told."""

    name = "notes"
    requires_logging_directory = True
    made: ClassVar[list["Notes"]] = []

    def __init__(self, run_name: str, logging_dir: Path) -> None:
        super().__init__()
        self.run_name, self.logging_dir = run_name, logging_dir
        self.settings: dict[str, Any] = {}
        self.told: list[tuple[int | None, dict[str, float]]] = []
        self.finished = False
        Notes.made.append(self)

    @property
    def tracker(self) -> "Notes":
        return self

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.settings = values

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        self.told.append((step, values))

    def finish(self) -> None:
        self.finished = True


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> list[Notes]:
    """All trackers of the kind that were made, which accelerate knows."""
    monkeypatch.setitem(tracking.LOGGER_TYPE_TO_CLASS, "notes", Notes)
    monkeypatch.setattr(Notes, "made", [])
    return Notes.made


def test_a_tracker_is_told_every_step_and_every_score(
    bases: Callable[[str], Path], tmp_path: Path, notes: list[Notes]
) -> None:
    run = train(tmp_path / "run", bases("llama"), SEQUENCE, report_to=("notes",), **SHORT)
    (tracker,) = notes
    assert (tracker.run_name, tracker.logging_dir) == ("run", tmp_path / "run" / "trackers")
    assert tracker.settings["learning_rate"] == 2e-2
    assert tracker.finished
    steps = [(step, values) for step, values in tracker.told if "loss" in values]
    assert [step for step, _ in steps] == list(range(1, 2 * NUM_STEPS + 1))
    logged = [{name: one for name, one in row.items() if name not in ("task", "step")} for row in log_of(run)]
    assert [values for _, values in steps] == logged
    scores = [(step, values) for step, values in tracker.told if "loss" not in values]
    assert [step for step, _ in scores] == [NUM_STEPS, 2 * NUM_STEPS]
    for after, (_, values) in enumerate(scores, start=1):
        own = run.scores[run.scores["after_task"] == after]
        assert values == {f"{row.metric}/{row.task}": row.score for row in own.itertuples()}


def test_trackers_are_closed_after_an_error_and_go_on_afterwards(
    bases: Callable[[str], Path], tmp_path: Path, notes: list[Notes]
) -> None:
    def stop(done: int, total: int, what: str) -> None:
        del total
        if "second" in what and done == 2:
            raise KeyboardInterrupt

    settings = {**SHORT, "save_steps": 1, "report_to": ("notes",)}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", bases("llama"), SEQUENCE, progress=stop, **settings)
    assert notes[0].finished
    train(tmp_path / "run", bases("llama"), SEQUENCE, **settings)
    steps = [step for tracker in notes for step, values in tracker.told if "loss" in values]
    assert sorted(set(steps)) == list(range(1, 2 * NUM_STEPS + 1))
    assert len(notes) == 2


def test_a_tracker_is_no_part_of_what_a_run_is(
    bases: Callable[[str], Path], tmp_path: Path, notes: list[Notes]
) -> None:
    train(tmp_path / "run", bases("llama"), SEQUENCE[:1], **SHORT)
    again = train(tmp_path / "run", bases("llama"), SEQUENCE[:1], report_to=("notes",), **SHORT)
    assert again.finished_before
    assert notes == []
    record = read_record(tmp_path / "run")
    assert record is not None
    assert "report_to" not in record.settings


@pytest.mark.parametrize("name", ["wandb", "clearml", "notebook"])
def test_trackers_that_are_not_there_are_refused(
    bases: Callable[[str], Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = rf"(?s)cannot be tracked\n  expected: trackers that are installed: .*notes.*\n  got: {name}\n.*--report-to"
    with pytest.raises(mc.RunError, match=told):
        train(tmp_path / "run", bases("llama"), SEQUENCE, report_to=(name,))
    assert not (tmp_path / "run").exists()
    embedded = Path(mc.__file__).parents[1] / "data"
    command = ["train", "--base-model", str(bases("llama")), "--tasks", str(embedded / "tasks" / "stance")]
    assert main([*command, "--output-dir", str(tmp_path / "run"), "--report-to", name]) == 1
    assert capsys.readouterr().err.startswith("error: the run cannot be tracked\n")


def test_tensorboard_gets_the_losses(bases: Callable[[str], Path], tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run = train(tmp_path / "run", bases("llama"), SEQUENCE[:1], report_to=("tensorboard",), **SHORT)
    found: dict[str, list[float]] = {}
    for file in sorted((tmp_path / "run" / "trackers").rglob("events.*")):
        for name, value in _scalars(file):
            found.setdefault(name, []).append(value)
    assert found["loss"] == pytest.approx([row["loss"] for row in log_of(run)], rel=1e-6)
    assert math.isfinite(found["accuracy/first"][0])


def _scalars(file: Path) -> Iterator[tuple[str, float]]:
    """Names and values of an event file: records of length, checksum, event, checksum."""
    from tensorboardX.proto.event_pb2 import Event

    content, begin = file.read_bytes(), 0
    while begin < len(content):
        (size,) = struct.unpack("<Q", content[begin : begin + 8])
        event = Event.FromString(content[begin + 12 : begin + 12 + size])
        yield from ((value.tag, value.simple_value) for value in event.summary.value)
        begin += 12 + size + 4

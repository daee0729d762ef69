"""Merging along a path: the chosen position is the best of the line, and the result lies there."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_tasks import make_task
from method_runs import SHORT, check_resumes, fingerprints, points, tiny_run

import modeconn as mc
from modeconn.adapters import combine
from modeconn.adapters.truncating import truncated
from modeconn.continual import TrainRun, train
from modeconn.continual.methods import PathMerge, Sequential
from modeconn.errors import RunError, TaskError
from modeconn.models.generating import example_sums
from modeconn.runs import read_record
from modeconn.tasks.encoding import EncodingSettings

THREE = [make_task(name, shift) for shift, name in enumerate(("first", "second", "third"))]
Trained = Callable[..., TrainRun]


@pytest.fixture
def trained(bases: Callable[[str], Path], tmp_path: Path) -> Trained:
    """A run of three tasks, whose training examples validate."""

    def run(method: Sequential, name: str = "run", family: str = "llama", **settings: Any) -> TrainRun:
        settings = {**SHORT, "rank": 2, "validation_split": "train", **settings}
        return train(tmp_path / name, bases(family), THREE, method=method, **settings)

    return run


def positions(run: TrainRun) -> list[float]:
    """The chosen positions as the record has them."""
    record = read_record(run.checkpoints[0].parent)
    assert record is not None
    return record.facts["merged_at"]


def best(path: mc.LinearPath, model: mc.AdapterModel, tasks: Sequence[mc.Task], by: str, num_points: int) -> float:
    """The best position, by a loop over the public functions."""
    splits = [model.encode(task, "train", EncodingSettings()) for task in tasks]
    table = []
    for t in torch.linspace(0, 1, num_points, dtype=torch.float64).tolist():
        sums = model.evaluate(path(t), splits)
        loss = sum(one.loss_sum.sum() / one.num_tokens.sum() for one in sums) / len(sums)
        score = sum(one.score.mean() for one in sums) / len(sums)
        table.append(((-round(score, 9), loss) if by == "score" else (loss,), t))
    return min(table)[1]


@pytest.mark.parametrize(("space", "by"), [("weights", "score"), ("weights", "loss"), ("factors", "score")])
def test_the_result_is_the_best_point_of_the_line(
    trained: Trained, bases: Callable[[str], Path], space: str, by: str
) -> None:
    run = trained(PathMerge(num_points=6, space=space, choose_by=by))  # type: ignore[arg-type]
    newest = [mc.Adapter.from_pretrained(folder) for folder in run.others["newest"]]
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    assert positions(run)[0] == 1.0
    assert not (points(run)[0] - newest[0]).norm()
    for number in (2, 3):
        path = mc.LinearPath(points(run)[number - 2], newest[number - 1], space=space)  # type: ignore[arg-type]
        t = best(path, model, THREE[:number], by, 6)
        assert positions(run)[number - 1] == t
        assert (points(run)[number - 1] - path(t)).norm() < 1e-5 * path(t).norm()
    assert any(0 < t < 1 for t in positions(run))


def test_training_goes_on_as_without_merging(trained: Trained) -> None:
    plain = trained(Sequential(), "plain")
    merged = trained(PathMerge(num_points=3), "merged")
    assert [mc.Adapter.from_pretrained(one).fingerprint for one in merged.others["newest"]] == fingerprints(plain)


def test_a_buffer_of_everything_chooses_as_the_training_split_does(trained: Trained) -> None:
    settings = {"score_eos": False}  # what validation scores
    options = {"num_points": 6, "choose_by": "loss"}
    by_split = trained(PathMerge(**options), "split", **settings)  # type: ignore[arg-type]
    by_buffer = trained(PathMerge(**options, choose_on="buffer"), "buffer", **settings)  # type: ignore[arg-type]
    assert positions(by_split) == positions(by_buffer)
    assert fingerprints(by_split) == fingerprints(by_buffer)


def test_the_buffer_shares_its_room_among_tasks(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"))
    method = PathMerge(choose_on="buffer", buffer_size=8, num_points=2).start(run)
    for number in (1, 2):
        method.end_task(number)
    assert [split.num_examples for split in method._splits(2)] == [4, 4]
    assert [len(split.order) for split in method._splits(2)] == [4, 4]


def test_the_next_task_starts_from_the_nearest_lora_of_the_result(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("bert"), rank=2)
    method = PathMerge(next_start="result", choose_on="buffer").start(run)
    learners = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        run.load({name: torch.randn_like(value) for name, value in run.learner.weights.items()})
        learners.append(run.point())
    own = run.weights()
    held = method._held(learners[1])
    assert all(torch.equal(value, held[name]) for name, value in own.items())  # of one checkpoint, bit for bit
    between = combine((0.4, 0.6), learners)
    nearest, _ = truncated(between, 2)
    found = run.point(method._held(between))
    for name, update in nearest.updates.items():
        assert (found.updates[name].dense() - update.dense()).norm() < 1e-4 * update.dense().norm()
    for name, value in between.saved.items():
        assert torch.allclose(found.saved[name], value, atol=1e-6)


@pytest.mark.parametrize("space", ["weights", "factors"])
@pytest.mark.parametrize("next_start", ["newest", "result"])
def test_where_the_next_task_starts(bases: Callable[[str], Path], tmp_path: Path, space: str, next_start: str) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"), rank=8)  # as much as both checkpoints have
    method = PathMerge(space=space, next_start=next_start, choose_on="buffer").start(run)  # type: ignore[arg-type]
    for seed in (0, 1):
        torch.manual_seed(seed)
        for name, value in run.learner.weights.items():
            value.data = torch.zeros_like(value)
            rank = value[:4] if "lora_A" in name else value[:, :4]
            rank.data.normal_()
        method._merged.take(0.3)
    newest = run.scores(run.eval_sets[:1])[0].loss_sum
    with run.module_at(method.result()) as module:
        result = example_sums(run.model, module, run.eval_sets[0]).loss_sum
    method.start_task(2)
    now = run.scores(run.eval_sets[:1])[0].loss_sum
    assert now == pytest.approx(newest if next_start == "newest" else result, rel=1e-3)
    assert abs(newest - result).max() > 0.1


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path, space: str) -> None:
    method = PathMerge(num_points=3, choose_on="buffer", space=space, next_start="result")  # type: ignore[arg-type]
    check_resumes(tmp_path, bases("llama"), method)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": 1}, "num_points of path-merge cannot be used\n  expected: 2 or more\n  got: 1\n"),
        ({"choose_on": "test"}, "choose_on of path-merge cannot be used\n  expected: validation or buffer"),
        ({"choose_by": "luck"}, "choose_by of path-merge cannot be used\n  expected: score or loss"),
        ({"next_start": "zero"}, "next_start of path-merge cannot be used\n  expected: newest or result"),
        ({"buffer_size": 2}, "buffer_size of path-merge cannot be used\n  expected: an example a task"),
        ({"space": "both"}, "space of path-merge cannot be used"),
    ],
)
def test_settings_that_cannot_be_used(trained: Trained, options: dict, message: str) -> None:
    with pytest.raises(RunError, match=message):
        trained(PathMerge(**options))


def test_pissa_cannot_hold_a_merged_result(trained: Trained) -> None:
    with pytest.raises(RunError, match=r"path-merge cannot be used with this adapter(.|\n)*got: pissa\n"):
        trained(PathMerge(next_start="result"), adapter="pissa")


def test_a_task_without_the_validation_split_is_refused(trained: Trained) -> None:
    with pytest.raises(TaskError, match="eval"):
        trained(PathMerge(), validation_split="eval")

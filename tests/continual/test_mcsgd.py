"""MC-SGD: the gradient is that of both lines' mean loss, and the point between serves both tasks."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from method_runs import check_resumes, fingerprints, loss_of, short_train, tiny_run

import modeconn as mc
from modeconn.continual.methods import MCSGD, Sequential
from modeconn.continual.run import Run
from modeconn.errors import RunError
from modeconn.runs import read_record

Weights = dict[str, torch.Tensor]


def drawn(run: Run, seed: int) -> Weights:
    """Any weights, small."""
    torch.manual_seed(seed)
    return {name: 0.3 * torch.randn_like(value) for name, value in run.learner.weights.items()}


def line_loss(run: Run, anchor: Weights, point: Weights, task: int, num_points: int) -> float:
    """The mean loss per token at `num_points` positions of a line, the anchor left out, in float64 sums."""
    batch = run.batch([(run.train_sets[task], row) for row in range(6)])
    total = 0.0
    for k in range(1, num_points + 1):
        t = k / num_points
        with run.at({name: (1 - t) * value + t * point[name] for name, value in anchor.items()}), torch.no_grad():
            total += float(run.losses(batch).double().sum()) / run.num_tokens(batch)
    return total / num_points


def test_the_gradient_is_that_of_the_lines(bases: Callable[[str], Path], tmp_path: Path) -> None:
    """Against a central difference along a random direction."""
    run = tiny_run(tmp_path / "run", bases("llama"), rank=2)
    method = MCSGD(num_line_points=3).start(run)
    old, new, point, way = (drawn(run, seed) for seed in range(4))
    rows = [[(run.train_sets[task], row) for row in range(6)] for task in (0, 1)]
    value = method._line_gradients(point, [(old, rows[0]), (new, rows[1])])
    slope = sum(float((one.grad * way[name]).sum()) for name, one in point.items() if one.grad is not None)

    def at(step: float) -> float:
        there = {name: one + step * way[name] for name, one in point.items()}
        return line_loss(run, old, there, 0, 3) + line_loss(run, new, there, 1, 3)

    assert value == pytest.approx(at(0.0) / 2, rel=1e-5)
    assert slope == pytest.approx((at(3e-4) - at(-3e-4)) / 6e-4, rel=1e-2)
    kept = run.weights()
    assert all(torch.equal(one, run.learner.weights[name]) for name, one in kept.items())


def test_the_point_between_keeps_the_first_task(bases: Callable[[str], Path], tmp_path: Path) -> None:
    long = {"num_train_epochs": 6}
    plain = short_train(tmp_path / "plain", bases("llama"), Sequential(), **long)
    run = short_train(tmp_path / "run", bases("llama"), MCSGD(line_steps=10, num_line_points=2), **long)
    assert loss_of(run, 2, "first") < 0.8 * loss_of(plain, 2, "first")
    newest = [mc.Adapter.from_pretrained(folder).fingerprint for folder in run.others["newest"]]
    assert newest == fingerprints(plain)  # training goes on as without
    assert fingerprints(run)[0] == fingerprints(plain)[0]


def test_the_loss_of_the_lines_falls(bases: Callable[[str], Path], tmp_path: Path) -> None:
    method = MCSGD(line_steps=10, num_line_points=2, start_position=1.0)
    run = short_train(tmp_path / "run", bases("llama"), method, num_train_epochs=4)
    record = read_record(run.checkpoints[0].parent)
    assert record is not None
    ((first, last),) = record.facts["line_losses"]
    assert last < 0.97 * first  # all that is remembered is in every batch


def test_what_is_remembered_follows_from_the_seed(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"))
    method = MCSGD(examples_per_task=5).start(run)
    first, second = ([row for _, row in method._remembered(number)] for number in (1, 2))
    assert first == [row for _, row in method._remembered(1)]
    assert first != second
    assert len(set(first)) == 5


def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_resumes(tmp_path, bases("llama"), MCSGD(line_steps=2, num_line_points=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"examples_per_task": 0}, "examples_per_task of mc-sgd cannot be used\n  expected: 1 or more\n  got: 0\n"),
        ({"num_line_points": 0}, "num_line_points of mc-sgd cannot be used"),
        ({"line_steps": 0}, "line_steps of mc-sgd cannot be used"),
        ({"line_batch_size": -1}, "line_batch_size of mc-sgd cannot be used"),
        ({"start_position": 1.5}, "start_position of mc-sgd cannot be used\n  expected: a number from 0 to 1"),
        ({"line_learning_rate": 0.0}, "line_learning_rate of mc-sgd cannot be used\n  expected: a number above 0"),
    ],
)
def test_settings_that_cannot_be_used(
    bases: Callable[[str], Path], tmp_path: Path, options: dict, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), MCSGD(**options))

"""Learning without forgetting: the model before the task teaches, and only what it knew."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from method_runs import (
    check_accumulates,
    check_resumes,
    fingerprints,
    log_of,
    loss_of,
    penalty_in_parts,
    short_train,
    tiny_run,
)
from torch.nn import functional

import modeconn as mc
from modeconn.continual.methods import LwF, Sequential
from modeconn.continual.methods.lwf import distillation
from modeconn.continual.share import shares
from modeconn.errors import RunError

Bases = Callable[[str], Path]


def test_the_distance_worked_by_hand() -> None:
    """At temperature 2, logits 2 log(3), 0 are the probabilities 3/4 and 1/4."""
    logits = torch.tensor([[0.0, 0.0], [4.0, 4.0]], requires_grad=True)
    taught = torch.tensor([[2 * torch.tensor(3.0).log(), 0.0], [1.0, 1.0]])
    found = distillation(logits, taught, temperature=2.0)
    assert found.item() == pytest.approx((0.75 * torch.tensor(1.5).log() + 0.25 * torch.tensor(0.5).log()).item() / 2)
    assert distillation(taught, taught, temperature=2.0).item() == pytest.approx(0.0, abs=1e-7)


def test_the_gradient_is_that_of_the_papers_cross_entropy() -> None:
    logits, taught = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).requires_grad_(True)
    (mine,) = torch.autograd.grad(distillation(logits, taught.detach(), temperature=2.0), logits)
    soft = (taught.detach() / 2).softmax(-1)
    (theirs,) = torch.autograd.grad(functional.cross_entropy(logits / 2, soft), logits)
    assert torch.allclose(mine, theirs, atol=1e-6)


def test_the_teacher_is_the_model_before_the_task(bases: Bases, tmp_path: Path) -> None:
    """So the first step's distance is 0, and a greater weight keeps later ones smaller."""
    distances = []
    for weight in (0.01, 10.0):
        run = short_train(tmp_path / str(weight), bases("llama"), LwF(distillation_weight=weight))
        log = log_of(run)
        assert all("penalty" not in one for one in log[:6])
        assert log[6]["penalty"] == pytest.approx(0, abs=1e-5)
        distances.append(sum(one["penalty"] for one in log[9:]) / weight)
    assert 0 < distances[1] < 0.7 * distances[0]


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_penalty_is_the_mean_over_scored_positions(bases: Bases, tmp_path: Path, family: str) -> None:
    """In batches of any size; against the formula on each row's probabilities."""
    run = tiny_run(tmp_path / "run", bases(family))
    method = LwF(distillation_weight=3.0, temperature=2.0).start(run)
    method.start_task(2)
    rows = list(range(6))
    assert penalty_in_parts(run, method, rows, 4) == pytest.approx(0, abs=1e-5)
    before = [run.logits(run.batch([(run.train_sets[1], row)])).detach() for row in rows]
    with torch.no_grad():
        for weight in run.learner.weights.values():
            weight.add_(0.1)
    total, count = 0.0, 0
    for row, taught in zip(rows, before, strict=True):
        batch = run.batch([(run.train_sets[1], row)])
        p, q = ((one.detach() / 2.0).softmax(-1) for one in (taught, run.logits(batch)))
        total, count = total + float((p * (p.log() - q.log())).sum()), count + run.num_tokens(batch)
    assert total > 1e-4
    for size in (6, 4, 1):
        assert penalty_in_parts(run, method, rows, size) == pytest.approx(3.0 * total / count, rel=1e-2)


def test_the_first_task_is_forgotten_less(bases: Bases, tmp_path: Path) -> None:
    settings = {"num_train_epochs": 4}
    plain = short_train(tmp_path / "plain", bases("llama"), Sequential(), **settings)
    run = short_train(tmp_path / "run", bases("llama"), LwF(distillation_weight=4.0), **settings)
    assert fingerprints(run)[0] == fingerprints(plain)[0]
    forgotten = [loss_of(one, 2, "first") - loss_of(one, 1, "first") for one in (run, plain)]
    assert forgotten[0] < 0.7 * forgotten[1]


def labelled(name: str, labels: tuple[str, ...]) -> mc.Task:
    records = [{"prompt": f"the cat sat on mat {'big ' * (i % 3)}", "answer": labels[i % 2]} for i in range(8)]
    return mc.Task.from_records(name, {"train": records, "test": records}, labels=list(labels))


def test_classifiers_compare_the_classes_of_earlier_tasks_only(bases: Bases, tmp_path: Path) -> None:
    tasks = [labelled("old", ("good", "bad")), labelled("new", ("yes", "no"))]
    run = tiny_run(tmp_path / "run", bases("bert"), tasks)
    assert run.model.family.labels == ("good", "bad", "yes", "no")  # type: ignore[attr-defined]
    method = LwF().start(run)
    method.start_task(1)
    batch = run.batch([(run.train_sets[1], row) for row in range(4)])
    logits = run.logits(batch)
    assert method.batch_penalty(batch, logits, replayed=False, share=shares([batch])[0]) is None
    method.start_task(2)
    moved = (logits.detach() + torch.tensor([1.0, -1.0, 5.0, 7.0])).requires_grad_(True)
    penalty = method.batch_penalty(batch, moved, replayed=False, share=shares([batch])[0])
    assert penalty is not None
    (gradient,) = torch.autograd.grad(penalty, moved)
    assert bool((gradient[..., :2] != 0).all())
    assert bool((gradient[..., 2:] == 0).all())


def test_killed_inside_a_task_it_ends_with_the_same_bits(bases: Bases, tmp_path: Path) -> None:
    check_resumes(tmp_path, bases("llama"), LwF())


def test_smaller_batches_make_the_same_steps(bases: Bases, tmp_path: Path) -> None:
    check_accumulates(tmp_path, bases("llama"), LwF())


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            LwF(temperature=0.0),
            r"^temperature of lwf cannot be used\n  expected: a number above 0\n  got: 0\.0\n  remedy:",
        ),
        (LwF(distillation_weight=-1.0), r"distillation_weight of lwf cannot be used\n  expected: 0 or more\n  got: -1"),
    ],
)
def test_settings_that_cannot_be_used(bases: Bases, tmp_path: Path, method: Sequential, message: str) -> None:
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), method)

"""Training on each task's own classes only, as if every task had a head of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_runs import SHORT, points, tiny_run
from tiny import TARGETS

import modeconn as mc
from modeconn.continual import plan_training, train
from modeconn.continual.fisher import example_losses
from modeconn.continual.methods import Sequential
from modeconn.continual.share import shares
from modeconn.continual.task_work import TaskWork
from modeconn.errors import ModelError

OWN: dict[str, Any] = {"target_modules": tuple(TARGETS["bert"]), "train_mask_labels": True, "mask_labels": True}


def task(name: str, labels: list[str]) -> mc.Task:
    verbs = ("sat", "ran", "is")
    records = [
        {"prompt": f"the cat {verbs[i % len(labels)]} {'big ' * (i % 4)}.", "answer": labels[i % len(labels)]}
        for i in range(16)
    ]
    return mc.Task.from_records(name, {"train": records, "eval": records[:6], "test": records}, labels=labels)


TASKS = [task("first", ["good", "bad", "maybe"]), task("second", ["no", "yes"])]


def test_a_row_is_scored_among_its_own_tasks_classes(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("bert"), TASKS, **OWN)
    rows = [(run.train_sets[number], row) for number, row in ((0, 0), (1, 0), (0, 2), (1, 1))]
    batch = run.batch(rows)
    logits = run.logits(batch)
    found = run.losses(batch, logits)
    parts = logits[:, 0].detach().double()
    expected = [
        torch.logsumexp(one[own], 0) - one[right]
        for one, own, right in zip(parts, [[0, 1, 2], [3, 4]] * 2, [0, 3, 2, 4], strict=True)
    ]
    assert torch.allclose(found.double(), torch.stack(expected), atol=1e-6)
    without = tiny_run(tmp_path / "without", bases("bert"), TASKS, **{**OWN, "train_mask_labels": False})
    assert without.batch([(without.train_sets[0], 0)]).allowed is None


@pytest.mark.parametrize("method", ["sequential", "replay"])
def test_the_classes_of_the_first_task_move_only_where_it_is_trained(
    bases: Callable[[str], Path], tmp_path: Path, method: str
) -> None:
    options = {"buffer_size": 8} if method == "replay" else {}
    run = train(tmp_path / "run", bases("bert"), TASKS, method=method, method_options=options, **{**SHORT, **OWN})
    heads = [point.saved["classifier.weight"] for point in points(run)]
    same = torch.equal(heads[0][:3], heads[1][:3])
    assert same == (method == "sequential")
    assert not torch.equal(heads[0][3:], heads[1][3:])


def test_tasks_trained_together_keep_their_own_classes(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("bert"), TASKS, method="multi-task", **OWN)
    (together,) = run.train_sets
    assert {row.allowed for row in together.rows.rows[:16]} == {(0, 1, 2)}
    assert {row.allowed for row in together.rows.rows[16:]} == {(3, 4)}


@pytest.mark.parametrize("method", ["sequential", "multi-task"])
def test_a_task_ends_early_by_the_loss_that_it_is_trained_on(
    bases: Callable[[str], Path], tmp_path: Path, method: str
) -> None:
    run = tiny_run(tmp_path / "run", bases("bert"), TASKS, method=method, **OWN, early_stopping_patience=1)
    work = TaskWork(run, len(run.train_sets))
    work.end_step(work.num_steps, Sequential())
    tasks = {"sequential": ["second"], "multi-task": ["first", "second"]}[method]
    assert [one.task for one in run.validation_sets[-1]] == tasks
    module, losses = run.learner.module.eval(), []
    for split in run.validation_sets[-1]:
        own = {"first": [0, 1, 2], "second": [3, 4]}[split.task]
        for row in split.rows.rows:
            logits = run.family.logits(module, run.family.collate([row], 0))[0, 0].detach().double()
            losses.append(float(torch.logsumexp(logits[own], 0) - logits[row.targets[0]]))
    assert work.state()["best"]["loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_answers_drawn_for_the_fisher_information_are_the_tasks_own(
    bases: Callable[[str], Path], tmp_path: Path
) -> None:
    run = tiny_run(tmp_path / "run", bases("bert"), TASKS, **OWN)
    losses = example_losses(run, run.train_sets[1], list(range(16)), torch.Generator().manual_seed(0))
    assert all(torch.isfinite(loss) for loss in losses)  # another class would have no probability


def test_a_model_without_classes_is_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    message = r"train_mask_labels \(--train-mask-labels\) cannot be followed: the model has no classes"
    settings = {**SHORT, "train_mask_labels": True}
    with pytest.raises(ModelError, match=message):
        train(tmp_path / "run", bases("llama"), TASKS, **settings)
    with pytest.raises(ModelError, match=message):
        plan_training(bases("llama"), TASKS, settings=mc.TrainSettings(**settings))


def test_lwf_teaches_the_answers_of_each_earlier_task_by_themselves(
    bases: Callable[[str], Path], tmp_path: Path
) -> None:
    tasks = [*TASKS, task("third", ["big", "red"])]
    run = tiny_run(tmp_path / "run", bases("bert"), tasks, method="lwf", **OWN)
    method = mc.LwF(temperature=1.0).start(run)
    torch.manual_seed(1)
    before = {name: weight + torch.randn_like(weight) for name, weight in run.weights().items()}
    method.start_task(3)
    method._before = before
    batch = run.batch([(run.train_sets[2], row) for row in range(3)])
    run.learner.module.eval()
    logits = run.logits(batch)
    with torch.no_grad(), run.at(before):
        taught = run.logits(batch)
    expected = 0.0
    for own in ([0, 1, 2], [3, 4]):
        mine, other = (one[:, 0, own].double().log_softmax(-1) for one in (logits, taught))
        expected += (other.exp() * (other - mine)).sum(1).mean().item()
    (share,) = shares([batch])
    found = method.batch_penalty(batch, logits, replayed=False, share=share)
    assert found is not None
    assert expected > 1e-3
    assert found.item() == pytest.approx(expected, rel=1e-4)

"""O-LoRA: earlier adapters stay as they are, the new one is pushed away from them, the checkpoint is their sum."""

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
    points,
    short_train,
    tiny_run,
)

from modeconn.adapters import Adapter
from modeconn.continual import TrainRun
from modeconn.continual.methods import OLoRA, Sequential
from modeconn.continual.run import Run
from modeconn.errors import RunError


def moved(run: Run, seed: int) -> None:
    """Any weights."""
    torch.manual_seed(seed)
    run.load({name: torch.randn_like(value) for name, value in run.learner.weights.items()})


def after_three_tasks(run: Run, **options: float) -> OLoRA:
    """The method in its third task, all weights drawn."""
    method = OLoRA(**options).start(run)  # type: ignore[arg-type]
    for number in (1, 2, 3):
        method.start_task(number)
        moved(run, number)
    return method


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_the_checkpoint_does_what_the_learner_with_its_frozen_pairs_did(
    bases: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    run = tiny_run(tmp_path / "run", bases(family), rank=2)
    method = after_three_tasks(run)
    result = method.result()
    assert isinstance(result, Adapter)
    assert {update.rank for update in result.updates.values()} == {6}
    learner = run.scores(run.eval_sets[:1])[0].loss_sum
    (point,) = run.model.evaluate(result, run.eval_sets[:1])
    assert point.loss_sum == pytest.approx(learner, rel=1e-3, abs=1e-3)
    run.save(result, tmp_path / "saved")
    (saved,) = run.model.evaluate(Adapter.from_pretrained(tmp_path / "saved"), run.eval_sets[:1])
    assert saved.loss_sum == pytest.approx(point.loss_sum, rel=1e-5)


@pytest.mark.parametrize("published", [False, True])
def test_the_penalty_worked_by_loops(bases: Callable[[str], Path], tmp_path: Path, published: bool) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"), rank=2)
    method = after_three_tasks(run, orthogonality_weight=0.25, published_sum=published)
    values: list[float] = []
    for pair in method._pairs:
        for old in method._frozen[pair.module][1]:
            for new in run.learner.weights[pair.down].detach():
                product = abs(float(old @ new))
                values.append(product if published else product / float(old.norm() * new.norm()))
    assert len(values) == 4 * 4 * 2  # modules, frozen rows, new rows
    expected = 0.25 * (sum(values) if published else sum(values) / len(values))
    penalty = method.weight_penalty()
    assert penalty is not None
    assert penalty.item() == pytest.approx(expected, rel=1e-5)


def test_orthogonal_rows_cost_nothing(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"), rank=2)
    method = OLoRA().start(run)
    penalties = []
    for number, rows in ((1, slice(0, 2)), (2, slice(2, 4))):
        method.start_task(number)
        penalties.append(method.weight_penalty())  # at the start
        for pair in method._pairs:
            run.learner.weights[pair.down].data.copy_(torch.eye(16)[rows])
        penalties.append(method.weight_penalty())
    assert penalties[:2] == [None, None]
    assert [float(one.detach()) > 0 for one in penalties[2:]] == [True, False]  # type: ignore[union-attr]


def largest_cosine(run: TrainRun) -> float:
    """Between the rows of the first and the second task's A, the mean over modules."""
    found = []
    for update in points(run)[-1].updates.values():
        down = torch.nn.functional.normalize(update.factors()[1], dim=1)  # [4, in]
        found.append(float((down[:2] @ down[2:].T).abs().mean()))
    return sum(found) / len(found)


def test_the_penalty_acts_and_keeps_the_earlier_pairs(bases: Callable[[str], Path], tmp_path: Path) -> None:
    runs = [
        short_train(
            tmp_path / f"{weight}", bases("llama"), OLoRA(orthogonality_weight=weight), rank=2, num_train_epochs=6
        )
        for weight in (0.0, 20.0)
    ]
    assert largest_cosine(runs[1]) < 0.5 * largest_cosine(runs[0])
    for run in runs:
        first, second = points(run)
        for name, update in first.updates.items():
            difference = second.updates[name].dense() - update.dense()
            assert torch.linalg.matrix_rank(difference, rtol=1e-4) <= 2
    penalties = ["weight_penalty" in one for one in log_of(runs[1])]
    assert penalties == [False] * 18 + [True] * 18


def test_every_task_starts_from_a_pair_of_its_own(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"), rank=2)
    method = OLoRA().start(run)
    starts = []
    for number in (1, 2, 3):
        method.start_task(number)
        starts.append({pair.module: run.learner.weights[pair.down].clone() for pair in method._pairs})
        assert not any(run.learner.weights[pair.up].any() for pair in method._pairs)
    for module, down in starts[0].items():
        assert not torch.equal(down, starts[1][module])
        assert not torch.equal(starts[1][module], starts[2][module])
        assert starts[1][module].abs().max() <= 1 / 4  # 1 / sqrt(in), as PEFT draws it


def test_the_first_task_is_plain_training(bases: Callable[[str], Path], tmp_path: Path) -> None:
    plain = short_train(tmp_path / "plain", bases("llama"), Sequential())
    orthogonal = short_train(tmp_path / "orthogonal", bases("llama"), OLoRA())
    assert points(orthogonal)[0].fingerprint == points(plain)[0].fingerprint
    assert fingerprints(orthogonal)[1] != fingerprints(plain)[1]
    assert loss_of(orthogonal, 2, "second") < loss_of(orthogonal, 1, "second")


def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_resumes(tmp_path, bases("llama"), OLoRA())


def test_smaller_batches_make_the_same_steps(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_accumulates(tmp_path, bases("llama"), OLoRA())


@pytest.mark.parametrize(
    ("method", "settings", "message"),
    [
        (OLoRA(orthogonality_weight=-1), {}, "orthogonality_weight of o-lora cannot be used\n  expected: 0 or more"),
        (OLoRA(), {"adapter": "full"}, "o-lora cannot be used with this adapter(.|\n)*got: full\n"),
        (OLoRA(), {"adapter": "dora"}, "o-lora cannot be used with this adapter(.|\n)*got: dora\n"),
    ],
)
def test_settings_that_cannot_be_used(
    bases: Callable[[str], Path], tmp_path: Path, method: OLoRA, settings: dict, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), method, **settings)

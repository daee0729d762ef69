"""GEM and A-GEM: the gradient that comes out is the nearest that memory allows."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from method_runs import check_accumulates, check_resumes, fingerprints, loss_of, short_train, tiny_run
from scipy.optimize import minimize
from torch import nn

from modeconn.continual.gradients import gradient_of_step, mean_gradient, set_gradient
from modeconn.continual.methods import AGEM, GEM, METHODS, Sequential
from modeconn.continual.methods.gem import project_onto_cone, project_onto_halfspace
from modeconn.errors import RunError

Bases = Callable[[str], Path]


def random_gradients(seed: int, num_tasks: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A gradient `[6]` that points against the first of some memories `[K, 6]`."""
    memories = torch.randn(num_tasks, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    other = torch.randn(6, generator=torch.Generator().manual_seed(seed + 100), dtype=torch.float64)
    return other - 2 * memories[0], memories


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(4))
def test_the_projection_is_that_of_a_general_solver(seed: int, num_tasks: int) -> None:
    gradient, memories = random_gradients(seed, num_tasks)
    found = project_onto_cone(gradient, memories)
    assert (memories @ found).min() > -1e-9
    g, m = gradient.numpy(), memories.numpy()
    limits = {"type": "ineq", "fun": lambda h: m @ h, "jac": lambda _: m}
    best = minimize(
        lambda h: ((h - g) ** 2).sum(), g, jac=lambda h: 2 * (h - g), constraints=[limits], options={"ftol": 1e-14}
    )
    assert np.allclose(found.numpy(), best.x, atol=1e-5)


def test_equal_memories_count_once() -> None:
    gradient, memories = random_gradients(0, 2)
    twice = torch.cat([memories, memories, 3 * memories[:1]])
    assert torch.allclose(project_onto_cone(gradient, twice), project_onto_cone(gradient, memories), atol=1e-9)


def test_one_memory_has_a_closed_form() -> None:
    gradient, memory = torch.tensor([3.0, -4.0]), torch.tensor([0.0, 2.0])
    for found in (project_onto_halfspace(gradient, memory), project_onto_cone(gradient, memory[None])):
        assert torch.allclose(found, torch.tensor([3.0, 0.0]))


@pytest.mark.parametrize(("margin", "expected"), [(0.5, 0.0), (3.0, 2.0)])
def test_the_margin_is_the_least_that_is_added(margin: float, expected: float) -> None:
    gradient, memories = torch.tensor([3.0, -4.0]), torch.tensor([[0.0, 2.0]])  # without margin, v = 2
    assert torch.allclose(project_onto_cone(gradient, memories, margin=margin), torch.tensor([3.0, expected]))


@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_what_memory_allows_stays_the_same_object(value: float) -> None:
    gradient, memories = torch.tensor([value, 0.0]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert project_onto_cone(gradient, memories, margin=0.5) is gradient
    assert project_onto_halfspace(gradient, memories[0]) is gradient


def test_a_weight_without_gradient_counts_as_zero_and_stays_without() -> None:
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(1))]
    weights[0].grad = torch.tensor([1.0, 2.0])
    assert gradient_of_step(weights).tolist() == [1, 2, 0, 0, 0, 0, 0]
    set_gradient(weights, torch.tensor([5.0, 6.0, 0, 0, 0, 0, 7.0]))
    assert weights[0].grad.tolist() == [5, 6]
    assert weights[1].grad is None
    assert weights[2].grad is not None


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_gradient_of_memory_is_that_of_its_mean_loss_in_batches_of_any_size(
    bases: Bases, tmp_path: Path, family: str
) -> None:
    run = tiny_run(tmp_path / "run", bases(family), per_device_train_batch_size=3)
    weights = list(run.learner.weights.values())
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    rows = [(run.train_sets[0], row) for row in range(8)]
    found = mean_gradient(run, rows)
    run.learner.module.eval()
    batch = run.batch(rows)
    loss = run.losses(batch).sum() / run.num_tokens(batch)
    expected = torch.cat([one.flatten() for one in torch.autograd.grad(loss, weights)])
    assert expected.norm() > 0
    assert torch.allclose(found, expected, rtol=1e-3, atol=1e-6 * float(expected.norm()))
    assert all(bool((weight.grad == 1).all()) for weight in weights if weight.grad is not None)


@pytest.mark.parametrize("method", [AGEM(buffer_size=16), GEM(buffer_size=16, margin=0.0)])
def test_no_step_points_against_memory(
    bases: Bases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: AGEM
) -> None:
    """The cosines of the step's gradient with memory's, before and after, on the gradients that the optimiser gets."""
    before, after = [], []

    class Watched(type(method)):
        def projected(self, gradient: torch.Tensor, memories: torch.Tensor) -> torch.Tensor:
            self.heard = memories[0] / (memories[0].norm() * gradient.norm())
            before.append(float(self.heard @ gradient))
            return super().projected(gradient, memories)

        def adjust_gradients(self) -> None:
            count = len(before)
            super().adjust_gradients()
            if len(before) > count:
                after.append(float(self.heard @ gradient_of_step(list(self.run.learner.weights.values()))))

    monkeypatch.setitem(METHODS, method.name, Watched)  # type: ignore[arg-type]
    short_train(tmp_path / "run", bases("llama"), method, num_train_epochs=4)
    assert len(before) == 12  # in the second task only
    assert min(before) < -0.05
    assert min(after) > -1e-6
    assert all(now == pytest.approx(max(was, 0), abs=1e-6) for was, now in zip(before, after, strict=True))


@pytest.mark.parametrize(("method", "part"), [(AGEM(buffer_size=24), 0.9), (GEM(buffer_size=24), 0.7)])
def test_the_first_task_is_forgotten_less(bases: Bases, tmp_path: Path, method: Sequential, part: float) -> None:
    plain = short_train(tmp_path / "plain", bases("llama"), Sequential(), num_train_epochs=4)
    run = short_train(tmp_path / "run", bases("llama"), method, num_train_epochs=4)
    assert fingerprints(run)[0] == fingerprints(plain)[0]  # nothing to keep in the first task
    forgotten = [loss_of(one, 2, "first") - loss_of(one, 1, "first") for one in (run, plain)]
    assert forgotten[0] < part * forgotten[1]


def test_every_earlier_task_has_a_memory_of_its_own(bases: Bases, tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"))
    for method, sizes in ((GEM(buffer_size=12), [6, 6]), (GEM(buffer_size=12, memory_batch_size=4), [4, 4])):
        mine = method.start(run)
        mine.end_task(1)
        mine.end_task(2)
        groups = mine.memories()
        assert [len(group) for group in groups] == sizes
        assert [{split.task for split, _ in group} for group in groups] == [{"first"}, {"second"}]


@pytest.mark.parametrize("method", [AGEM(buffer_size=16, memory_batch_size=4), GEM(buffer_size=16)])
def test_killed_inside_a_task_it_ends_with_the_same_bits(bases: Bases, tmp_path: Path, method: Sequential) -> None:
    check_resumes(tmp_path, bases("llama"), method)


@pytest.mark.parametrize("method", [AGEM(buffer_size=16), GEM(buffer_size=16)])
def test_smaller_batches_make_the_same_steps(bases: Bases, tmp_path: Path, method: Sequential) -> None:
    check_accumulates(tmp_path, bases("llama"), method)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            GEM(margin=-1.0),
            r"^margin of gem cannot be used\n  expected: 0 or more\n  got: -1\.0\n  remedy: give another",
        ),
        (GEM(buffer_size=4, memory_batch_size=5), r"buffer_size of gem cannot be used\n  expected: at least the 5 "),
        (AGEM(buffer_size=4), r"buffer_size of a-gem cannot be used\n  expected: at least the 8 examples"),
    ],
)
def test_settings_that_cannot_be_used(bases: Bases, tmp_path: Path, method: Sequential, message: str) -> None:
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), method)


def test_the_defaults_are_those_of_the_papers() -> None:
    settings: dict[str, Any] = GEM().settings
    assert (settings["margin"], settings["buffer_policy"], settings["memory_batch_size"]) == (0.5, "ring", None)

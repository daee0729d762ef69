"""EWC and online EWC: the Fisher information is right, the springs pull as they should, and what mattered stays."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from method_runs import check_accumulates, check_resumes, fingerprints, log_of, loss_of, points, short_train, tiny_run
from torch.nn import functional

from modeconn.continual.fisher import drawn, example_losses, fisher_diagonal
from modeconn.continual.methods import EWC, OnlineEWC, Sequential
from modeconn.errors import RunError

Bases = Callable[[str], Path]
INPUTS = torch.tensor([[1.0, 2.0], [0.5, -1.0], [-2.0, 0.3]], dtype=torch.float64)  # [N, D]
ANSWERS = torch.tensor([0, 2, 1])


def linear_softmax() -> torch.Tensor:
    """Weights `[C, D]` of a model whose Fisher information is known."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 2, generator=generator, dtype=torch.float64).requires_grad_(True)


def test_the_empirical_fisher_of_a_linear_softmax() -> None:
    """The gradient of one example's loss is `(p - y) x'`."""
    weight = linear_softmax()
    losses = (functional.cross_entropy(weight @ x, y) for x, y in zip(INPUTS, ANSWERS, strict=True))
    found = fisher_diagonal(losses, {"w": weight})["w"]
    errors = (INPUTS @ weight.detach().T).softmax(-1) - functional.one_hot(ANSWERS, 3)  # [N, C]
    expected = (errors[:, :, None] * INPUTS[:, None]).square().mean(0)  # [C, D]
    assert torch.allclose(found, expected)
    batch = (errors[:, :, None] * INPUTS[:, None]).mean(0).square()
    assert not torch.allclose(found, batch, rtol=0.3)  # the square of the batch's gradient would be something else


def test_the_true_fisher_of_a_linear_softmax() -> None:
    """With answers drawn from the model it is the mean of `p (1 - p) x^2`."""
    weight, generator, draws = linear_softmax(), torch.Generator().manual_seed(1), 1000

    def losses():
        for x in INPUTS:
            answers = drawn((weight @ x).expand(1, draws, 3), torch.zeros(1, draws, dtype=torch.long), generator)[0]
            for answer in answers:
                yield functional.cross_entropy(weight @ x, answer)

    found = fisher_diagonal(losses(), {"w": weight})["w"]
    p = (INPUTS @ weight.detach().T).softmax(-1)  # [N, C]
    expected = ((p * (1 - p))[:, :, None] * INPUTS.square()[:, None]).mean(0)
    assert torch.allclose(found, expected, rtol=0.1)


def test_drawn_answers_follow_the_model_and_leave_padding() -> None:
    logits = torch.tensor([0.1, 0.2, 0.7]).log().expand(2, 2000, 3)
    targets = torch.zeros(2, 2000, dtype=torch.long)
    targets[1, :10] = -100
    found = drawn(logits, targets, torch.Generator().manual_seed(0))
    assert bool((found[1, :10] == -100).all())
    counts = torch.bincount(found[0], minlength=3) / 2000
    assert torch.allclose(counts, torch.tensor([0.1, 0.2, 0.7]), atol=0.03)


def test_the_fisher_of_a_classifiers_head_in_a_run(bases: Bases, tmp_path: Path) -> None:
    """The head's gradient is `(p - y) h'` with the features h that reach it."""
    run = tiny_run(tmp_path / "run", bases("bert"))
    method = EWC(fisher="empirical", num_fisher_examples=24).start(run)
    found = method.measured(1)
    features: list[torch.Tensor] = []
    head = run.learner.module.classifier  # type: ignore[union-attr]
    handle = head.register_forward_hook(lambda _module, inputs, _output: features.append(inputs[0]))
    run.learner.module.eval()
    batch = run.batch([(run.train_sets[0], row) for row in range(24)])
    with torch.no_grad():
        p = run.logits(batch)[:, 0].softmax(-1)  # [N, C]
    handle.remove()
    h = torch.cat(features).reshape(24, -1)
    errors = p - functional.one_hot(batch.targets[:, 0], p.shape[1])
    expected = (errors[:, :, None] * h[:, None]).square().mean(0)  # [C, D]
    mine = [value for name, value in found.items() if "classifier" in name and value.shape == expected.shape]
    assert len(mine) == 1
    assert torch.allclose(mine[0], expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_mean_of_single_examples_whatever_the_padding(bases: Bases, tmp_path: Path, family: str) -> None:
    """The gradient of each example alone, from a padded or packed batch of all."""
    run = tiny_run(tmp_path / "run", bases(family))
    run.learner.module.eval()
    weights, rows = run.learner.weights, [0, 3, 4]
    found = fisher_diagonal(example_losses(run, run.train_sets[0], rows, None), weights)
    losses = run.losses(run.batch([(run.train_sets[0], row) for row in rows]))
    alone = [
        torch.autograd.grad(one, list(weights.values()), retain_graph=True, materialize_grads=True) for one in losses
    ]
    for name, *gradients in zip(weights, *alone, strict=True):
        expected = torch.stack(gradients).square().mean(0)
        assert torch.allclose(found[name], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max() + 1e-12))


def test_the_springs_worked_by_hand(bases: Bases, tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"))
    method = EWC(penalty_weight=6.0).start(run)
    assert method.weight_penalty() is None
    fisher = {name: torch.full_like(value, 0.5) for name, value in run.weights().items()}
    centres = [{name: value - shift for name, value in run.weights().items()} for shift in (1.0, 3.0)]
    method._springs = [(fisher, centre) for centre in centres]
    count = sum(value.numel() for value in fisher.values())
    penalty = method.weight_penalty()
    assert penalty is not None
    assert penalty.item() == pytest.approx(6.0 / 2 * 0.5 * (1.0 + 9.0) * count)
    for gradient in torch.autograd.grad(penalty, list(run.learner.weights.values())):
        assert torch.allclose(gradient, torch.full_like(gradient, 6.0 * 0.5 * (1.0 + 3.0)))


def test_one_spring_a_task_or_one_for_all(bases: Bases, tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"))
    plain, online = EWC(num_fisher_examples=8).start(run), OnlineEWC(num_fisher_examples=8, decay=0.25).start(run)
    first = plain.measured(1)
    for method in (plain, online):
        method.end_task(1)
    with torch.no_grad():
        for weight in run.learner.weights.values():
            weight.add_(0.1)
    second = plain.measured(2)
    for method in (plain, online):
        method.end_task(2)
    (one, _), (two, _) = plain._springs
    ((fisher, centre),) = online._springs
    assert sum(float(value.sum()) for value in first.values()) > 0
    for name, weight in run.learner.weights.items():
        assert torch.equal(one[name], first[name])
        assert torch.equal(two[name], second[name])
        assert torch.allclose(fisher[name], 0.25 * first[name] + second[name])
        assert torch.equal(centre[name], weight)


@pytest.mark.parametrize("method", [EWC(penalty_weight=50.0), OnlineEWC(penalty_weight=50.0, fisher="empirical")])
def test_the_first_task_is_forgotten_less(bases: Bases, tmp_path: Path, method: Sequential) -> None:
    settings = {"num_train_epochs": 4}
    plain = short_train(tmp_path / "plain", bases("llama"), Sequential(), **settings)
    run = short_train(tmp_path / "run", bases("llama"), method, **settings)
    assert fingerprints(run)[0] == fingerprints(plain)[0]  # measuring changes nothing
    forgotten = [loss_of(one, 2, "first") - loss_of(one, 1, "first") for one in (run, plain)]
    assert forgotten[0] < 0.7 * forgotten[1]
    moved = [(points(one)[1] - points(one)[0]).norm() for one in (run, plain)]
    assert moved[0] < moved[1]
    log = log_of(run)
    assert all("weight_penalty" not in one for one in log[:12])
    assert log[12]["weight_penalty"] == 0  # where the springs were put
    assert all(one["weight_penalty"] > 0 for one in log[13:])


@pytest.mark.parametrize("method", [EWC(penalty_weight=10.0), OnlineEWC(penalty_weight=10.0)])
def test_killed_inside_a_task_it_ends_with_the_same_bits(bases: Bases, tmp_path: Path, method: Sequential) -> None:
    check_resumes(tmp_path, bases("llama"), method)


def test_smaller_batches_make_the_same_steps(bases: Bases, tmp_path: Path) -> None:
    check_accumulates(tmp_path, bases("llama"), EWC(penalty_weight=10.0, num_fisher_examples=16))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            EWC(penalty_weight=-1.0),
            r"^penalty_weight of ewc cannot be used\n  expected: 0 or more\n  got: -1\.0\n  remedy:",
        ),
        (EWC(num_fisher_examples=0), r"num_fisher_examples of ewc cannot be used\n  expected: 1 or more\n  got: 0"),
        (EWC(fisher="batch"), r"fisher of ewc cannot be used\n  expected: true or empirical\n  got: 'batch'"),  # type: ignore[arg-type]
        (OnlineEWC(decay=1.5), r"decay of online-ewc cannot be used\n  expected: a number from 0 to 1\n  got: 1\.5"),
    ],
)
def test_settings_that_cannot_be_used(bases: Bases, tmp_path: Path, method: Sequential, message: str) -> None:
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), method)

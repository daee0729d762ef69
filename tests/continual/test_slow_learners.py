"""Moving averages of weight updates: exact where the rank allows, the nearest of their rank else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_runs import check_resumes, fingerprints, points, short_train, tiny_run

from modeconn.adapters import Adapter
from modeconn.continual.hidden import HiddenStates
from modeconn.continual.methods import ILoRA, MovingAverage, Sequential
from modeconn.continual.methods.ilora import consistency
from modeconn.continual.methods.lora_pairs import Pair, lora_pairs, nearest_pair
from modeconn.continual.methods.slow_learners import SlowUpdates
from modeconn.continual.run import Run
from modeconn.continual.share import Share, text_positions
from modeconn.errors import RunError

Dense = dict[str, torch.Tensor]


@pytest.fixture
def run(bases: Callable[[str], Path], tmp_path: Path) -> Run:
    return tiny_run(tmp_path / "run", bases("llama"), rank=2, method="ilora")


def pairs_of(run: Run) -> tuple[Pair, ...]:
    return lora_pairs(Sequential().start(run), run)


def dense(run: Run, weights: Any) -> Dense:
    """The updates of a learner, in float64."""
    return {
        pair.parameter: pair.scaling * weights[pair.up].detach().double() @ weights[pair.down].detach().double()
        for pair in pairs_of(run)
    }


def move(run: Run, seed: int) -> None:
    """Any other weights."""
    torch.manual_seed(seed)
    for value in run.learner.weights.values():
        value.data.normal_()


def cut(matrix: torch.Tensor, rank: int) -> torch.Tensor:
    """The nearest matrix of a rank."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank]


def followed(run: Run, slow: SlowUpdates, *, decay: float, rank: int, every: int, steps: int = 6) -> Dense:
    """The slow learner moves behind a learner that jumps; returns the average worked out densely."""
    expected = dense(run, run.learner.weights)
    for step in range(1, steps + 1):
        move(run, step)
        slow.follow()
        fast = dense(run, run.learner.weights)
        expected = {name: decay * value + (1 - decay) * fast[name] for name, value in expected.items()}
        if step % every == 0:
            expected = {name: cut(value, rank) for name, value in expected.items()}
    return {name: cut(value, rank) for name, value in expected.items()}


def assert_near(found: Dense, expected: Dense) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].double() - value).norm() < 1e-4 * value.norm()


@pytest.mark.parametrize(("rank", "every"), [(16, 1), (16, 4), (3, 1), (3, 4)])
def test_the_average_of_updates_is_that_of_the_dense_ones(run: Run, rank: int, every: int) -> None:
    slow = SlowUpdates(Sequential().start(run), run, decay=0.7, rank=rank, truncate_every=every)
    expected = followed(run, slow, decay=0.7, rank=rank, every=every)
    result = slow.result()
    assert isinstance(result, Adapter)
    assert_near({name: update.dense() for name, update in result.updates.items()}, expected)
    assert all(update.rank <= rank for update in result.updates.values())


def test_the_learner_at_the_slow_weights_is_the_slow_point(run: Run) -> None:
    slow = SlowUpdates(Sequential().start(run), run, decay=0.7, rank=5)
    followed(run, slow, decay=0.7, rank=5, every=1)
    with torch.no_grad():
        with run.at(slow.weights):
            as_learner = [run.losses(batch) for batch in run.eval_sets[0].batches]
        with run.module_at(slow.result()) as module:
            as_point = run.model.score_rows(module, run.eval_sets[0])[0]
    order = list(run.eval_sets[0].order)
    assert torch.allclose(torch.cat(as_learner).double(), torch.as_tensor(as_point[order]), atol=1e-4)


def test_the_gauge_of_the_fast_learner_does_not_matter(run: Run) -> None:
    """Only the average of factors sees in which factors an update is written."""
    found = []
    for turned in (False, True):
        run.load({name: torch.zeros_like(value) for name, value in run.learner.weights.items()})
        slow = SlowUpdates(Sequential().start(run), run, decay=0.5, rank=16)
        for seed in (1, 2):
            move(run, seed)
            if turned:
                for pair in pairs_of(run):
                    gauge = torch.tensor([[2.0, 1.0], [0.0, -0.5]])
                    up, down = run.learner.weights[pair.up], run.learner.weights[pair.down]
                    up.data, down.data = up.data @ gauge, gauge.inverse() @ down.data
            slow.follow()
        found.append(dense(run, slow.weights))
    assert_near(found[1], found[0])


def test_a_head_is_averaged_as_a_tensor(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("bert"), rank=2)
    slow = SlowUpdates(Sequential().start(run), run, decay=0.25)
    before = run.point().saved
    move(run, 0)
    after = run.point().saved
    slow.follow()
    result = slow.result()
    assert isinstance(result, Adapter)
    assert result.saved
    for name, value in result.saved.items():
        assert torch.allclose(value, 0.25 * before[name] + 0.75 * after[name], atol=1e-6)


def test_decay_0_is_the_fast_learner_and_decay_1_never_moves(run: Run) -> None:
    for decay in (0.0, 1.0):
        move(run, 7)
        before = dense(run, run.learner.weights)
        slow = SlowUpdates(Sequential().start(run), run, decay=decay)
        move(run, 8)
        slow.follow()
        assert_near(dense(run, slow.weights), before if decay else dense(run, run.learner.weights))


def test_the_nearest_pair_is_balanced_and_the_best_of_its_rank() -> None:
    torch.manual_seed(0)
    up, down = torch.randn(7, 5, dtype=torch.float64), torch.randn(5, 6, dtype=torch.float64)
    near_up, near_down = nearest_pair(up, down, 3)
    assert torch.allclose(near_up @ near_down, cut(up @ down, 3))
    assert torch.allclose(near_up.T @ near_up, near_down @ near_down.T, atol=1e-10)
    assert nearest_pair(up, down, 5) == (up, down)


def test_moving_averages_train_as_without_and_save_both(bases: Callable[[str], Path], tmp_path: Path) -> None:
    plain = short_train(tmp_path / "plain", bases("llama"), Sequential(), rank=2)
    for average, rank in (("factors", 2), ("weights", 4)):
        method = MovingAverage(decay=0.9, average=average)  # type: ignore[arg-type]
        run = short_train(tmp_path / average, bases("llama"), method, rank=2)
        trained = [Adapter.from_pretrained(folder) for folder in run.others["fast"]]
        assert [one.fingerprint for one in trained] == fingerprints(plain)
        assert {update.rank for update in points(run)[-1].updates.values()} == {rank}
        assert (points(run)[-1] - trained[-1]).norm() > 0.01 * trained[-1].norm()


@pytest.mark.parametrize(
    "method",
    [
        ILoRA(buffer_size=16, decay=0.9, average="weights", truncate_every=2),
        MovingAverage(decay=0.9, decay_warmup=True, average="weights"),
        MovingAverage(decay=0.9),
    ],
)
def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path, method: Sequential) -> None:
    check_resumes(tmp_path, bases("llama"), method)


def test_consistency_compares_with_the_average_of_updates(run: Run) -> None:
    """The slow learner's hidden states are those of its checkpoint in the base model."""
    method = ILoRA(buffer_size=16, average="weights", decay=0.5, layers="all").start(run)
    for seed in (1, 2):
        move(run, seed)
        method.after_step()
    batch = run.batch([(run.train_sets[0], row) for row in range(5)])
    logits = run.logits(batch)
    penalty = method.batch_penalty(batch, logits, replayed=True, share=Share(1.0, 1.0, 1.0))
    assert penalty is not None
    run.learner.module.eval()
    states = []
    for result in (None, method.result()):
        with run.module_at(result) as module, torch.no_grad():
            hidden = HiddenStates(module, "all")
            run.family.logits(module, batch)
            states.append(hidden.taken())
    masks = [text_positions(batch)] * len(states[0])
    assert penalty.item() == pytest.approx(consistency(states[0], states[1], masks).item(), rel=1e-4)
    penalty.backward()
    reached = [weight.grad is not None and bool(weight.grad.any()) for weight in run.learner.weights.values()]
    assert all(reached)


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"average": "both"}, {}, "average of ema cannot be used\n  expected: factors or weights\n  got: 'both'"),
        ({"decay": 2.0}, {}, "decay of ema cannot be used\n  expected: a number from 0 to 1"),
        ({"average": "weights", "slow_rank": 0}, {}, "slow_rank of ema cannot be used\n  expected: 1 or more"),
        ({"slow_rank": 4}, {}, 'slow_rank of ema cannot be used\n  expected: none, beside average="factors"'),
        ({"average": "weights", "truncate_every": 0}, {}, "truncate_every of ema cannot be used"),
        ({"truncate_every": 3}, {}, r'truncate_every of ema cannot be used\n  expected: 1, beside average="factors"'),
        (
            {"average": "weights"},
            {"adapter": "dora"},
            r"ema cannot be used with this adapter\n  expected: LoRA of matrices and nothing beside it but a head "
            r"\(--adapter lora or rslora\)\n  got: dora\n  remedy: train such an adapter, or another --method",
        ),
        ({"average": "weights"}, {"adapter": "full"}, "ema cannot be used with this adapter(.|\n)*got: full"),
        (
            {"average": "weights"},
            {"adapter_options": {"init_lora_weights": "pissa"}},
            "ema cannot be used with this adapter(.|\n)*got: init_lora_weights='pissa', lora",
        ),
        (
            {"average": "weights"},
            {"adapter_options": {"use_dora": True}},
            r"ema cannot be used with this adapter(.|\n)*got: .*q_proj\.lora_magnitude_vector",
        ),
    ],
)
def test_settings_that_cannot_be_used(
    bases: Callable[[str], Path], tmp_path: Path, options: dict, settings: dict, message: str
) -> None:
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), MovingAverage(**options), **settings)

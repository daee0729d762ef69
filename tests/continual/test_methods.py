"""The methods of continual learning: each acts, and does what its equation says."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_tasks import make_task
from tiny import make_base
from torch.nn import functional

import modeconn as mc
from modeconn.continual import TrainRun, train
from modeconn.continual.methods import METHODS, ILoRA, Replay, Sequential
from modeconn.continual.methods.ilora import consistency
from modeconn.continual.methods.method import State
from modeconn.continual.run import Run
from modeconn.continual.sequence import TaskSequence
from modeconn.continual.settings import METHOD_NAMES, TrainSettings
from modeconn.continual.share import shares
from modeconn.errors import RunError

SHORT: dict[str, Any] = {"num_train_epochs": 2, "learning_rate": 2e-2, "per_device_train_batch_size": 8}
SEQUENCE = [make_task("first", 0, num_examples=40), make_task("second", 1, num_examples=40)]


@pytest.fixture
def trained(bases: Callable[[str], Path], tmp_path: Path) -> Callable[..., TrainRun]:
    """A run of two tasks with a method."""

    def run(method: Sequential, name: str = "run", family: str = "llama", **settings: Any) -> TrainRun:
        return train(tmp_path / name, bases(family), SEQUENCE, method=method, **{**SHORT, **settings})

    return run


def fingerprints(run: TrainRun) -> list[str]:
    """What the checkpoints do."""
    return [mc.Adapter.from_pretrained(folder).fingerprint for folder in run.checkpoints]


def score(run: TrainRun, after_task: int, task: str, metric: str = "loss") -> float:
    cells = run.scores.set_index(["after_task", "task", "metric"])["score"]
    return float(cells.loc[after_task, task, metric])


def test_the_settings_name_every_method() -> None:
    assert tuple(METHODS) == METHOD_NAMES


def test_a_method_given_as_an_object_or_by_name_is_the_same_run(
    trained: Callable[..., TrainRun], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    given = trained(Replay(buffer_size=16))
    settings = TrainSettings(**SHORT, method="replay", method_options=Replay(buffer_size=16).settings)
    again = train(tmp_path / "run", bases("llama"), SEQUENCE, settings=settings)
    assert again.finished_before
    assert again.scores.equals(given.scores)


def test_replay_keeps_the_first_task(trained: Callable[..., TrainRun]) -> None:
    long = {"num_train_epochs": 8}
    without, with_buffer = trained(Sequential(), "a", **long), trained(Replay(buffer_size=24), "b", **long)
    assert score(with_buffer, 2, "first") < 0.7 * score(without, 2, "first")
    assert fingerprints(without)[0] == fingerprints(with_buffer)[0]  # there is nothing to replay in the first task


def test_a_replayed_step_is_the_mean_over_both_batches(bases: Callable[[str], Path], tmp_path: Path) -> None:
    """The gradient of a step equals that of the mean loss per token over task and memory, worked out apart."""
    seen: list[tuple[float, float]] = []

    class Watched(Replay):
        def replayed(self) -> list[Any]:
            self.drawn = list(super().replayed())
            return self.drawn

        def adjust_gradients(self) -> None:
            if self.drawn:
                weights = list(self.run.learner.weights.values())
                rows = [(self.run.train_sets[1], row) for row in self.rows] + self.drawn
                batch = self.run.batch(rows)
                loss = self.run.losses(batch).sum() / self.run.num_tokens(batch)
                mine = torch.autograd.grad(loss, weights)
                gap = max(float((a - b.grad).abs().max()) for a, b in zip(mine, weights, strict=True))
                seen.append((gap, max(float(a.abs().max()) for a in mine)))

    plain = TaskSequence._backward

    def told(self: Any, data: Any, rows: list[int]) -> Mapping[str, float]:
        self.method.rows = rows
        return plain(self, data, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskSequence, "_backward", told)
        patch.setitem(METHODS, "replay", Watched)  # type: ignore[arg-type]
        train(tmp_path / "run", bases("llama"), SEQUENCE, method=Replay(buffer_size=16), **SHORT)
    assert len(seen) == 10
    assert all(gap < 1e-5 * max(size, 1e-2) for gap, size in seen)


class _Averaged(ILoRA):
    """Notes every fast learner."""

    fast: list[dict[str, torch.Tensor]]

    def start(self, run: Run) -> "_Averaged":
        mine = super().start(run)
        mine.fast = [run.weights()]
        return mine

    def after_step(self) -> None:
        super().after_step()
        self.fast.append(self.run.weights())
        self.last.append((self.fast, {name: value.clone() for name, value in self._average.weights.items()}))

    last: list[Any] = []  # noqa: RUF012  (read by the test)


@pytest.mark.parametrize("warmup", [False, True])
def test_the_slow_learner_is_the_moving_average(
    trained: Callable[..., TrainRun], monkeypatch: pytest.MonkeyPatch, warmup: bool
) -> None:
    monkeypatch.setitem(METHODS, "ilora", _Averaged)  # type: ignore[arg-type]
    monkeypatch.setattr(_Averaged, "last", [])
    run = trained(ILoRA(decay=0.9, decay_warmup=warmup, buffer_size=16, consistency_weight=0.0))
    fast, slow = _Averaged.last[-1]
    for name, value in slow.items():
        expected = fast[0][name].double()
        for k, one in enumerate(fast[1:]):
            decay = min(0.9, 1 - 1 / (k + 1)) if warmup else 0.9
            expected = decay * expected + (1 - decay) * one[name].double()
        assert torch.allclose(value.double(), expected, atol=1e-6)
    saved = mc.Adapter.from_pretrained(run.checkpoints[-1])
    other = mc.Adapter.from_pretrained(run.others["fast"][-1])
    kept = {name.replace("default.", ""): value for name, value in slow.items()}
    assert all(any(torch.equal(value, mine) for mine in kept.values()) for value in saved.tensors.values())
    assert saved.fingerprint != other.fingerprint


def test_decay_0_is_the_fast_learner_and_decay_1_never_moves(trained: Callable[..., TrainRun]) -> None:
    plain = {"buffer_size": 16, "consistency_weight": 0.0}
    replay = trained(Replay(buffer_size=16), "replay")
    fast = trained(ILoRA(decay=0.0, **plain), "fast")
    assert fingerprints(fast) == fingerprints(replay)  # without the penalty the fast learner is plain replay
    still = trained(ILoRA(decay=1.0, result_learner="fast", **plain), "still")
    assert fingerprints(still) == fingerprints(replay)
    start = mc.Adapter.from_pretrained(still.others["slow"][-1], allow_zero=True)
    assert start.is_zero


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_consistency_acts_and_holds_the_fast_learner_near_the_slow_one(tmp_path: Path, family: str) -> None:
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # its noise would be a distance, too
    base = make_base(tmp_path / "base", family, **(dropout if family == "bert" else {}))
    distances = []
    for weight in (0.0, 100.0):
        method = ILoRA(buffer_size=16, decay=0.9, consistency_weight=weight, layers="all")
        run = train(tmp_path / f"{weight}", base, SEQUENCE, method=method, **SHORT)
        slow, fast = (mc.Adapter.from_pretrained(one[-1]) for one in (run.checkpoints, run.others["fast"]))
        distances.append((fast - slow).norm())
    assert distances[1] < 0.9 * distances[0]


def test_the_consistency_loss_worked_by_hand() -> None:
    fast = torch.tensor([[[1.0, 2.0], [3.0, 3.0]]], requires_grad=True)  # [1, 2, 2]
    slow = torch.tensor([[[2.0, 0.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, False]])
    assert consistency([fast], [slow], [mask]).item() == pytest.approx((1 + 4) / 2)
    assert consistency([fast], [slow], [mask], one_sided=True).item() == pytest.approx(1 / 2)
    second = functional.pad(slow, (0, 0, 0, 0)) * 0
    both = consistency([fast, fast], [slow, second], [mask, mask])
    assert both.item() == pytest.approx(((1 + 4) / 2 + (1 + 4) / 2) / 2)
    both.backward()
    assert fast.grad is not None
    assert torch.equal(fast.grad[0, 1], torch.zeros(2))  # padding reaches nothing


@pytest.mark.parametrize("packing", [True, False])
def test_padding_changes_no_consistency_gradient(bases: Callable[[str], Path], tmp_path: Path, packing: bool) -> None:
    """Two batches of one row each give the mean of one batch's gradients, weighted by positions."""
    from modeconn.continual.preparing import prepared
    from modeconn.runs import RunFolder

    settings = TrainSettings(**SHORT, method="ilora", packing=packing)
    folder = RunFolder.open(tmp_path / "run", command="train", settings={})
    with folder:
        run = prepared(folder, bases("llama"), SEQUENCE, settings)
    method = ILoRA(buffer_size=16, layers="all").start(run)
    for value in method._average.weights.values():
        value.add_(0.05)
    rows = run.train_sets[0].rows.rows
    long, short = (pick(range(len(rows)), key=lambda row: len(rows[row].context)) for pick in (max, min))
    lengths = [len(rows[row].context) + len(rows[row].targets) - 1 for row in (long, short)]
    assert lengths[0] > lengths[1]

    def gradient(chosen: list[int]) -> torch.Tensor:
        batch = run.batch([(run.train_sets[0], row) for row in chosen])
        penalty = method.batch_penalty(batch, run.logits(batch), replayed=True, share=shares([batch])[0])
        assert penalty is not None
        grads = torch.autograd.grad(penalty, list(run.learner.weights.values()), allow_unused=True)
        return torch.cat([one.flatten() for one in grads if one is not None])

    alone = [gradient([row]) for row in (long, short)]
    together = gradient([long, short])
    expected = sum(n * one for n, one in zip(lengths, alone, strict=True)) / sum(lengths)
    assert torch.allclose(together, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("method", [Sequential(), Replay(buffer_size=16), ILoRA(buffer_size=16, decay=0.9)])
def test_killed_inside_a_task_a_run_ends_with_the_same_bits(
    trained: Callable[..., TrainRun], method: Sequential, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    settings = {**SHORT, "save_steps": 3, "lora_dropout": 0.1}

    def interrupt(done: int, total: int, what: str) -> None:
        del total
        if "second" in what and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", bases("llama"), SEQUENCE, method=method, progress=interrupt, **settings)
    steps = []
    resumed = train(
        tmp_path / "parts",
        bases("llama"),
        SEQUENCE,
        method=method,
        progress=lambda done, *_: steps.append(done),
        **settings,
    )
    assert steps[0] == 4  # after the state that was kept at step 3 of the second task
    straight = trained(method, "straight", save_steps=3, lora_dropout=0.1)
    assert fingerprints(resumed) == fingerprints(straight)
    assert resumed.scores.equals(straight.scores)
    logs = [(run.checkpoints[0].parent / "losses.jsonl").read_text() for run in (resumed, straight)]
    assert logs[0] == logs[1]


@pytest.mark.parametrize("method", [Sequential(), ILoRA(buffer_size=16, decay=0.9)])
def test_smaller_batches_make_the_same_steps(trained: Callable[..., TrainRun], method: Sequential) -> None:
    runs = [
        trained(method, f"{size}", per_device_train_batch_size=size, gradient_accumulation_steps=8 // size)
        for size in (8, 2)
    ]
    first, second = (mc.Adapter.from_pretrained(run.checkpoints[-1]) for run in runs)
    assert (first - second).norm() < 1e-4 * first.norm()
    assert score(runs[0], 2, "first") == pytest.approx(score(runs[1], 2, "first"), rel=1e-4)


def test_a_task_ends_early_and_keeps_its_best_weights(bases: Callable[[str], Path], tmp_path: Path) -> None:
    settings = {**SHORT, "num_train_epochs": 40, "learning_rate": 0.2, "validation_split": "train"}
    run = train(tmp_path / "run", bases("llama"), SEQUENCE[:1], early_stopping_patience=2, **settings)
    lines = (tmp_path / "run" / "losses.jsonl").read_text().splitlines()
    assert len(lines) < 40 * 5
    assert score(run, 1, "first") < score(run, 0, "first")


def test_loss_parts_are_logged_apart(trained: Callable[..., TrainRun]) -> None:
    import json

    run = trained(ILoRA(buffer_size=16))
    log = [json.loads(line) for line in (run.checkpoints[0].parent / "losses.jsonl").read_text().splitlines()]
    assert [one["step"] for one in log] == [*range(1, 11), *range(1, 11)]
    assert all("penalty" not in one for one in log[:10])
    assert all(one["penalty"] > 0 for one in log[10:])


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (ILoRA(decay=1.5), r"decay of ilora cannot be used\n  expected: a number from 0 to 1\n  got: 1\.5\n"),
        (ILoRA(layers=(7,)), r"layers to be \"last\", \"all\" or numbers from 0 to 1\n  got: \(7,\)"),
        (ILoRA(result_learner="both"), "result_learner of ilora cannot be used"),  # type: ignore[arg-type]
        (Replay(buffer_size=4), r"buffer_size of replay cannot be used\n  expected: at least the 8 examples"),
        (Replay(buffer_policy="lifo"), "buffer_policy of replay cannot be used"),  # type: ignore[arg-type]
    ],
)
def test_settings_that_cannot_be_used(trained: Callable[..., TrainRun], method: Sequential, message: str) -> None:
    with pytest.raises(RunError, match=message):
        trained(method)


def test_unknown_methods_and_settings_are_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    for settings, message in (
        ({"method": "ewk"}, r"there is no training method ewk\n  expected: one of sequential, replay"),
        (
            {"method": "replay", "method_options": {"size": 3}},
            r"replay has no such setting\n  expected: among buffer_size",
        ),
        ({"method_options": {"decay": 0.5}}, r"sequential has no such setting\n  expected: none"),
    ):
        with pytest.raises(RunError, match=message):
            train(tmp_path / "run", bases("llama"), SEQUENCE, settings=TrainSettings(**settings))
        assert not (tmp_path / "run").exists()


def test_a_method_that_fills_no_hook_remembers_nothing() -> None:
    state: State = Sequential().state()
    assert state == {}

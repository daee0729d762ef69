"""DER++: what the model said of examples in memory is kept, right, bounded, and pulled towards."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_tasks import make_task
from method_runs import (
    SEQUENCE,
    check_accumulates,
    check_resumes,
    fingerprints,
    log_of,
    penalty_in_parts,
    short_train,
    tiny_run,
)

from modeconn.continual.logits import logit_distance, stored_logits
from modeconn.continual.methods import METHODS, DERpp, Replay, Sequential
from modeconn.continual.share import shares
from modeconn.errors import RunError

Bases = Callable[[str], Path]


def test_the_distance_worked_by_hand() -> None:
    logits = torch.tensor([[1.0, 5.0, 2.0], [0.0, 0.0, 3.0]])
    now = torch.tensor([[2.0, 5.0, 0.0], [9.0, 1.0, 5.0]], requires_grad=True)
    exact = logit_distance(now, [stored_logits(one[None], None) for one in logits])
    assert exact.item() == pytest.approx((1 + 0 + 4 + 81 + 1 + 4) / 6)
    largest = logit_distance(now, [stored_logits(logits, 1)])  # classes 1 and 2
    assert largest.item() == pytest.approx((0 + 4) / 2)
    (gradient,) = torch.autograd.grad(largest, now)
    assert gradient.tolist() == [[0, 0, 0], [0, 0, 2]]


def test_logits_are_kept_apart_from_what_they_came_from() -> None:
    logits = torch.ones(2, 3)
    kept = [stored_logits(logits, number) for number in (None, 2)]
    logits.zero_()
    assert [float(values.sum()) for values, _ in kept] == [6, 4]


def test_a_greater_weight_keeps_the_logits_nearer(bases: Bases, tmp_path: Path) -> None:
    distances = []
    for weight in (0.001, 2.0):
        method = DERpp(buffer_size=16, logit_weight=weight)
        log = log_of(short_train(tmp_path / str(weight), bases("llama"), method))
        assert all("penalty" not in one for one in log[:6])  # there is nothing to replay in the first task
        distances.append(sum(one["penalty"] for one in log[6:]) / weight)
    assert 0 < distances[1] < 0.8 * distances[0]


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_penalty_is_the_mean_over_scored_positions(bases: Bases, tmp_path: Path, family: str) -> None:
    """In batches of any size; against the formula on each row's logits."""
    run = tiny_run(tmp_path / "run", bases(family))
    method = DERpp(buffer_size=24, logits_from="end", logit_weight=3.0).start(run)
    method.start_task(2)
    method.end_task(2)
    rows = list(range(6))
    before = [run.logits(run.batch([(run.train_sets[1], row)])).detach() for row in rows]
    with torch.no_grad():
        for weight in run.learner.weights.values():
            weight.add_(0.1)
    now = [run.logits(run.batch([(run.train_sets[1], row)])).detach() for row in rows]
    expected = torch.cat([(a - b).flatten() for a, b in zip(before, now, strict=True)]).square().mean().item()
    assert expected > 1e-4
    for size in (6, 4, 1):
        method._drawn = [(1, row) for row in rows]
        found = penalty_in_parts(run, method, rows, size, replayed=True)
        assert found == pytest.approx(3.0 * expected, rel=1e-2)


def test_without_weight_it_is_replay(bases: Bases, tmp_path: Path) -> None:
    method = DERpp(buffer_size=24, logit_weight=0.0)  # holds the whole first task
    runs = [short_train(tmp_path / one.name, bases("llama"), one) for one in (method, Replay(buffer_size=24))]
    assert fingerprints(runs[0]) == fingerprints(runs[1])


class _Watched(DERpp):
    """Notes all logits of the task's own rows."""

    seen: dict[tuple[int, int], list[torch.Tensor]] = {}  # noqa: RUF012  (read by the test)
    ended: list["_Watched"] = []  # noqa: RUF012

    def batch_penalty(self, batch: Any, logits: torch.Tensor, *, replayed: bool, share: Any) -> torch.Tensor | None:
        if not replayed:
            rows = zip(self._own[share.first :], logits.detach().clone(), batch.targets, strict=False)
            for reference, one, targets in rows:
                self.seen.setdefault(reference, []).append(one[targets != -100])
        return super().batch_penalty(batch, logits, replayed=replayed, share=share)

    def end_task(self, number: int) -> None:
        super().end_task(number)
        self.ended.append(self)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[_Watched]:
    monkeypatch.setitem(METHODS, "der++", _Watched)  # type: ignore[arg-type]
    monkeypatch.setattr(_Watched, "seen", {})
    monkeypatch.setattr(_Watched, "ended", [])
    return _Watched


def test_stored_are_the_logits_of_a_step_on_that_example(bases: Bases, tmp_path: Path, watched: type[_Watched]) -> None:
    short_train(tmp_path / "run", bases("llama"), DERpp(buffer_size=16), num_train_epochs=3)
    stored, buffer = watched.ended[-1]._stored, watched.ended[-1].buffer
    assert stored.keys() == set(buffer.references)
    assert {task for task, _ in stored} == {0, 1}
    steps = Counter()
    for reference, (values, classes) in stored.items():
        assert classes is None
        steps += Counter(step for step, one in enumerate(watched.seen[reference]) if torch.equal(one, values))
    assert sum(steps.values()) == 16
    assert len(steps) == 3  # of the first, the second and the third epoch


def test_each_sighting_is_kept_with_the_same_probability(bases: Bases, tmp_path: Path) -> None:
    tasks = [make_task("many", 0, num_examples=300), SEQUENCE[1]]
    run = tiny_run(tmp_path / "run", bases("bert"), tasks)
    method = DERpp(buffer_size=300).start(run)
    method.start_task(1)
    batch = run.batch([(run.train_sets[0], row) for row in range(300)])
    for epoch in range(4):
        method.start_step(range(300))
        logits = torch.full((300, 1, 3), float(epoch))
        method.batch_penalty(batch, logits, replayed=False, share=shares([batch])[0])
        method.after_step()
    method.end_task(1)
    counts = Counter(int(values[0, 0]) for values, _ in method._stored.values())
    assert sum(counts.values()) == 300
    assert all(50 < counts[epoch] < 100 for epoch in range(4))  # 75 each, with a deviation of 7.5


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_at_the_end_they_are_those_of_the_trained_model(bases: Bases, tmp_path: Path, family: str) -> None:
    run = tiny_run(tmp_path / "run", bases(family), lora_dropout=0.5)
    method = DERpp(buffer_size=16, logits_from="end", num_logits=2).start(run)
    method.start_task(1)
    method.end_task(1)
    run.learner.module.eval()
    assert len(method._stored) == 16
    for (task, row), (values, classes) in method._stored.items():
        batch = run.batch([(run.train_sets[task], row)])
        expected = run.logits(batch)[batch.targets != -100].detach().topk(2)
        assert classes is not None
        assert torch.equal(classes.long(), expected.indices)
        assert torch.allclose(values, expected.values, atol=1e-4)


def test_only_examples_in_memory_have_their_logits_kept(bases: Bases, tmp_path: Path) -> None:
    most: list[int] = []

    class Counted(DERpp):
        def start_step(self, rows: Sequence[int]) -> None:
            super().start_step(rows)
            most.append(len(self._stored))

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, "der++", Counted)  # type: ignore[arg-type]
        short_train(tmp_path / "run", bases("llama"), DERpp(buffer_size=10, memory_batch_size=4))
    assert max(most[:6]) <= 10
    assert 10 < max(most) <= 20


@pytest.mark.parametrize("method", [DERpp(buffer_size=16, num_logits=3), DERpp(buffer_size=16, logits_from="end")])
def test_killed_inside_a_task_it_ends_with_the_same_bits(bases: Bases, tmp_path: Path, method: Sequential) -> None:
    check_resumes(tmp_path, bases("llama"), method)


def test_smaller_batches_make_the_same_steps(bases: Bases, tmp_path: Path) -> None:
    check_accumulates(tmp_path, bases("llama"), DERpp(buffer_size=16, logit_weight=0.5))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (
            DERpp(logit_weight=-1.0),
            r"^logit_weight of der\+\+ cannot be used\n  expected: 0 or more\n  got: -1\.0\n  remedy:",
        ),
        (
            DERpp(num_logits=0),
            r"num_logits of der\+\+ cannot be used\n  expected: 1 or more, or none for all\n  got: 0",
        ),
        (DERpp(logits_from="start"), r"expected: trajectory or end\n  got: 'start'"),  # type: ignore[arg-type]
        (DERpp(buffer_size=4), r"buffer_size of der\+\+ cannot be used\n  expected: at least the 8 examples"),
    ],
)
def test_settings_that_cannot_be_used(bases: Bases, tmp_path: Path, method: Sequential, message: str) -> None:
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), method)

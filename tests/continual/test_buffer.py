"""The replay buffer: what stays, and that it can be taken up again."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from evaluation_tasks import make_task
from method_runs import tiny_run

import modeconn as mc
from modeconn.continual.buffer import ReplayBuffer
from modeconn.continual.methods import Replay

RARE = [{"prompt": "question : a dog ?", "answer": " bad" if i % 6 == 0 else " good"} for i in range(24)]


def filled(policy: str, size: int, counts: list[int], seed: int = 0) -> ReplayBuffer:
    buffer = ReplayBuffer(size, policy, seed=seed)  # type: ignore[arg-type]
    for task, count in enumerate(counts):
        for row in range(count):
            buffer.add((task, row))
    return buffer


def test_a_reservoir_keeps_every_example_with_the_same_probability() -> None:
    kept = Counter(reference for seed in range(2000) for reference in filled("reservoir", 5, [10, 10], seed).references)
    shares = [kept[task, row] / 2000 for task in range(2) for row in range(10)]
    assert all(abs(share - 5 / 20) < 4 * (0.25 * 0.75 / 2000) ** 0.5 for share in shares)


def test_a_ring_keeps_the_last_of_every_task() -> None:
    assert filled("ring", 6, [10, 10]).references == [(0, 7), (0, 8), (0, 9), (1, 7), (1, 8), (1, 9)]
    assert Counter(task for task, _ in filled("ring", 6, [10, 10, 2]).references) == {0: 2, 1: 2, 2: 2}


def test_a_balanced_buffer_holds_tasks_alike_and_their_examples_fairly() -> None:
    kept: Counter[tuple[int, int]] = Counter()
    for seed in range(2000):
        references = filled("balanced", 6, [30, 5], seed).references
        assert Counter(task for task, _ in references) == {0: 3, 1: 3}
        kept.update(references)
    assert all(abs(kept[0, row] / 2000 - 3 / 30) < 0.035 for row in range(30))


def test_a_class_balanced_buffer_holds_classes_alike_and_their_examples_fairly() -> None:
    """The classes have 40, 15 and 5 examples, and lie across two tasks."""
    group = [0] * 40 + [1] * 15 + [2] * 5
    kept: Counter[int] = Counter()
    for seed in range(1000):
        buffer = ReplayBuffer(9, "class-balanced", seed=seed)
        for place in range(60):
            buffer.add((place % 2, place), group=group[place])
        places = [row for _, row in buffer.references]
        assert Counter(group[place] for place in places) == {0: 3, 1: 3, 2: 3}
        kept.update(places)
    assert all(abs(kept[place] / 1000 - 3 / group.count(group[place])) < 0.07 for place in range(60))


@pytest.mark.parametrize("policy", ["reservoir", "ring", "balanced", "class-balanced"])
def test_a_buffer_goes_on_as_if_it_had_not_stopped(policy: str) -> None:
    straight, first = filled(policy, 5, [9]), filled(policy, 5, [9])
    second = ReplayBuffer(5, policy, seed=99)  # type: ignore[arg-type]
    second.restore(first.state())
    for buffer in (straight, second):
        for row in range(9):
            buffer.add((1, row))
    assert second.references == straight.references
    assert second.sample(3) == straight.sample(3)
    assert len(second) == 5


@pytest.mark.parametrize("policy", ["reservoir", "ring", "balanced"])
def test_tokens_are_limited_too(policy: str) -> None:
    buffer = ReplayBuffer(50, policy, max_tokens=100)  # type: ignore[arg-type]
    lengths = {(task, row): 5 + (7 * row + task) % 13 for task in range(3) for row in range(40)}
    for reference, tokens in lengths.items():
        buffer.add(reference, tokens)
        assert buffer.num_tokens <= 100
    assert buffer.num_tokens == sum(lengths[one] for one in buffer.references)
    assert buffer.num_tokens > 100 - 2 * 17  # one was too many, one more at most would have fitted
    held = Counter(task for task, _ in buffer.references)
    of_tasks = [sum(lengths[one] for one in buffer.references if one[0] == task) for task in held]
    if policy != "reservoir":
        assert len(held) == 3
        assert max(of_tasks) - min(of_tasks) <= 2 * 17
    if policy == "ring":
        assert all((task, row) in buffer.references for task, count in held.items() for row in range(40 - count, 40))


def test_a_reservoir_of_tokens_keeps_examples_of_one_length_with_the_same_probability() -> None:
    kept: Counter[tuple[int, int]] = Counter()
    for seed in range(2000):
        buffer = ReplayBuffer(100, "reservoir", seed=seed, max_tokens=35)
        for row in range(20):
            buffer.add((0, row), tokens=7)
        assert len(buffer) == 5
        kept.update(buffer.references)
    assert all(abs(kept[0, row] / 2000 - 5 / 20) < 4 * (0.25 * 0.75 / 2000) ** 0.5 for row in range(20))


def test_an_example_of_more_tokens_than_the_buffer_is_not_kept() -> None:
    buffer = ReplayBuffer(10, max_tokens=8)
    buffer.add((0, 0), tokens=5)
    buffer.add((0, 1), tokens=9)
    assert (0, 1) not in buffer.references
    assert buffer.num_tokens <= 8


def test_a_draw_holds_different_examples() -> None:
    buffer = filled("reservoir", 5, [9])
    assert len(set(buffer.sample(5))) == 5
    assert len(buffer.sample(50)) == 5


def test_the_class_of_an_example_is_its_answer_in_all_tasks(bases: Callable[[str], Path], tmp_path: Path) -> None:
    rare = mc.Task.from_records("rare", {"train": RARE, "test": RARE[:2]}, labels=[" good", " bad"])
    run = tiny_run(tmp_path / "run", bases("llama"), [rare, make_task("free", 0, labels=False)])
    method = Replay(buffer_size=12, buffer_policy="class-balanced").start(run)
    method.end_task(1)
    rows = run.train_sets[0].rows.rows
    assert set(Counter(rows[row].targets for _, row in method.buffer.references).values()) == {8, 4}  # all 4 of one
    method.end_task(2)
    assert Counter(task for task, _ in method.buffer.references) == {0: 8, 1: 4}

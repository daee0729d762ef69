"""Processes share points and checks; whoever measured them, the numbers are the same, and errors reach all."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from launches import launch, together

from modeconn.errors import EvaluationError
from modeconn.evaluation.gate import LossesNotFinite
from modeconn.evaluation.processes import point_records
from modeconn.models.shares import Share, alone
from modeconn.runs.processes import Processes, launched


class Store:
    """Keeps points in memory, for the processes given."""

    def __init__(self, processes: Processes, kept: dict[str, pd.DataFrame] | None = None) -> None:
        self.processes, self.kept = processes, dict(kept or {})
        self.saved: list[str] = []

    def load(self, key: str) -> pd.DataFrame | None:
        return self.kept.get(key)

    def save(self, key: str, records: pd.DataFrame) -> None:
        self.saved.append(key)
        self.kept[key] = records


def records(points: Sequence[int], share: Share = alone) -> list[pd.DataFrame]:
    """Records of points, whose numbers tell the point and the batch."""
    several = share(range(5), lambda batch: [point + batch / 10 for point in points])
    return [pd.DataFrame({"batch": range(5), "loss_sum": own}) for own in zip(*several, strict=True)]


def record(point: int) -> pd.DataFrame:
    """Those of one point."""
    return records([point])[0]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("points", [0, 1, 6, 7, 8])
@pytest.mark.parametrize("size", [1, 3])
def test_the_records_of_all_points_reach_all_processes_in_order(count: int, points: int, size: int) -> None:
    keys = [f"point {number}" for number in range(points)]

    def work(processes: Processes) -> list[pd.DataFrame]:
        return list(point_records(keys, records, together=size, store=Store(processes)))

    for found in together(count, work):
        assert len(found) == points
        for point, one in enumerate(found):
            pd.testing.assert_frame_equal(one, record(point))


def test_every_batch_is_scored_once_and_points_are_whole_as_long_as_they_suffice() -> None:
    scored: Counter[tuple[int, int]] = Counter()
    scorers: dict[int, set[int]] = defaultdict(set)

    def work(processes: Processes) -> list[pd.DataFrame]:
        def measure(points: Sequence[int], share: Share) -> list[pd.DataFrame]:
            def score(batch: int) -> int:
                for point in points:
                    scored[point, batch] += 1
                    scorers[point].add(processes.index)
                return batch

            batches = share(range(5), score)
            return [pd.DataFrame({"batch": batches}) for _ in points]

        return list(point_records(["k"] * 14, measure, together=2, store=Store(processes)))

    together(3, work)
    assert scored == {(point, batch): 1 for point in range(14) for batch in range(5)}
    assert [len(scorers[point]) for point in range(14)] == [1] * 12 + [3] * 2


def test_the_main_process_alone_keeps_and_is_asked_for_what_is_kept() -> None:
    measured: list[int] = []
    stores: list[Store] = []

    def measure(points: Sequence[int], share: Share) -> list[pd.DataFrame]:
        measured.extend(points)
        return records(points, share)

    def work(processes: Processes) -> list[pd.DataFrame]:
        store = Store(processes, {"1": record(1)} if processes.is_main else {"0": record(9)})
        stores.append(store)
        return list(point_records([*"0123"], measure, store=store))

    for found in together(2, work):
        pd.testing.assert_frame_equal(pd.concat(found), pd.concat(map(record, range(4))))
    assert set(measured) == {0, 2, 3}
    assert sorted(store.saved for store in stores) == [[], ["0", "2", "3"]]


def test_an_error_of_one_process_is_raised_in_all_and_points_before_it_are_kept() -> None:
    stores: dict[int, Store] = {}

    def measure(points: Sequence[int], share: Share) -> list[pd.DataFrame]:
        if 3 in points:
            raise LossesNotFinite("first/test at t=0.3", np.array([4, 2]), task="first")
        return records(points, share)

    def work(processes: Processes) -> None:
        stores[processes.index] = Store(processes)
        list(point_records([*"0123456"], measure, store=stores[processes.index]))

    for error in together(2, work):
        assert isinstance(error, LossesNotFinite)
        assert str(error).startswith("losses of first/test at t=0.3 are not finite\n  expected: ")
        assert (error.task, error.examples.tolist()) == ("first", [2, 4])
        assert "raised in process 1" in error.__notes__[0]
    assert stores[0].saved == ["0", "1", "2"]


def test_an_error_between_two_meetings_is_raised_in_all() -> None:
    def work(processes: Processes) -> int:
        if processes.index == 2:
            raise EvaluationError("it broke", expected="a", got="b", remedy="c")
        return processes.gathered(lambda: 1)[0]

    assert [type(error) for error in together(3, work)] == [EvaluationError] * 3


def test_an_error_that_cannot_travel_is_told_in_words() -> None:
    class Local(Exception):
        pass

    def work(processes: Processes) -> None:
        processes.gathered(lambda: 1 / processes.index if processes.index else (_ for _ in ()).throw(Local("mine")))

    for error in together(2, work):
        assert isinstance(error, RuntimeError)
        assert str(error) == "Local: mine"


def test_after_the_common_part_every_process_is_on_its_own() -> None:
    def work(processes: Processes) -> list[int]:
        processes.part()
        return processes.gathered(lambda: processes.index)

    assert together(3, work) == [[0], [1], [2]]


def test_a_launch_is_known_by_the_variables_of_torchrun() -> None:
    assert launched({"RANK": "1", "WORLD_SIZE": "2"})
    assert not launched({"RANK": "0", "WORLD_SIZE": "1"})
    assert not launched({"WORLD_SIZE": "2"})  # some clusters set it for every job
    assert not launched({})


def test_a_process_alone_keeps_its_device() -> None:
    assert Processes().device("cuda") == "cuda"


HANGING = """
import sys, time
from datetime import timedelta
from modeconn.errors import RunError
from modeconn.runs.processes import Processes

processes = Processes.joined(patience=timedelta(seconds=2))
sys.stdout.write(f"{processes.gathered(lambda: processes.index + 1)} {processes.device('cpu')}\\n")  # in one piece
sys.stdout.flush()
if not processes.is_main:
    time.sleep(8)
    sys.exit(0)
try:
    processes.gathered(lambda: 0)
except RunError as error:
    print(error, flush=True)
"""


def test_a_process_that_hangs_is_given_up(tmp_path: Any) -> None:
    done = launch(2, HANGING, folder=tmp_path)
    assert done.stdout.count("[1, 2] cpu") == 2
    assert "a process of this launch has gone\n  expected: 2 processes that end together\n" in done.stdout

"""A plan is refused where the evaluation would be, and says how many points it counts on."""

from typing import Any

import pytest

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError
from modeconn.evaluation.plan import plan_evaluation


@pytest.fixture
def line(ends: list[mc.Adapter]) -> mc.LinearPath:
    return mc.LinearPath(*ends)


@pytest.mark.parametrize(
    ("positions", "points"),
    [
        ({}, "21"),
        ({"num_points": 3}, "3"),
        ({"t": [0, 0.2, 0.4, 1]}, "4"),
        ({"tolerance": 0.01}, "about 21 (smooth lines)"),
        ({"absolute_tolerance": 0.01}, "about 21 (smooth lines)"),
    ],
)
def test_the_points_are_those_of_the_evaluation(
    line: mc.LinearPath, model: mc.AdapterModel, tasks: list[mc.Task], positions: dict[str, Any], points: str
) -> None:
    assert plan_evaluation(line, model, tasks, **positions)["points"] == points


@pytest.mark.parametrize(
    "settings",
    [{"num_points": 1}, {"t": [0, 0.5, 0.5, 1]}, {"t": [0, 1], "tolerance": 0.1}, {"absolute_tolerance": -1.0}],
)
def test_positions_are_refused_in_the_words_of_the_evaluation(
    line: mc.LinearPath, model: mc.AdapterModel, tasks: list[mc.Task], settings: dict[str, Any]
) -> None:
    told = []
    for asked in (plan_evaluation, mc.evaluate_path):
        with pytest.raises(EvaluationError) as caught:
            asked(line, model, tasks, **settings)
        told.append(str(caught.value))
    assert told[0] == told[1]


def test_tasks_of_one_name_are_refused(line: mc.LinearPath, model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    with pytest.raises(EvaluationError, match="the tasks cannot be told apart"):
        plan_evaluation(line, model, [tasks[0], tasks[0]])


def test_points_of_another_base_are_refused(adapters: Any, model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    others = [mc.Adapter.from_pretrained(adapters("gpt2", seed)) for seed in (1, 2)]
    with pytest.raises(ModelError, match="gpt2-1 does not fit the base model"):
        plan_evaluation(mc.LinearPath(*others), model, tasks)

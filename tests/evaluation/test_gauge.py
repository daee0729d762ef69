"""The gauge barrier: one function at both ends, so what is not zero is made by the coordinates."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from evaluation_tasks import make_task
from tiny import LABELS

import modeconn as mc
from modeconn.adapters.gauge import regauge
from modeconn.evaluation.gauge import gauge_barrier
from modeconn.evaluation.profile import BARRIER_COLUMNS

FAMILIES = ("llama", "gpt2", "bert", "t5")


@dataclass(frozen=True)
class Case:
    """A checkpoint, its base, and a task whose answers are what the checkpoint itself finds likeliest."""

    point: mc.Adapter
    model: mc.AdapterModel
    task: mc.Task


def own_answers(point: mc.Adapter, model: mc.AdapterModel) -> mc.Task:
    """A task at which the point is perfect: a random checkpoint has no reason to be good at any other."""
    tasks = [make_task(str(shift), shift, num_examples=10) for shift in range(len(LABELS))]
    scores = np.stack([sums.score for sums in model.evaluate(point, [model.encode(task) for task in tasks])])  # [C, N]
    examples = [tasks[best].split("test")[number] for number, best in enumerate(scores.argmax(axis=0))]
    return mc.Task("own", {"test": examples}, labels=tasks[0].labels)


@pytest.fixture(scope="module")
def load(adapters: Callable[..., Path]) -> Callable[[str], Case]:
    """The case of a family, in float64: the saturated attention of a random T5 magnifies rounding."""
    made: dict[str, Case] = {}

    def case(family: str) -> Case:
        if family not in made:
            point = mc.Adapter.from_pretrained(adapters(family, 1), name="old")
            labels = [" " + label for label in LABELS] if family == "bert" else None
            model = mc.AdapterModel.from_pretrained(adapters=[point], labels=labels, dtype="float64")
            made[family] = Case(point, model, own_answers(point, model))
        return made[family]

    return case


@pytest.mark.parametrize("family", FAMILIES)
def test_only_factors_as_they_are_have_a_barrier(family: str, load: Callable[[str], Case]) -> None:
    case = load(family)
    table = gauge_barrier(case.point, case.model, [case.task], seed=0, num_points=5)
    heights = table.set_index("space")["barrier"]
    assert tuple(table.columns) == BARRIER_COLUMNS
    assert heights.index.tolist() == ["weights", "factors", "aligned-factors"]
    assert heights["factors"] > 0.05
    assert heights[["weights", "aligned-factors"]].max() < 1e-4 * heights["factors"]


def test_half_way_to_the_mirror_gauge_is_the_base_model(load: Callable[[str], Case]) -> None:
    case = load("llama")
    table = gauge_barrier(
        case.point, case.model, [case.task], seed=0, num_points=3, spaces=["factors"], flip=True, check=False
    )
    encoded = case.model.encode(case.task)
    losses = [case.model.evaluate(c * case.point, [encoded])[0].loss_sum.sum() for c in (1.0, 0.0)]
    rise = (losses[1] - losses[0]) / encoded.num_examples  # answers of one token
    assert rise > 0.05
    assert table["barrier"].tolist() == pytest.approx([rise], rel=1e-6)


def test_the_height_is_that_of_the_path_to_the_other_gauge(load: Callable[[str], Case]) -> None:
    case = load("llama")
    found = gauge_barrier(
        case.point, case.model, [case.task], seed=5, num_points=4, strength=0.3, metric="score", spaces=["factors"]
    )
    line = mc.LinearPath(case.point, regauge(case.point, seed=5, strength=0.3), space="factors")
    profile = mc.evaluate_path(line, case.model, [case.task], num_points=4)
    expected = profile.barriers("score").query("baseline == 'chord'").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, expected)


def test_no_space(load: Callable[[str], Case]) -> None:
    case = load("llama")
    with pytest.raises(mc.EvaluationError, match=r"(?s)needs coordinates.*got: none.*remedy: give spaces="):
        gauge_barrier(case.point, case.model, [case.task], seed=0, spaces=())

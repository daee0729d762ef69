import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_tasks import make_task
from random_tasks import random_task
from simulated_losses import BUMP, GRID

import modeconn as mc
from modeconn.evaluation.barrier_interval import barrier_interval
from modeconn.evaluation.growing_sample import with_examples
from modeconn.evaluation.paired import check_confidence
from modeconn.evaluation.sequential import evaluate_to_precision
from modeconn.evaluation.stopping import confidence_of_a_look, look_sizes


def test_looks_double_up_to_all_there_are() -> None:
    assert look_sizes(1000, 200) == [200, 400, 800, 1000]
    assert look_sizes(400, 200) == [200, 400]
    assert look_sizes(150, 200) == [150]
    with pytest.raises(mc.EvaluationError, match=r"(?s)first sample is too small.*at least 8.*num_first=7.*remedy"):
        look_sizes(100, 7)


def test_the_chance_of_a_miss_is_shared_among_the_looks() -> None:
    assert confidence_of_a_look(0.95, 1) == pytest.approx(0.95)
    assert sum(1 - confidence_of_a_look(0.95, 7) for _ in range(7)) == pytest.approx(0.05)
    for looks in range(1, 20):  # what is enough for one look is enough for K times as many resamples in K looks
        check_confidence(confidence_of_a_look(0.95, looks), 100 * looks)


def test_stopping_when_it_looks_best_does_not_break_the_promise() -> None:
    """The worst rule: of all looks, report the one whose interval lies farthest from the truth."""
    rng = np.random.default_rng(0)
    sizes = look_sizes(160, 20)
    held = 0
    for seed in range(150):
        sums = 2 + 0.5 * BUMP + rng.normal(size=(160, 1)) * np.sin(np.pi * GRID)
        looks = [
            barrier_interval(
                GRID, sums[:size], np.ones(size), confidence=confidence_of_a_look(0.95, len(sizes)), seed=seed,
                num_resamples=1000,
            )
            for size in sizes
        ]  # fmt: skip
        held += all(look.low <= 0.5 <= look.high for look in looks)
    assert held >= 0.93 * 150


def toy(num_examples: int, spread: float, *, seed: int = 0) -> tuple[mc.LinearPath, mc.ModuleModel, mc.TensorTask]:
    """One weight w from -1 to 1, losses `c - a w^2`: a chord barrier of mean a at the middle."""
    rng = np.random.default_rng(seed)
    heights = torch.tensor(1 + spread * rng.normal(size=num_examples), dtype=torch.float32)

    class Weight(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.tensor([value]))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return 9 - inputs * self.weight**2

    ends = [mc.module_point(Weight(value), name=f"w {value:g}") for value in (-1.0, 1.0)]
    model = mc.ModuleModel(
        Weight(0.0), loss=lambda outputs, _: outputs, score=lambda outputs, _: (outputs > 8).float()
    )  # fmt: skip
    task = mc.TensorTask("heights", {"test": (heights, torch.zeros(num_examples))})
    return mc.LinearPath(*ends), model, task


def test_it_stops_at_the_first_look_that_is_precise() -> None:
    path, model, task = toy(800, spread=0.3)
    found = evaluate_to_precision(path, model, [task], precision=0.05, num_first=100, num_points=5, num_resamples=500)
    looks = found.looks
    assert looks["num_examples"].tolist() == [100, 200, 400, 800][: len(looks)]
    assert 1 < len(looks) < 4
    assert (looks["half_width"][:-1] > 0.05).all()
    assert looks["half_width"].iloc[-1] <= 0.05
    assert looks["stopped"].tolist() == [False] * (len(looks) - 1) + [True]
    assert (looks["low"] < 1).all() and (looks["high"] > 1).all()  # noqa: PT018
    assert found.profile.frame["num_examples"].unique().tolist() == [looks["num_examples"].iloc[-1]]
    row = found.barriers().query("baseline == 'chord'").iloc[0]
    assert (row["low"], row["high"]) == (looks["low"].iloc[-1], looks["high"].iloc[-1])


def test_what_cannot_be_reached_takes_all_examples_and_equals_a_plain_evaluation(
    ends: list[mc.Adapter], model: mc.AdapterModel
) -> None:
    tasks = [random_task(labels=[" mat", " dog"], num_examples=21, name="a"), random_task(num_examples=9, name="b")]
    path = mc.LinearPath(*ends)
    found = evaluate_to_precision(path, model, tasks, precision=1e-9, baseline="mean", num_first=8, num_points=3)
    plain = mc.evaluate_path(path, model, tasks, num_points=3)
    assert found.looks.groupby("task")["num_examples"].apply(list).to_dict() == {"a": [8, 16, 21], "b": [8, 9]}
    order = ["task", "t", "example"]
    pd.testing.assert_frame_equal(
        found.profile.examples.sort_values(order, ignore_index=True),
        plain.examples.sort_values(order, ignore_index=True),
        atol=1e-4,
    )
    pd.testing.assert_frame_equal(
        found.profile.frame.sort_values(order[:2], ignore_index=True),
        plain.frame.sort_values(order[:2], ignore_index=True),
        atol=1e-4,
    )
    (checks,) = found.profile.checks.values()
    (expected,) = plain.checks.values()
    assert checks["truncated_examples"] == expected["truncated_examples"]
    assert max(checks["ends_agree_with_peft_within"].values()) < 1e-4


def test_tasks_that_are_done_are_left_alone() -> None:
    path, model, rough = toy(400, spread=1.0)
    smooth = mc.TensorTask("smooth", {"test": tuple(part[:300] for part in toy(400, spread=0.01)[2].splits["test"])})
    found = evaluate_to_precision(path, model, [rough, smooth], precision=0.02, num_first=100, num_points=3)
    used = found.looks.groupby("task")["num_examples"].max()
    assert used.to_dict() == {"heights": 400, "smooth": 100}
    counts = found.profile.frame.groupby("task")["num_examples"].unique().map(list)
    assert counts.to_dict() == {"heights": [400], "smooth": [100]}


def test_the_seed_decides_which_examples_come_first() -> None:
    path, model, task = toy(400, spread=0.3)

    def first(seed: int) -> float:
        found = evaluate_to_precision(
            path, model, [task], precision=1.0, num_first=50, num_points=3, num_resamples=200, seed=seed
        )
        assert found.looks["num_examples"].tolist() == [50]
        return found.looks["barrier"].iloc[0]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_p_values_are_paid_for_by_the_look() -> None:
    path, model, task = toy(400, spread=0.3)
    found = evaluate_to_precision(path, model, [task], precision=0.2, num_first=100, num_points=3, num_resamples=200)
    row = found.barriers().iloc[0]
    assert row["p_value"] == pytest.approx(3 / (3 * 200 + 1))  # three looks were planned
    assert row["p_holm"] == row["p_value"]


def test_a_barrier_that_few_examples_carry_is_not_believed() -> None:
    path, model, task = toy(400, spread=0.0)
    inputs, targets = task.splits["test"]
    inputs[::80] += 0.01
    found = evaluate_to_precision(
        path, model, [mc.TensorTask("one", {"test": (inputs, targets)})], precision=0.5, num_first=100, num_points=3
    )
    assert found.looks["num_examples"].max() == 400
    assert (found.looks["half_width"] < 0.5).all()


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("number", [3, 77])
def test_an_example_without_a_loss_is_named_by_its_number_in_the_split(number: int, check: bool) -> None:
    path, model, task = toy(100, spread=0.1)
    fine = mc.TensorTask("fine", {"test": tuple(rows.clone() for rows in task.splits["test"])})
    task.splits["test"][0][number] = float("nan")
    with pytest.raises(
        mc.EvaluationError, match=rf"(?s)heights/test at .* not finite.*1 NaN or infinite, at examples {number}\n"
    ):
        evaluate_to_precision(path, model, [fine, task], precision=1e-9, num_first=8, num_points=3, check=check)


def test_it_stops_for_any_definition() -> None:
    path, model, task = toy(400, spread=0.3)
    found = evaluate_to_precision(
        path, model, [task], precision=0.05, baseline="average", num_first=50, num_points=5, num_resamples=200
    )
    assert found.looks["num_examples"].iloc[-1] < 400
    row = found.barriers(baselines=["average", "convexity"]).set_index("baseline").loc["average"]
    assert row["low"] < 0.625 < row["high"]  # the trapezoid rule of 1 - w^2 at five positions
    assert found.looks["half_width"].iloc[-1] == pytest.approx((row["high"] - row["low"]) / 2)


def test_some_examples_of_a_task() -> None:
    task = make_task("tone", 0)
    part = with_examples(task, "test", np.array([3, 1]))
    assert part.split("test") == (task.split("test")[3], task.split("test")[1])
    assert (part.name, part.labels, part.metric) == (task.name, task.labels, task.metric)
    assert list(part.splits) == ["test"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"precision": 0.0}, r"(?s)no precision to evaluate to.*above 0.*precision=0\n.*remedy: use precision=0.01"),
        ({"precision": float("nan")}, r"(?s)no precision to evaluate to.*precision=nan"),
        ({"num_first": 3}, r"(?s)first sample is too small.*num_first=3"),
        ({"metric": "bleu"}, r"(?s)unknown metric 'bleu'"),
        ({"baseline": "floor"}, r"(?s)unknown baseline 'floor'"),
        ({"confidence": 2.0}, r"(?s)no interval of this confidence"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_evaluated(settings: dict, message: str) -> None:
    path, model, task = toy(50, spread=0.1)
    with pytest.raises(mc.EvaluationError, match=message):
        evaluate_to_precision(path, model, [task], **({"precision": 0.1} | settings))


def test_a_split_that_is_not_there() -> None:
    path, model, task = toy(50, spread=0.1)
    for given in (task, make_task("tone", 0)):
        with pytest.raises(mc.TaskError, match="split 'eval'"):
            evaluate_to_precision(path, model, [given], precision=0.1, split="eval")

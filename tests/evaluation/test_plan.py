"""A plan is refused where the evaluation would be, and says how many points it counts on."""

from dataclasses import replace
from typing import Any

import pytest
from evaluation_tasks import make_task
from tiny import make_adapter, make_base

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError
from modeconn.evaluation.plan import _seconds, duration, plan_evaluation
from modeconn.evaluation.probe import Cost, probed


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


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.42, "about 0.42 s"), (61.2, "about 61 s"), (1800, "about 30 min"), (9000, "about 2.5 h")]
)
def test_a_time_is_told_in_its_unit(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_the_products_are_those_of_a_pass_through_all_matrices(
    line: mc.LinearPath, model: mc.AdapterModel, tasks: list[mc.Task]
) -> None:
    encoded = [model.encode(task) for task in tasks]
    matrices = sum(
        weight.numel() for name, weight in model.module.named_parameters() if weight.ndim == 2 and "layers" in name
    )
    tokens = sum(batch.inputs["input_ids"].numel() for split in encoded for batch in split.batches)
    flops = probed(line, model, encoded).flops
    assert matrices * tokens < flops < 4 * matrices * tokens  # 2 of each, the last layer and the head at some tokens


def test_tasks_whose_tokens_cost_differently_are_not_taken_for_one_another(
    ends: list[mc.Adapter], model: mc.AdapterModel
) -> None:
    """Of a long prompt one token goes through the last layer and the head, of a long answer nearly all."""
    prompts, answers = (
        mc.Task.from_records(name, {"test": [{"prompt": "cat " * size, "answer": "dog " * (31 - size)}] * 20})
        for name, size in (("prompts", 30), ("answers", 1))
    )
    alone = [probed(mc.LinearPath(*ends), model, [model.encode(task)]).flops for task in (prompts, answers)]
    both = probed(mc.LinearPath(*ends), model, [model.encode(task) for task in (prompts, answers)]).flops
    assert alone[1] > 1.3 * alone[0]
    assert both == pytest.approx(sum(alone), rel=1e-6)


def test_what_rounded_products_are_compared_with_counts(ends: list[mc.Adapter], tasks: list[mc.Task]) -> None:
    line, flops = mc.LinearPath(*ends), []
    for precision in ("float32", "bfloat16"):
        model = mc.AdapterModel.from_pretrained(adapters=ends, matmul_precision=precision)
        number, unit = plan_evaluation(line, model, tasks, num_points=8)["matrix products"].split()
        assert unit == "MFLOP"
        flops.append(float(number))
    assert flops[1] / flops[0] == pytest.approx((8 + 4) / 8, rel=0.02)  # both ends, and one position of each task


def test_more_points_and_more_checks_take_their_time_and_processes_share_it() -> None:
    cost = Cost(seconds=2.0, flops=1e9, check_seconds=3.0)
    assert _seconds([cost], 21, 2, 1) == 48.0
    assert _seconds([cost, cost], 21, 2, 4) == 24.0


def test_written_answers_cost_time(line: mc.LinearPath, model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    asked = replace(tasks[1], metric="generated_exact_match", max_new_tokens=20)
    silent, written = (probed(line, model, [model.encode(task)]) for task in (tasks[1], asked))
    assert written.seconds > silent.seconds
    assert written.flops > silent.flops
    assert written.check_seconds > silent.check_seconds


def test_a_limit_of_the_memory_says_what_it_leaves_for_a_batch(ends: list[mc.Adapter], tasks: list[mc.Task]) -> None:
    line = mc.LinearPath(*ends)
    plans = [
        plan_evaluation(line, mc.AdapterModel.from_pretrained(adapters=ends, max_memory=limit), tasks, num_points=2)
        for limit in (None, "60KB", "90KB")
    ]
    told = [plan.get("tokens a batch that fit", "") for plan in plans]
    assert told[0] == ""
    tokens = [int(one.removesuffix("; larger batches are halved")) for one in told[1:]]
    assert 0 < tokens[0] < tokens[1]


def test_rows_above_the_token_budget_are_counted(ends: list[mc.Adapter], model: mc.AdapterModel) -> None:
    lengths = [4, 5, 30, 31]
    records = [{"prompt": "cat " * length, "answer": "good"} for length in lengths]
    task = mc.Task.from_records("long", {"test": records})
    line = mc.LinearPath(*ends)
    told = [
        plan_evaluation(line, model, [task], num_points=2, settings=mc.EncodingSettings(token_budget=budget))
        for budget in (20, 2048)
    ]
    assert [plan.get("rows above the token budget") for plan in told] == ["2, each a batch of its own", None]


def test_layers_that_no_point_changes_count_once(tmp_path: Any) -> None:
    base = make_base(tmp_path / "base", "llama", num_hidden_layers=4)
    folders = [make_adapter(tmp_path / str(s), base, "llama", seed=s, layers_to_transform=[3]) for s in (1, 2)]
    line = mc.LinearPath(*map(mc.Adapter.from_pretrained, folders))
    model = mc.AdapterModel.from_pretrained(adapters=line.points)
    encoded = [model.encode(make_task("first", 0))]
    cost = probed(line, model, encoded)
    everything = sum(weight.numel() for name, weight in model.module.named_parameters() if ".layers." in name)
    tokens = sum(batch.num_tokens for batch in encoded[0].batches)
    # Two of four layers and more; the last runs at the scored positions only, and attention has no weights.
    assert cost.first_flops > 2 * tokens * everything / 2
    assert 0 < cost.flops < cost.first_flops
    assert cost.first_seconds >= 0
    told = plan_evaluation(line, model, [make_task("first", 0)], num_points=3)
    assert told["layers that run once"] == "the first 3 of 4: no checkpoint changes them"

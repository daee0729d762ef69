"""Several points in one batch: the numbers of each alone, whatever the points change."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from launches import together
from random_tasks import random_task

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError
from modeconn.evaluation import together as checking
from modeconn.models.encoded import ExampleSums
from modeconn.models.several_points import evaluate_together
from modeconn.runs.processes import Processes
from modeconn.tasks.encoding import EncodingSettings

SMALL = EncodingSettings(token_budget=80)
ALL_LINEAR = {"target_modules": "all-linear"}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "dora": {"use_dora": True},
    "embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
    "head": {"target_modules": ["lm_head", "q_proj"]},
    "saved": {"modules_to_save": ["lm_head"]},
}


def points(adapters: Callable[..., Path], family: str, **settings: Any) -> list[mc.Adapter]:
    ends = [mc.Adapter.from_pretrained(adapters(family, seed, **settings)) for seed in (1, 2)]
    line = mc.LinearPath(*ends)
    return [ends[0], line(0.3), line(0.8), ends[1]]


def close(one: ExampleSums, other: ExampleSums) -> bool:
    return (
        np.allclose(one.loss_sum, other.loss_sum, rtol=1e-9, atol=1e-9)
        and np.array_equal(one.score, other.score)
        and np.array_equal(one.num_tokens, other.num_tokens)
        and one.outputs == other.outputs
    )


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "padded"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_points_together_give_what_each_gives_alone(
    adapters: Callable[..., Path], family: str, packed: bool | None
) -> None:
    several = points(adapters, family)
    model = mc.AdapterModel.from_pretrained(adapters=several, dtype="float64", packed=packed)
    tasks = [make_task("first", 0)] + ([] if family == "bert" else [random_task(name="free")])
    encoded = [model.encode(task, settings=SMALL) for task in tasks]
    assert len(encoded[0].batches) > 2
    found = evaluate_together(model, several, encoded)
    assert [len(own) for own in found] == [len(tasks)] * 4
    for point, own in zip(several, found, strict=True):
        assert all(map(close, own, model.evaluate(point, encoded)))
    assert not close(found[0][0], found[1][0])  # the points differ


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_the_points_change_is_stacked(adapters: Callable[..., Path], kind: str) -> None:
    several = points(adapters, "llama", **KINDS[kind])
    model = mc.AdapterModel.from_pretrained(adapters=several, dtype="float64")
    before = {name: weight.clone() for name, weight in model.module.named_parameters()}
    encoded = [model.encode(make_task("first", 0), settings=SMALL)]
    for point, own in zip(several, evaluate_together(model, several, encoded), strict=True):
        assert close(own[0], model.evaluate(point, encoded)[0])
    after = dict(model.module.named_parameters())
    assert all(torch.equal(after[name], weight) for name, weight in before.items())


def test_written_answers_are_those_of_each_alone(adapters: Callable[..., Path]) -> None:
    several = points(adapters, "llama")[:2]
    model = mc.AdapterModel.from_pretrained(adapters=several, dtype="float64")
    written = replace(make_task("written", 0, labels=False), metric="rouge_l", max_new_tokens=4)
    encoded = [model.encode(written), model.encode(make_task("first", 0))]
    for point, own in zip(several, evaluate_together(model, several, encoded), strict=True):
        assert all(map(close, own, model.evaluate(point, encoded)))
        assert own[0].outputs is not None


def test_a_profile_of_points_together_is_that_of_points_alone(
    adapters: Callable[..., Path], tasks: list[mc.Task]
) -> None:
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]

    def profile(count: int, **settings: Any) -> mc.Profile:
        model = mc.AdapterModel.from_pretrained(adapters=ends, points_per_batch=count)
        return mc.evaluate_path(mc.LinearPath(*ends), model, tasks, num_points=7, **settings)

    alone, found = profile(1), profile(3)
    assert found.frame["t"].tolist() == alone.frame["t"].tolist()
    assert found.frame["loss"].to_numpy() == pytest.approx(alone.frame["loss"].to_numpy(), rel=1e-5)
    (checks,) = found.checks.values()
    assert checks["together_as_alone_within"] < 1e-5
    assert "together_as_alone_within" not in next(iter(alone.checks.values()))


@pytest.mark.filterwarnings("ignore:There is a performance drop")  # threads share what is ignored, processes do not
def test_processes_share_groups_of_points_and_what_is_left_of_them(
    adapters: Callable[..., Path], tasks: list[mc.Task]
) -> None:
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]
    models = [mc.AdapterModel.from_pretrained(adapters=ends, points_per_batch=2) for _ in range(3)]

    class Store:
        def __init__(self, processes: Processes) -> None:
            self.processes = processes

        def load(self, key: str) -> None:
            del key

        def save(self, key: str, records: Any) -> None:
            del key, records

    def profile(processes: Processes) -> mc.Profile:
        line = mc.LinearPath(*ends)
        return mc.evaluate_path(
            line, models[processes.index], tasks, num_points=7, settings=SMALL, store=Store(processes)
        )

    expected = profile(Processes())
    for found in together(3, profile):  # 4 groups: one a process, then one for all
        assert found.frame.equals(expected.frame)


def test_a_difference_is_told(
    adapters: Callable[..., Path], tasks: list[mc.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(adapters=ends, points_per_batch=2)
    monkeypatch.setattr(checking, "evaluate_together", lambda *given: evaluate_together(given[0], ends[::-1], given[2]))
    with pytest.raises(EvaluationError, match=r"(?s)together give other losses.*remedy: leave points_per_batch"):
        mc.evaluate_path(mc.LinearPath(*ends), model, tasks, num_points=3)


def test_a_model_that_chooses_by_numbers_is_refused(
    adapters: Callable[..., Path], tasks: list[mc.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(adapters=ends, points_per_batch=2)
    norm = model.module.model.norm  # type: ignore[union-attr]
    own = norm.forward
    monkeypatch.setattr(norm, "forward", lambda states: own(states) if states.sum() < torch.inf else states)
    with pytest.raises(ModelError, match=r"(?s)LlamaForCausalLM cannot be run for several points.*vmap"):
        mc.evaluate_path(mc.LinearPath(*ends), model, tasks, num_points=3)


@pytest.mark.parametrize(
    ("count", "dtype", "message"),
    [(0, "float32", "cannot be 0"), (2, "bfloat16", r"(?s)for 2 points together.*got: bfloat16")],
)
def test_what_cannot_be_stacked_is_refused(adapters: Callable[..., Path], count: int, dtype: str, message: str) -> None:
    ends = [mc.Adapter.from_pretrained(adapters("llama", 1))]
    with pytest.raises(ModelError, match=message):
        mc.AdapterModel.from_pretrained(adapters=ends, dtype=dtype, points_per_batch=count)

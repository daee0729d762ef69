from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_tasks import make_task
from peft import PeftModel
from tiny import FAMILIES, LABELS, TASK_TYPES
from transformers import AutoTokenizer

import modeconn as mc
from modeconn.evaluation.profile import PROFILE_COLUMNS


def naive_losses(model: torch.nn.Module, tokenizer: object, examples: tuple[mc.Example, ...]) -> list[float]:
    """The reference: one example at a time, full logits, no batching, no padding."""
    losses = []
    for example in examples:
        prompt = tokenizer(example.prompt)["input_ids"]  # type: ignore[operator]
        whole = tokenizer(example.prompt + example.answer)["input_ids"]  # type: ignore[operator]
        with torch.no_grad():
            logits = model(torch.tensor([whole])).logits[0].log_softmax(-1)
        losses.append(-sum(float(logits[i - 1, whole[i]]) for i in range(len(prompt), len(whole))))
    return losses


def test_the_middle_of_a_line_equals_a_hand_merged_model(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task], bases: Callable[[str], Path]
) -> None:
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, tasks, t=[0, 0.3, 1])
    merged = FAMILIES["llama"]().from_pretrained(bases("llama"), dtype=torch.float32).eval()  # type: ignore[attr-defined]
    for weight, end in ((0.7, ends[0]), (0.3, ends[1])):
        assert end.source is not None
        whole = PeftModel.from_pretrained(
            FAMILIES["llama"]().from_pretrained(bases("llama"), dtype=torch.float32),  # type: ignore[attr-defined]
            str(end.source),
        ).merge_and_unload()
        for name, parameter in merged.named_parameters():
            base = FAMILIES["llama"]().from_pretrained(bases("llama"), dtype=torch.float32)  # type: ignore[attr-defined]
            parameter.data += weight * (whole.get_parameter(name) - base.get_parameter(name)).data
    tokenizer = AutoTokenizer.from_pretrained(bases("llama"))
    for task in tasks:
        rows = profile.examples.query("task == @task.name and t == 0.3")
        expected = naive_losses(merged, tokenizer, task.split("test"))
        np.testing.assert_allclose(rows["loss_sum"], expected, rtol=1e-4, atol=1e-4)


def test_means_are_sums_divided_once(ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, tasks, num_points=3)
    assert tuple(profile.frame.columns) == PROFILE_COLUMNS
    for _, row in profile.frame.iterrows():
        own = profile.examples.query("task == @row.task and t == @row.t")
        assert row["loss"] == pytest.approx(own["loss_sum"].sum() / own["num_tokens"].sum(), rel=1e-12)
        assert row["score"] == own["score"].mean()
        assert row["num_examples"] == 22
        assert row["loss_low"] < row["loss"] < row["loss_high"]
    assert set(profile.frame["metric"]) == {"accuracy", "exact_match"}
    assert list(profile.frame["t"].unique()) == [0, 0.5, 1]
    assert (profile.frame["space"] == "weights").all()


@pytest.mark.parametrize("token_budget", [40, 100_000])
def test_the_batch_size_changes_nothing_that_matters(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task], token_budget: int
) -> None:
    line = mc.LinearPath(*ends)
    usual = mc.evaluate_path(line, model, tasks, num_points=2)
    other = mc.evaluate_path(line, model, tasks, num_points=2, settings=mc.EncodingSettings(token_budget=token_budget))
    np.testing.assert_allclose(usual.examples["loss_sum"], other.examples["loss_sum"], atol=1e-4)


def test_permuting_the_examples_permutes_the_records(ends: list[mc.Adapter], model: mc.AdapterModel) -> None:
    task = make_task("one", 0)
    backwards = mc.Task("one", {"test": task.split("test")[::-1]}, labels=task.labels)
    line = mc.LinearPath(*ends)
    there = mc.evaluate_path(line, model, [task], num_points=2).examples
    back = mc.evaluate_path(line, model, [backwards], num_points=2).examples
    for t in (0.0, 1.0):
        losses = there[there["t"] == t]["loss_sum"]
        np.testing.assert_allclose(losses, back[back["t"] == t]["loss_sum"].to_numpy()[::-1], atol=1e-5)


def test_factor_space_is_named_and_differs_in_the_middle_only(
    adapters: Callable[..., Path], tasks: list[mc.Task], model: mc.AdapterModel
) -> None:
    a, b = (mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (3, 4))
    weights = mc.evaluate_path(mc.LinearPath(a, b), model, tasks, num_points=3).frame
    factors = mc.evaluate_path(mc.LinearPath(a, b, space="factors"), model, tasks, num_points=3).frame
    assert set(factors["space"]) == {"factors"}
    middle = weights["t"] == 0.5
    np.testing.assert_allclose(weights["loss"][~middle], factors["loss"][~middle], atol=1e-5)
    assert (weights["loss"] - factors["loss"])[middle].abs().min() > 1e-3


def test_finished_points_are_taken_from_the_store(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: dict[str, pd.DataFrame] = {}

    class Store:
        def load(self, key: str) -> pd.DataFrame | None:
            return kept.get(key)

        def save(self, key: str, records: pd.DataFrame) -> None:
            kept[key] = records

    line = mc.LinearPath(*ends)
    straight = mc.evaluate_path(line, model, tasks, num_points=4, store=Store())
    assert len(kept) == 4
    kept.pop(sorted(kept)[1])
    evaluated = []
    evaluate = mc.AdapterModel.evaluate
    monkeypatch.setattr(mc.AdapterModel, "evaluate", lambda self, *args: evaluated.append(1) or evaluate(self, *args))
    resumed = mc.evaluate_path(line, model, tasks, num_points=4, store=Store())
    assert len(evaluated) == 1
    pd.testing.assert_frame_equal(straight.frame, resumed.frame, check_exact=True)


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_every_family_passes_the_gate(family: str, adapters: Callable[..., Path], tasks: list[mc.Task]) -> None:
    ends = [mc.Adapter.from_pretrained(adapters(family, seed)) for seed in (1, 2)]
    labels = [" " + label for label in LABELS] if TASK_TYPES[family] == "SEQ_CLS" else None
    # float64: the random T5 has saturated attention, which magnifies rounding
    model = mc.AdapterModel.from_pretrained(adapters=ends, labels=labels, dtype="float64")
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, tasks if family != "bert" else tasks[:1], num_points=3)
    (checks,) = profile.checks.values()
    assert max(checks["ends_agree_with_peft_within"].values()) < 1e-8
    assert checks["repeatable_within"] == 0.0


def test_progress_counts_to_the_total(ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    seen: list[tuple[int, int, str]] = []
    line = mc.LinearPath(*ends, name="a line")
    mc.evaluate_path(line, model, tasks, num_points=3, progress=lambda *call: seen.append(call))
    assert seen == [(done, 3, "a line") for done in range(4)]


def test_bad_arguments(ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    line = mc.LinearPath(*ends)
    with pytest.raises(mc.EvaluationError, match=r"(?s)too few points.*num_points=1.*remedy"):
        mc.evaluate_path(line, model, tasks, num_points=1)
    with pytest.raises(mc.EvaluationError, match=r"(?s)not increasing.*remedy: sort"):
        mc.evaluate_path(line, model, tasks, t=[0, 0.5, 0.2, 1])
    with pytest.raises(mc.EvaluationError, match="there is no task"):
        mc.evaluate_path(line, model, [])
    with pytest.raises(mc.EvaluationError, match=r"(?s)cannot be told apart.*first, first"):
        mc.evaluate_path(line, model, [tasks[0], tasks[0]])
    with pytest.raises(mc.TaskError, match=r"(?s)has no split 'eval'.*test, train"):
        mc.evaluate_path(line, model, tasks, split="eval")


def test_barriers_follow_the_frame(ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, tasks, num_points=5)
    own = profile.frame.query("task == 'first'")
    expected = mc.barrier(own["t"].to_numpy(), own["loss"].to_numpy())
    row = profile.barriers().query("task == 'first' and baseline == 'chord'").iloc[0]
    assert (row["barrier"], row["t_at_max"], row["num_points"]) == (expected.height, expected.t, 5)
    error = mc.barrier(own["t"].to_numpy(), 1 - own["score"].to_numpy(), baseline="mean")
    row = profile.barriers("score").query("task == 'first' and baseline == 'mean'").iloc[0]
    assert row["barrier"] == pytest.approx(error.height)
    assert row["low"] <= row["barrier"] <= row["high"]
    with pytest.raises(mc.EvaluationError, match=r"(?s)unknown metric 'bleu'.*loss or score"):
        profile.barriers("bleu")  # type: ignore[arg-type]

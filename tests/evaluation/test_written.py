"""Tasks scored by written answers along a path: tables, resuming, and the gate at the ends."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_tasks import make_task

import modeconn as mc
from modeconn.cli.profile_files import write_profile
from modeconn.cli.profile_tables import tables_of
from modeconn.evaluation.gate import check_ends
from modeconn.evaluation.outputs import OUTPUT_COLUMNS, with_outputs
from modeconn.evaluation.pairs import barrier_matrix
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.sequential import evaluate_to_precision
from modeconn.evaluation.store import RunPointStore
from modeconn.evaluation.written_ends import check_written, written_sample
from modeconn.runs import RunFolder


@pytest.fixture(scope="module")
def mixed() -> list[mc.Task]:
    """One task with labels, one with given answers, one with written answers."""
    free = make_task("free", 0, labels=False)
    return [make_task("first", 0), free, replace(free, name="written", metric="rouge_l", max_new_tokens=6)]


@pytest.fixture(scope="module")
def profile(ends: list[mc.Adapter], model: mc.AdapterModel, mixed: list[mc.Task]) -> Profile:
    return mc.evaluate_path(mc.LinearPath(*ends), model, mixed, num_points=3)


def test_the_texts_are_a_table_of_their_own(profile: Profile, mixed: list[mc.Task]) -> None:
    outputs = profile.outputs
    assert outputs is not None
    assert tuple(outputs.columns) == OUTPUT_COLUMNS
    assert set(outputs["task"]) == {"written"}
    assert len(outputs) == 3 * len(mixed[2].split("test"))
    assert {"output", "ended"}.isdisjoint(profile.examples.columns)
    assert len(set(outputs["output"])) > 3


def test_losses_are_those_of_given_answers_and_scores_those_of_the_texts(profile: Profile) -> None:
    frame = profile.frame.set_index(["task", "t"])
    assert list(frame.loc["written", "metric"].unique()) == ["rouge_l"]
    np.testing.assert_array_equal(frame.loc["written", "loss"], frame.loc["free", "loss"])
    assert profile.outputs is not None
    means = profile.outputs.groupby("t")["score"].mean()
    np.testing.assert_allclose(frame.loc["written", "score"], means)
    assert means.max() > 0


def test_barriers_of_written_scores_are_there(profile: Profile) -> None:
    table = profile.barriers("score")
    assert set(table["task"]) == {"first", "free", "written"}


def test_records_are_put_together_again(profile: Profile) -> None:
    records = with_outputs(profile.examples, profile.outputs)
    assert len(records) == len(profile.examples)
    again = Profile.from_examples(
        records, space="weights", split="test", metrics=dict.fromkeys(["first", "free", "written"], "x"),
        distances=dict.fromkeys([0.0, 0.5, 1.0], 0.0),
    )  # fmt: skip
    assert profile.outputs is not None
    pd.testing.assert_frame_equal(again.outputs, profile.outputs, check_dtype=False)
    pd.testing.assert_frame_equal(again.examples, profile.examples)


def test_outputs_of_several_paths_are_one_table(profile: Profile) -> None:
    assert profile.outputs is not None
    renamed = replace(profile, frame=profile.frame.assign(path="other"), outputs=profile.outputs.assign(path="other"))
    both = Profile.concat([profile, replace(renamed, checks={})]).outputs
    assert both is not None
    assert both.groupby("path").size().tolist() == [len(profile.outputs)] * 2


def test_a_profile_without_written_answers_has_no_table(
    ends: list[mc.Adapter], model: mc.AdapterModel, mixed: list[mc.Task]
) -> None:
    assert mc.evaluate_path(mc.LinearPath(*ends), model, mixed[:1], num_points=2).outputs is None


def test_finished_points_are_not_written_again(
    ends: list[mc.Adapter], model: mc.AdapterModel, mixed: list[mc.Task], profile: Profile, tmp_path, monkeypatch
) -> None:
    calls: list[int] = []
    generate = type(model.module).generate
    counted = lambda self, **inputs: calls.append(1) or generate(self, **inputs)  # noqa: E731
    monkeypatch.setattr(type(model.module), "generate", counted)
    options: dict[str, Any] = {"num_points": 3, "check": False}
    with RunFolder.open(tmp_path / "run", command="x", settings={}) as run:
        store = RunPointStore(run)
        straight = mc.evaluate_path(mc.LinearPath(*ends), model, mixed, store=store, **options)
        once = len(calls)
        resumed = mc.evaluate_path(mc.LinearPath(*ends), model, mixed, store=store, **options)
        assert len(calls) == once > 0
        write_profile(run, resumed, tables_of(resumed, mixed))
    for again in (straight, resumed):
        pd.testing.assert_frame_equal(again.outputs, profile.outputs)
        pd.testing.assert_frame_equal(again.examples, profile.examples)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "run" / "outputs.parquet"), profile.outputs)
    assert "output" not in pd.read_parquet(tmp_path / "run" / "examples.parquet")


def test_lines_of_many_checkpoints_keep_what_was_written(
    ends: list[mc.Adapter], model: mc.AdapterModel, mixed: list[mc.Task], profile: Profile
) -> None:
    found = barrier_matrix(ends, model, mixed, num_points=3).profile
    columns = ["task", "t", "example", "output"]
    assert found.outputs is not None
    assert profile.outputs is not None
    pd.testing.assert_frame_equal(found.outputs[columns], profile.outputs[columns])


def test_a_growing_sample_keeps_what_was_written(
    ends: list[mc.Adapter], model: mc.AdapterModel, mixed: list[mc.Task], profile: Profile
) -> None:
    found = evaluate_to_precision(
        mc.LinearPath(*ends), model, mixed, precision=1e-9, num_first=8, num_resamples=200, num_points=3, check=False
    ).profile
    assert found.outputs is not None
    assert profile.outputs is not None
    columns = ["path", "task", "t", "example", "output", "ended", "score"]
    pd.testing.assert_frame_equal(found.outputs[columns], profile.outputs[columns])


def test_the_gate_stops_an_end_that_writes_otherwise(
    ends: list[mc.Adapter], model: mc.AdapterModel, mixed: list[mc.Task]
) -> None:
    def broken_cache(module: torch.nn.Module, _: Any, inputs: dict[str, Any], output: Any) -> None:
        """Only this object, only with a cache: the losses are right, and the texts are not."""
        if module is model.module and inputs.get("use_cache") is not False:
            output.logits = -output.logits

    hook = model.module.register_forward_hook(broken_cache, with_kwargs=True)
    try:
        with pytest.raises(
            mc.EvaluationError, match=r"(?s)does not write what its checkpoint writes.*16 examples of writ"
        ):
            check_ends(model, ends, [model.encode(mixed[2])])
        check_ends(model, ends, [model.encode(mixed[1])])
    finally:
        hook.remove()
    check_ends(model, ends, [model.encode(mixed[2])])


def test_texts_may_part_at_a_tie_only(ends: list[mc.Adapter], mixed: list[mc.Task]) -> None:
    model = mc.AdapterModel.from_pretrained(adapters=ends, dtype="float64")
    split = model.encode(mixed[2])
    written = written_sample(model, model.module, split)
    assert len(written) == 16
    example, tokens = next((n, tokens) for n, tokens in written.items() if tokens[2] not in tokens[:2])
    twin = next(token for token in range(4, 20) if token not in tokens)
    other = {**written, example: (*tokens[:2], twin, *tokens[3:])}
    with pytest.raises(mc.EvaluationError, match=rf"(?s)the end 'one'.*others to 1, at examples {example}\n"):
        check_written(model, model.module, "one", [split], [other], tolerance=1e-8)
    head: Any = model.module.get_submodule("lm_head")
    with torch.no_grad():
        head.weight[twin] = head.weight[tokens[2]]  # now both are equally likely
    check_written(model, model.module, "one", [split], [{example: other[example]}], tolerance=1e-8)

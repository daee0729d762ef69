from dataclasses import replace

import pytest
import torch

import modeconn as mc
from modeconn.adapters import LowRank, Update
from modeconn.evaluation.gate import check_ends, check_repeatable


def tampered(adapter: mc.Adapter) -> mc.Adapter:
    """The adapter with one scaling misread, as a reader that ignores rsLoRA would."""
    name = sorted(adapter.updates)[0]
    part = adapter.updates[name].parts[0]
    wrong = Update.of(LowRank(part.up, part.down, part.scaling * 1.5))
    return replace(adapter, updates={**adapter.updates, name: wrong})


def test_the_gate_passes_true_ends(ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    encoded = [model.encode(task) for task in tasks]
    found = check_ends(model, ends, encoded)
    assert set(found) == {end.name for end in ends}
    assert max(found.values()) < 1e-5


def test_the_gate_stops_an_end_that_is_not_the_adapter(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]
) -> None:
    line = mc.LinearPath(ends[0], tampered(ends[1]))
    with pytest.raises(mc.EvaluationError, match=r"(?s)is not the adapter that PEFT loads.*within 0.0001"):
        mc.evaluate_path(line, model, tasks, num_points=2)


def test_a_sample_of_rows_is_enough_to_see_it(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]
) -> None:
    encoded = [model.encode(tasks[0], settings=mc.EncodingSettings(token_budget=40))]
    with pytest.raises(mc.EvaluationError, match="is not the adapter"):
        check_ends(model, [tampered(ends[0])], encoded, num_rows=4)


def test_a_random_model_is_refused(ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]) -> None:
    encoded = [model.encode(task) for task in tasks]
    dropout = model.module.get_submodule("model.norm").register_forward_hook(
        lambda _m, _i, output: torch.nn.functional.dropout(output, 0.5, training=True)
    )
    try:
        with pytest.raises(mc.EvaluationError, match=r"(?s)different losses for the same point.*dropout"):
            check_repeatable(model, ends[0], encoded)
    finally:
        dropout.remove()


def infinite(adapter: mc.Adapter) -> mc.Adapter:
    """The adapter with one factor that overflowed."""
    name = sorted(adapter.updates)[0]
    part = adapter.updates[name].parts[0]
    huge = Update.of(LowRank(part.up * torch.inf, part.down, 1.0))
    return replace(adapter, updates={**adapter.updates, name: huge}, source=None, name="overflowed")


@pytest.mark.parametrize("place", [0, 1])
def test_an_end_without_finite_losses_is_named_by_example(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task], place: int
) -> None:
    line = mc.LinearPath(*ends)
    line.points = (infinite(ends[0]), ends[1]) if place == 0 else (ends[0], infinite(ends[1]))
    with pytest.raises(mc.EvaluationError, match=r"(?s)first/test at 'overflowed' are not finite.*22 NaN or infinite"):
        mc.evaluate_path(line, model, tasks, num_points=2)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_misread_scaling_is_seen_in_narrow_dtypes(ends: list[mc.Adapter], tasks: list[mc.Task], dtype: str) -> None:
    model = mc.AdapterModel.from_pretrained(adapters=ends, dtype=dtype)
    encoded = [model.encode(task) for task in tasks]
    assert max(check_ends(model, ends, encoded).values()) < 1e-3
    wrong = replace(ends[0] * 1.3, source=ends[0].source, name="misread")
    with pytest.raises(mc.EvaluationError, match=r"(?s)'misread' of the path is not the adapter.*within 0.005"):
        check_ends(model, [wrong], encoded)


def test_losses_that_are_not_finite_are_named_by_example(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]
) -> None:
    line = mc.LinearPath(*ends)
    line.points = (ends[0], infinite(ends[1]))
    with pytest.raises(mc.EvaluationError, match=r"(?s)not finite.*22 NaN or infinite, at examples 0, 1, 2"):
        mc.evaluate_path(line, model, tasks, t=[0, 0.5, 1], check=False)

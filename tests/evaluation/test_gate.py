from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_adapter, make_base

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


def cancelling(folder: Path, family: str, factor: float) -> mc.Adapter:
    """An adapter that takes away most of what its base's weights are, so that float32 leaves rounding behind."""
    base = make_base(folder / "base", family)
    adapter = make_adapter(folder / "adapter", base, family, seed=1)
    weights, tensors = load_file(base / "model.safetensors"), load_file(adapter / "adapter_model.safetensors")
    for name, update in mc.Adapter.from_pretrained(adapter).updates.items():
        weights[name] = weights[name] - factor * update.dense()
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    larger = {name: value * factor if "lora_A" in name else value for name, value in tensors.items()}
    save_file(larger, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    return mc.Adapter.from_pretrained(adapter)


def test_rounding_of_extreme_weights_is_told_from_an_error(tasks: list[mc.Task], tmp_path: Path) -> None:
    point = cancelling(tmp_path, "llama", 3e3)
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    encoded = [model.encode(task) for task in tasks]
    assert 1e-4 < check_ends(model, [point], encoded)[point.name] < 5e-3
    for name, value in model.module.named_parameters():
        assert value.dtype == torch.float32, name
    off = replace(point * 1.00001, source=point.source, name="off")  # no more than rounding might be
    with pytest.raises(mc.EvaluationError, match=r"(?s)'off' of the path is not the adapter.*with --dtype float64: if"):
        check_ends(model, [off], encoded)


def test_rounding_beyond_that_of_narrow_dtypes_is_refused(tasks: list[mc.Task], tmp_path: Path) -> None:
    point = cancelling(tmp_path, "llama", 1e5)
    expected = (
        r"is not the adapter(?s:.*)within 0.0001 in torch.float32\n.*\n  remedy: repeat with --dtype float64: if it"
    )
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    with pytest.raises(mc.EvaluationError, match=expected):
        check_ends(model, [point], [model.encode(task) for task in tasks])
    exact = mc.AdapterModel.from_pretrained(adapters=[point], dtype="float64")
    assert max(check_ends(exact, [point], [exact.encode(task) for task in tasks]).values()) < 1e-8


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

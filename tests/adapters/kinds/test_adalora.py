"""AdaLoRA: the ranks that training kept, the scaling, and what a file may hold."""

import json

import peft
import pytest
import torch
from kind_oracle import assert_same, changes, load, made
from kind_points import PREFIX, fails, kind_point, random
from peft_oracle import load_base
from safetensors.torch import load_file

import modeconn as mc
from modeconn.errors import AdapterError, PathError
from modeconn.paths import LinearPath

TENSORS = {"q.lora_A": random(2, 5), "q.lora_B": random(6, 2), "q.lora_E": random(2, 1)}
SETTINGS = {"init_r": 2, "lora_alpha": 3, "total_step": 10}
PRUNED = {"init_r": 4, "rank_pattern": {"q.lora_E": [True, False, True, False]}}


def dense():
    down, up, values = TENSORS.values()
    return up @ (down * values)


@pytest.mark.parametrize(
    ("settings", "scaling"),
    [
        (SETTINGS, 3 / 2.00001),
        (SETTINGS | PRUNED, 3 / 4.00001),  # the rank before pruning
        (SETTINGS | {"lora_alpha": 0}, 2 / 2.00001),
        (SETTINGS | {"use_rslora": True, "alpha_pattern": {"q": 9}, "r": 5}, 3 / 2.00001),  # PEFT reads none of them
    ],
)
def test_the_scaling(settings, scaling):
    torch.testing.assert_close(
        kind_point("ADALORA", TENSORS, **settings).updates["q.weight"].dense(), scaling * dense()
    )


def test_the_factors_are_those_of_the_update():
    update = kind_point("ADALORA", TENSORS, **SETTINGS).updates["q.weight"]
    up, down = update.factors()
    assert update.rank == 2
    torch.testing.assert_close(up @ down, update.dense())


def test_a_line_can_be_saved_as_lora(tmp_path):
    ends = [kind_point("ADALORA", TENSORS, **SETTINGS), 2 * kind_point("ADALORA", TENSORS, **SETTINGS)]
    saved = mc.Adapter.from_pretrained(LinearPath(*ends)(0.5).save_pretrained(tmp_path / "middle"))
    torch.testing.assert_close(saved.updates["q.weight"].dense(), 1.5 * 3 / 2.00001 * dense())


@pytest.fixture
def pruned(bases, tmp_path):
    """An adapter as PEFT saves it after pruning: one module keeps two of four values, one keeps none."""
    base = load_base("llama", bases("llama"), torch.float32)
    base.name_or_path = str(bases("llama"))
    config = peft.AdaLoraConfig(init_r=4, total_step=10, target_modules=["q_proj"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(base, config)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    kept = [[True, False, False, True], [False] * 4]
    names = [f"model.layers.{layer}.self_attn.q_proj.lora_E.default" for layer in range(2)]
    config.rank_pattern = dict(zip(names, kept, strict=True))
    model.save_pretrained(str(tmp_path / "pruned"))
    return tmp_path / "pruned"


@pytest.mark.filterwarnings("ignore:Adapter 'default'")  # PEFT takes the empty tensors of a pruned module for broken
def test_a_pruned_adapter_is_what_peft_makes_of_it(pruned, bases):
    file = load_file(pruned / "adapter_model.safetensors")
    assert {value.numel() == 0 for value in file.values()} == {True, False}
    assert json.loads((pruned / "adapter_config.json").read_text())["rank_pattern"]
    point = mc.Adapter.from_pretrained(pruned)
    model = load("llama", bases("llama"), point)
    assert [update.rank for update in point.updates.values()] == [2]
    assert_same(made(point, model), changes("llama", bases("llama"), pruned))


def test_empty_tensors_of_a_module_that_was_not_pruned(tmp_path):
    from points import write_folder

    empty = {"q.lora_A": torch.zeros(0, 5), "q.lora_B": torch.zeros(6, 0), "q.lora_E": torch.zeros(0, 1)}
    tensors = {PREFIX + name: value for name, value in empty.items()}
    settings = {"peft_type": "ADALORA", "total_step": 10, "init_r": 2}
    folder = write_folder(tmp_path / "a", tensors, rank_pattern={"v.lora_E": [False]}, **settings)
    with pytest.raises(AdapterError, match=r"(?s)do not fit.*with r = 2.*lora_A \[0, 5\]"):
        mc.Adapter.from_pretrained(folder)
    with pytest.raises(AdapterError, match=r"(?s)holds empty tensors.*DeepSpeed"):
        mc.Adapter.from_pretrained(write_folder(tmp_path / "b", tensors, **settings))


def test_factors_of_different_scalings_are_not_averaged():
    ends = [kind_point("ADALORA", TENSORS, **(SETTINGS | {"lora_alpha": alpha})) for alpha in (3, 4)]
    with pytest.raises(PathError, match=r"(?s)scale their factors differently.*different scalings in q"):
        LinearPath(*ends, space="factors")


@pytest.mark.parametrize("name", TENSORS)
def test_a_missing_tensor(name):
    rest = {key: value for key, value in TENSORS.items() if key != name}
    told = (
        ("would not be used", "q.lora_B, ") if name == "q.lora_A" else ("lacks a tensor", f"expected: {PREFIX}{name}")
    )
    fails("ADALORA", rest, *told, **SETTINGS)


@pytest.mark.parametrize(
    ("tensors", "settings", "told"),
    [
        (TENSORS, {"init_r": 3}, ("E [r, 1] with r = 3", "lora_A [2, 5], lora_B [6, 2], lora_E [2, 1]")),
        (TENSORS, {"init_r": 4, "rank_pattern": {"q.lora_E": [True]}}, ("with r = 1", "lora_A [2, 5]")),
        (TENSORS | {"q.lora_E": random(2)}, {"init_r": 2}, ("E [r, 1] with r = 2", "lora_E [2]")),
        (TENSORS | {"q.lora_B": random(6, 3)}, {"init_r": 2}, ("B [out, r]", "lora_B [6, 3]")),
    ],
)
def test_shapes_that_do_not_fit(tensors, settings, told):
    fails("ADALORA", tensors, "the tensors of q in the adapter do not fit together", *told, **settings)


@pytest.mark.parametrize(
    ("key", "value"), [("init_r", 0), ("lora_alpha", "3"), ("rank_pattern", {"q.lora_E": 2}), ("rank_pattern", [True])]
)
def test_a_setting_of_the_wrong_kind(key, value):
    fails("ADALORA", TENSORS, "settings that cannot be read", f"got: {key}={value!r}", **(SETTINGS | {key: value}))


@pytest.mark.parametrize(("key", "value"), [("use_dora", True), ("lora_bias", True), ("target_parameters", ["w"])])
def test_a_setting_of_lora_that_adalora_has_not(key, value):
    fails("ADALORA", TENSORS, "weight update is not known", "settings of ADALORA", f"{key}={value!r}", **{key: value})

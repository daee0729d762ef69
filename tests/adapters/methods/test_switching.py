"""Merging, switching and disabling, as PEFT's users expect them."""

import copy

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft_oracle import logits

from modeconn.adapters.methods.layer import UpdatedLinear
from modeconn.errors import AdapterError

WITH_UPDATE = ["wegeft tied", "wegeft per layer", "wegeft tied output", "wegeft per layer output", "loretta rep"]
METHODS = [*WITH_UPDATE, "loretta adp"]
FAMILIES = ["llama", "gpt2"]


@pytest.fixture
def two(trained, moved, settings):
    """A model with the adapters "default" and "second"; the first is active."""

    def make(method, family, dtype=torch.float64):
        model = trained(method, family, dtype=dtype, seed=1)
        model.add_adapter("second", settings(method, family))
        model.set_adapter("second")
        moved(model.to(dtype), seed=2).set_adapter("default")
        return model.eval()

    return make


def weights(model):
    return {name: one.detach().clone() for name, one in model.named_parameters() if "base_layer.weight" in name}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", WITH_UPDATE)
def test_merged_logits_are_those_before(method, family, trained):
    model = trained(method, family, dtype=torch.float64)
    expected, before = logits(model), weights(model)
    model.merge_adapter(safe_merge=True)
    assert all(not torch.equal(after, before[name]) for name, after in weights(model).items())
    torch.testing.assert_close(logits(model), expected)
    model.unmerge_adapter()
    torch.testing.assert_close(weights(model), before)
    torch.testing.assert_close(logits(model), expected)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", WITH_UPDATE)
def test_a_merged_model_stands_alone(method, family, base, trained):
    model = trained(method, family, dtype=torch.float64)
    expected = logits(model)
    merged = model.merge_and_unload()
    assert {name for name, _ in merged.named_parameters()} == {name for name, _ in base(family).named_parameters()}
    torch.testing.assert_close(logits(merged), expected)


@pytest.mark.parametrize("method", WITH_UPDATE)
def test_adapters_merged_at_once_or_one_after_the_other_are_the_same(method, two):
    at_once, in_turn = two(method, "llama"), two(method, "llama")
    at_once.base_model.set_adapter(["default", "second"])
    expected = logits(at_once)
    at_once.merge_adapter()
    in_turn.merge_adapter(["default"])
    with pytest.warns(UserWarning, match="were merged default. You are now additionally merging second"):
        in_turn.merge_adapter(["second"])
    torch.testing.assert_close(logits(at_once), expected)
    torch.testing.assert_close(logits(in_turn), expected)


@pytest.mark.parametrize("method", METHODS)
def test_active_adapters_add_up_in_a_layer(method, two):
    model = two(method, "llama")
    layer = next(part for name, part in model.named_modules() if name.endswith("1.self_attn.v_proj"))
    features = torch.randn(3, 16, dtype=torch.float64)
    alone = {}
    for name in ("default", "second"):
        model.set_adapter(name)
        alone[name] = layer(features) - layer.base_layer(features)
    model.base_model.set_adapter(["default", "second"])
    torch.testing.assert_close(layer(features) - layer.base_layer(features), alone["default"] + alone["second"])
    assert not torch.allclose(alone["default"], alone["second"], atol=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_disabled_adapters_leave_the_base(method, base, trained):
    model = trained(method, "llama")
    active = logits(model)
    with model.disable_adapter():
        assert torch.equal(logits(model), logits(base("llama")))
    assert torch.equal(logits(model), active)


@pytest.mark.parametrize("method", WITH_UPDATE)
def test_disabling_takes_a_merged_adapter_off(method, base, trained):
    model = trained(method, "llama", dtype=torch.float64)
    model.merge_adapter()
    with model.disable_adapter():
        torch.testing.assert_close(logits(model), logits(base("llama", torch.float64)))


@pytest.mark.parametrize("method", METHODS)
def test_unloading_gives_the_base_back(method, base, trained):
    assert torch.equal(logits(trained(method, "llama").unload()), logits(base("llama")))


@pytest.mark.parametrize("method", METHODS)
def test_deleting_one_adapter_leaves_the_other(method, two):
    model = two(method, "llama")
    model.set_adapter("second")
    expected = logits(model)
    model.delete_adapter("default")
    torch.testing.assert_close(logits(model), expected)
    assert not any("default" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_copy_is_independent(method, trained, moved):
    model = trained(method, "llama")
    expected = logits(model)
    twin = copy.deepcopy(model)
    assert torch.equal(logits(twin), expected)
    moved(twin, seed=3)
    assert torch.equal(logits(model), expected)
    assert not torch.allclose(logits(twin), expected, atol=1e-2)


@pytest.mark.parametrize("method", METHODS)
def test_peft_reports_the_adapter_of_every_layer(method, trained):
    status = trained(method, "llama").get_layer_status()
    assert [one.available_adapters for one in status] == [["default"]] * 4


@pytest.mark.parametrize("method", WITH_UPDATE)
def test_dropout_acts_in_training_only(method, base, moved, settings):
    model = moved(get_peft_model(base("llama"), settings(method, "llama", dropout=0.5)))
    assert torch.equal(logits(model.eval()), logits(model.eval()))
    assert not torch.equal(logits(model.train()), logits(model.train()))


@pytest.mark.parametrize("method", WITH_UPDATE)
def test_peft_converts_the_update_to_lora(method, base, trained, tmp_path):
    peft = pytest.importorskip("peft", minversion="0.19")
    model = trained(method, "llama")
    peft.save_as_lora(tmp_path, model, rank=4)
    torch.testing.assert_close(
        logits(PeftModel.from_pretrained(base("llama"), tmp_path).eval()), logits(model), rtol=1e-4, atol=1e-4
    )


def test_a_bottleneck_cannot_be_converted_to_lora(trained):
    peft = pytest.importorskip("peft", minversion="0.19")
    with pytest.raises(TypeError, match=r"do not support LoRA conversion: .*LorettaAdpLinear"):
        peft.convert_to_lora(trained("loretta adp", "llama"), rank=4)


def test_a_bottleneck_cannot_be_merged(trained):
    model = trained("loretta adp", "llama")
    expected = logits(model)
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(AdapterError, match=r"cannot be merged\n  expected: .*\n  got: a bottleneck .*q_proj\n"):
            merge()
    assert torch.equal(logits(model), expected)


def test_a_broken_update_is_not_merged(trained):
    model = trained("loretta rep", "llama")
    layer = next(part for part in model.modules() if isinstance(part, UpdatedLinear))
    layer.loretta_rep_up["default"][0].data[0, 0, 0] = torch.nan
    before = weights(model)
    with pytest.raises(AdapterError, match=r"cannot merge default into .*q_proj\n  .*finite weights\n  got: NaN"):
        model.merge_adapter(safe_merge=True)
    torch.testing.assert_close(weights(model), before)

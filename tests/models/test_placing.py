"""A point in a model: what it changes, and that nothing of it stays."""

import numpy as np
import pytest
import torch
from random_tasks import random_task
from safetensors.torch import load_file
from tiny import LABELS, make_adapter, make_base
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding

import modeconn as mc
from modeconn.adapters.config import AdapterConfig
from modeconn.errors import ModelError
from modeconn.models.placing import check_fits, placed

FAMILIES = ["llama", "gpt2", "bert", "t5"]


def task_for(family):
    return random_task(labels=LABELS if family == "bert" else None)


@pytest.fixture(scope="module")
def tied_base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("tied") / "base", "llama", tie_word_embeddings=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_evaluating_leaves_the_model_as_it_was(family, dtype, loaded, state):
    model, point = loaded(family, dtype)
    before = state(model.module)
    model.evaluate(point, [model.encode(task_for(family))])
    assert state(model.module) == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_error_in_a_forward_leaves_the_model_as_it_was(dtype, loaded, state):
    model, point = loaded("llama", dtype)
    encoded = model.encode(task_for("llama"))
    before = state(model.module)

    def fail(*_):
        raise RuntimeError("out of memory")

    broken = model.module.model.layers[1].mlp.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        model.evaluate(point, [encoded])
    broken.remove()
    assert state(model.module) == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_point_that_does_not_fit_is_refused_before_anything_is_changed(dtype, loaded, state):
    model, _ = loaded("llama", dtype)
    _, foreign = loaded("gpt2")
    before = state(model.module)
    with pytest.raises(ModelError, match="does not fit the base model"):
        model.evaluate(foreign, [model.encode(task_for("llama"))])
    assert state(model.module) == before


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_point_that_fails_half_way_is_taken_out_again(dtype, loaded, state):
    model, point = loaded("llama", dtype)
    updates = {**point.updates, "model.layers.9.self_attn.q_proj.weight": next(iter(point.updates.values()))}
    before = state(model.module)
    with pytest.raises(AttributeError), placed(model.module, mc.Adapter(point.config, updates, {})):
        pytest.fail("the last update has no module")
    assert state(model.module) == before


def test_points_placed_one_in_another_are_taken_out_in_turn(loaded, state):
    model, point = loaded("llama", "float32")
    outside = state(model.module)
    with placed(model.module, point):
        between = state(model.module)
        with placed(model.module, 0.5 * point):
            assert state(model.module)["values"] != between["values"]
        assert state(model.module) == between
    assert state(model.module) == outside


def dense(tensors, module, scaling):
    """`s B A` in float64, from an adapter's file."""
    return scaling * (
        tensors[f"base_model.model.{module}.lora_B.weight"].double()
        @ tensors[f"base_model.model.{module}.lora_A.weight"].double()
    )


@pytest.mark.parametrize(
    ("family", "module", "transposed"),
    [
        ("llama", "model.layers.1.self_attn.v_proj", False),
        ("gpt2", "transformer.h.1.attn.c_attn", True),
        ("bert", "bert.encoder.layer.0.attention.self.query", False),
        ("t5", "decoder.block.1.layer.1.EncDecAttention.q", False),
    ],
)
def test_a_weight_is_the_bases_plus_the_update_of_the_file(family, module, transposed, loaded):
    """Conv1D of GPT-2 holds its weight as [in, out]: the update is added transposed."""
    model, point = loaded(family)
    update = dense(load_file(point.source / "adapter_model.safetensors"), module, scaling=2.0)
    weight = model.module.get_submodule(module).weight.detach().clone()
    with placed(model.module, point):
        changed = model.module.get_submodule(module).weight.detach().clone()
    torch.testing.assert_close(changed, weight + (update.T if transposed else update), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_else_than_the_points_parameters_is_touched(family, loaded, state):
    model, point = loaded(family)
    outside = state(model.module)["objects"]
    with placed(model.module, point):
        inside = state(model.module)["objects"]
    assert {name for name in inside if inside[name] != outside[name]} == {*point.updates, *point.saved}


# Each is a LoraConfig of a tied Llama: embed_tokens.weight and lm_head.weight are one tensor.
TIED = [{"target_modules": ["embed_tokens"]}, {"modules_to_save": ["lm_head"]}, {"target_modules": ["lm_head"]}]


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("settings", TIED)
@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_tied_weights_stay_apart_as_in_peft(settings, dtype, tied_base, tmp_path):
    point = mc.Adapter.from_pretrained(make_adapter(tmp_path / "adapter", tied_base, "llama", seed=1, **settings))
    model = mc.AdapterModel.from_pretrained(tied_base, adapters=[point], dtype=dtype)
    assert_equals_peft(model, point, task_for("llama"))


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")
def test_an_update_of_tied_embeddings_leaves_the_head_alone(tied_base, tmp_path):
    adapter = make_adapter(tmp_path / "adapter", tied_base, "llama", seed=1, target_modules=["embed_tokens"])
    module = mc.AdapterModel.from_pretrained(tied_base).module
    table = module.model.embed_tokens.weight
    with placed(module, mc.Adapter.from_pretrained(adapter)):
        assert module.lm_head.weight is table
        assert not torch.equal(module.model.embed_tokens.weight, table)
    assert module.model.embed_tokens.weight is table


def assert_equals_peft(model, point, task):
    """Bit by bit in half precision, where both add the update in float32 and round once; 1e-10 in float64."""
    encoded = model.encode(task)
    with placed(model.module, point):
        ours, _ = model.score_rows(model.module, encoded)
    base, _ = model.score_rows(model.module, encoded)
    with model.reference(point) as plain:
        peft, _ = model.score_rows(plain.double() if model.dtype == torch.float64 else plain, encoded)
    tolerance = 1e-10 if model.dtype == torch.float64 else 0
    np.testing.assert_allclose(ours, peft, rtol=tolerance, atol=tolerance)
    assert not np.allclose(ours, base, rtol=0.05)


TARGETS = [
    ("llama", {"target_modules": ["embed_tokens", "q_proj", "down_proj"]}),
    ("gpt2", {"target_modules": ["wte", "c_attn", "c_fc"]}),
    ("bert", {}),
    ("t5", {}),
]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize(("family", "settings"), TARGETS)
def test_in_half_precision_losses_are_those_of_peft(family, settings, dtype, adapters):
    point = mc.Adapter.from_pretrained(adapters(family, seed=1, **settings))
    labels = LABELS if family == "bert" else None
    model = mc.AdapterModel.from_pretrained(adapters=[point], dtype=dtype, labels=labels)
    assert_equals_peft(model, point, task_for(family))


def point_on(module, down, up, *, lookup=False):
    """A point that adds `up @ down` to one module's weight."""
    names = ("lora_embedding_A", "lora_embedding_B") if lookup else ("lora_A.weight", "lora_B.weight")
    tensors = {f"base_model.model.{module}.{name}": factor for name, factor in zip(names, (down, up), strict=True)}
    rank = down.shape[0]
    return mc.Adapter.from_tensors(tensors, AdapterConfig({"peft_type": "LORA", "r": rank, "lora_alpha": rank}))


def test_in_bf16_a_small_update_is_not_rounded_away():
    """The ulp of 1 is 2^-7: folded into weights of 1 and -1, an update by 0.001 is lost."""
    signs = 2.0 * torch.randint(2, (64, 1024), generator=torch.Generator().manual_seed(0)) - 1
    model = nn.Sequential(nn.Linear(1024, 64, bias=False)).bfloat16().requires_grad_(False)
    model[0].weight.copy_(signs)
    x = torch.ones(1, 1024)
    exact = x @ (signs + 0.001).T
    with placed(model, point_on("0", torch.full((1, 1024), 0.001), torch.ones(64, 1))):
        beside = model(x.bfloat16())
    folded = x.bfloat16() @ (signs + 0.001).bfloat16().T
    assert (folded - exact).abs().min() > 0.8
    assert (beside - exact).abs().max() < 0.2


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.bfloat16, 1e-2)])
def test_an_embedding_that_scales_what_it_looks_up_scales_the_update(dtype, tolerance):
    generator = torch.Generator().manual_seed(0)
    table = Gemma3TextScaledWordEmbedding(26, 16, padding_idx=0, embed_scale=4.0)
    model = nn.Sequential(table).to(dtype).requires_grad_(False)
    down, up = torch.randn(2, 26, generator=generator), torch.randn(16, 2, generator=generator)
    words = torch.arange(26)[None]
    with placed(model, point_on("0", down, up, lookup=True)):
        looked_up = model(words)
    expected = 4.0 * (table.weight.double() + (up @ down).T.double())
    torch.testing.assert_close(looked_up[0].double(), expected, rtol=tolerance, atol=tolerance)


def test_a_parameter_that_the_base_lacks_is_named(loaded):
    model, _ = loaded("llama")
    with pytest.raises(ModelError, match=r"got: 1 of them are not there: model\.nowhere\.weight\n"):
        check_fits(model.module, point_on("model.nowhere", torch.ones(1, 2), torch.ones(2, 1)), "the base")

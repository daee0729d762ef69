"""The last layer runs at the scored positions only, and nothing of that stays in the model."""

import pytest
import torch
from random_tasks import random_task
from tiny import LABELS
from torch import nn
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

import modeconn as mc
from modeconn.errors import ModelError
from modeconn.models import packed_attention as attending
from modeconn.models.family import Causal
from modeconn.models.last_layer import last_layer, last_layer_at
from modeconn.models.packable import with_packing
from modeconn.models.packed_attention import KEYS, packed_attention
from modeconn.models.packed_rows import continued
from modeconn.models.packing import packed_logits, scored_logits
from modeconn.models.plain_attention import plain_attention
from modeconn.tasks.rows import Row

INNER = {"llama": "mlp", "gpt2": "mlp", "bert": "intermediate"}
ROWS = [Row((1, 5, 6, 7), (8, 9, 3), 0), Row((1, 4, 6, 7), (2,), 1), Row((1, 3), (2, 7), 2), Row((4,), (5,), 3)]
SHAPE = {
    "vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 4, "pad_token_id": 0,
}  # fmt: skip


def small(kind, config, **settings):
    torch.manual_seed(0)
    return kind(config(**(SHAPE | settings))).double().eval()


@pytest.fixture(params=["llama", "gpt2", "bert"])
def model(request, adapters):
    labels = LABELS if request.param == "bert" else None
    point = mc.Adapter.from_pretrained(adapters(request.param, seed=1))
    return request.param, mc.AdapterModel.from_pretrained(adapters=[point], labels=labels), point


def forwards(module):
    return [name for name, one in module.named_modules() if "forward" in vars(one)]


def test_only_scored_positions_reach_what_follows_the_last_attention(model):
    family, ours, point = model
    assert ours.family.lean
    encoded = ours.encode(random_task(labels=LABELS if family == "bert" else None))
    layers = next(one for one in ours.module.modules() if isinstance(one, nn.ModuleList))
    seen = [[], []]
    hooks = [
        getattr(layers[place], INNER[family]).register_forward_hook(
            lambda _module, inputs, _output, place=place: seen[place].append(inputs[0].shape[1])
        )
        for place in (0, -1)
    ]
    ours.evaluate(point, [encoded])
    for hook in hooks:
        hook.remove()
    assert seen[0] == [batch.inputs["input_ids"].numel() for batch in encoded.batches]
    assert seen[-1] == [len(batch.packed.scored) for batch in encoded.batches]
    assert sum(seen[-1]) < sum(seen[0])


@pytest.mark.parametrize("window", [None, 3])
@torch.inference_mode()
def test_the_logits_are_those_of_all_positions(window):
    from transformers import MistralConfig, MistralForCausalLM

    model = small(MistralForCausalLM, MistralConfig, sliding_window=window)
    inputs, packed = continued(ROWS)
    whole = packed_logits(model, inputs, packed)
    for most in (1, 2, 100):
        pieces = list(scored_logits(model, inputs, packed, most=most))
        assert max(map(len, pieces)) <= most
        torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-12, atol=1e-12)


def test_the_first_pass_multiplies_no_queries():
    model = small(LlamaForCausalLM, LlamaConfig)
    inputs, packed = continued(ROWS)
    strides, projection = [], last_layer(model).self_attn.q_proj
    projection.register_forward_hook(lambda _module, _inputs, output: strides.append((output.shape, output.stride())))
    list(scored_logits(model, inputs, packed, most=100))
    (all_positions, no_memory), (scored, _) = strides
    assert all_positions[:2] == inputs["input_ids"].shape
    assert no_memory == (0, 0, 0)
    assert scored[1] == len(packed.scored) == 7


def test_the_model_is_what_it_was_also_after_an_error(model, state):
    _, ours, point = model
    before = state(ours.module)
    encoded = ours.encode(random_task(labels=LABELS))
    ours.evaluate(point, [encoded])
    assert state(ours.module) == before
    assert not forwards(ours.module)
    norm = last_layer(ours.module)
    hook = norm.register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ours.evaluate(point, [encoded])
    hook.remove()
    assert state(ours.module) == before
    assert not forwards(ours.module)
    assert KEYS.get() is None


def test_a_forward_that_was_replaced_before_is_put_back():
    model = small(LlamaForCausalLM, LlamaConfig)
    inputs, packed = continued(ROWS)
    expected = torch.cat(list(scored_logits(model, inputs, packed, most=100)))
    replaced = {}
    for module in (last_layer(model).self_attn.q_proj, model.model):
        plain = module.forward
        module.forward = replaced[module] = lambda *args, plain=plain, **kwargs: plain(*args, **kwargs)
    found = torch.cat(list(scored_logits(model, inputs, packed, most=100)))
    torch.testing.assert_close(found, expected)
    assert all(vars(module)["forward"] is forward for module, forward in replaced.items())


def test_where_the_layers_are_no_list_all_positions_run():
    model = small(LlamaForCausalLM, LlamaConfig)
    assert with_packing(Causal(), model).lean
    model.model.layers = nn.Sequential(*model.model.layers)
    family = with_packing(Causal(), model)
    assert family.packed
    assert not family.lean
    with pytest.raises(ModelError, match=r"(?s)layers of LlamaForCausalLM were not found.*list of 2.*packed=False"):
        last_layer(model)


def test_a_layer_with_an_attention_of_its_own_is_told():
    model = small(LlamaForCausalLM, LlamaConfig)
    model.model.layers[-1] = nn.Identity()
    model.model.layers[-1].forward = lambda states, **_: states
    inputs, packed = continued(ROWS)
    with (
        packed_attention(model, packed.texts),
        last_layer_at(model, packed),
        pytest.raises(ModelError, match=r"(?s)Identity has an attention of its own.*came to its end.*packed=False"),
    ):
        model(**inputs)


def test_where_the_logits_would_be_others_all_positions_run():
    model = small(LlamaForCausalLM, LlamaConfig)
    plain = model.model.norm.forward
    model.model.norm.forward = lambda states: plain(states) * (2.0 if (states == 0).all(-1).any() else 1.0)
    family = with_packing(Causal(), model)
    assert family.packed
    assert not family.lean


@pytest.mark.parametrize(("kind", "config"), [(Qwen3ForCausalLM, Qwen3Config), (LlamaForCausalLM, LlamaConfig)])
def test_other_decoders_are_served(kind, config):
    assert with_packing(Causal(), small(kind, config)).lean


@pytest.mark.parametrize(
    ("kind", "config", "settings", "forgotten"),
    [
        (Gemma2ForCausalLM, Gemma2Config, {"attn_logit_softcapping": 0.05, "sliding_window": 4}, "softcap"),
        (GptOssForCausalLM, GptOssConfig, {"num_local_experts": 4, "sliding_window": 4}, "sinks"),
    ],
)
def test_capped_scores_and_sinks_are_served(kind, config, settings, forgotten, monkeypatch):
    model = small(kind, config, **settings).float()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.mul_(5) if name.endswith(("q_proj.weight", "k_proj.weight")) else None
            weight.normal_() if name.endswith("sinks") else None
    assert with_packing(Causal(), model).lean

    def without(*given, **settings):
        return plain_attention(*given, **settings | {forgotten: None})

    monkeypatch.setattr(attending, "plain_attention", without)
    assert not with_packing(Causal(), model).packed


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_updates_beside_narrow_weights_and_saved_modules(family, adapters):
    saved = {"llama": ["norm"], "gpt2": ["ln_f"]}[family]
    point = mc.Adapter.from_pretrained(adapters(family, seed=3, modules_to_save=saved))
    for dtype, tolerance in (("float32", 1e-5), ("bfloat16", 0.3)):
        lean, padded = (
            mc.AdapterModel.from_pretrained(adapters=[point], dtype=dtype, packed=packed) for packed in (None, False)
        )
        assert lean.family.lean
        ours, theirs = (one.evaluate(point, [one.encode(random_task())])[0].loss_sum for one in (lean, padded))
        assert ours == pytest.approx(theirs, abs=tolerance)

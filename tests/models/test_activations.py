"""Activations against transformers' own hidden states, one example at a time; nothing is left behind."""

import pytest
import torch
from prompt_adapters import make_prompt
from random_tasks import random_task
from tiny import LABELS

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError
from modeconn.models.activations import activations
from modeconn.models.inputs import read_inputs
from modeconn.models.sites import sites_of

FAMILIES = ["llama", "gpt2", "bert", "t5"]
LAYERS = {"llama": "layers", "gpt2": "h", "bert": "layer"}
T5_FEED_FORWARD = (("encoder.block", 1), ("decoder.block", 2))
POOL = {
    "last-token": lambda states: states[-1:],
    "cls": lambda states: states[:1],
    "mean": lambda states: states.mean(0, keepdim=True),
    "all-tokens": lambda states: states,
}


@pytest.fixture
def task():
    return random_task(labels=LABELS)


def on(model, task, point=None, **options):
    return activations(model, point, read_inputs(model, task), **options)


@torch.inference_mode()
def one_by_one(model, task, point):
    """Hidden states of every example alone: site -> one `[L, D]` an example."""
    found = {}
    with model.reference(point) as module:
        for row in read_inputs(model, task).rows:
            tokens = torch.tensor([row.context])
            if model.family.task_type == "SEQ_2_SEQ_LM":
                given = {"input_ids": tokens, "decoder_input_ids": torch.tensor([[0, *row.lead]])}
                output = module(**given, output_hidden_states=True)
                # The last of either stack has gone through its norm.
                states = {"encoder": output.encoder_hidden_states[:-1], "decoder": output.decoder_hidden_states[:-1]}
                names = {
                    s: [f"{s}.embedding", *(f"{s}.block.{i}" for i in range(len(v) - 1))] for s, v in states.items()
                }
                pairs = [pair for side in states for pair in zip(names[side], states[side], strict=True)]
            else:
                states = module(input_ids=tokens, output_hidden_states=True).hidden_states
                states = states if model.family.task_type == "SEQ_CLS" else states[:-1]
                stack = LAYERS[next(name for name in LAYERS if name in type(model.module).__name__.lower())]
                pairs = zip(["embedding", *(f"{stack}.{i}" for i in range(len(states) - 1))], states, strict=True)
            for name, state in pairs:
                found.setdefault(name, []).append(state[0])
    return found


@pytest.mark.parametrize("pooling", POOL)
@pytest.mark.parametrize("family", FAMILIES)
def test_layers_equal_the_hidden_states_of_each_example_alone(family, pooling, loaded, task):
    model, point = loaded(family)
    found = on(model, task, point, pooling=pooling, token_budget=40)
    expected = one_by_one(model, task, point)
    assert expected.keys() <= found.features.keys()
    for name, states in expected.items():
        wanted = torch.cat([POOL[pooling](one) for one in states])
        assert torch.allclose(found.features[name], wanted, atol=1e-9), name
    assert found.name == point.name


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_padding_changes_nothing(family, adapters, task):
    point = mc.Adapter.from_pretrained(adapters(family, seed=1))
    labels = LABELS if family == "bert" else None
    options = {"adapters": [point], "labels": labels, "dtype": "float64"}
    packed, padded = (mc.AdapterModel.from_pretrained(packed=one, **options) for one in (None, False))
    for pooling in POOL:
        found = [on(model, task, point, sites="all", pooling=pooling).features for model in (packed, padded)]
        assert found[0].keys() == found[1].keys()
        assert all(torch.allclose(found[0][name], found[1][name], atol=1e-9) for name in found[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_change_nothing_but_rounding(family, loaded, task):
    model, point = loaded(family)
    found = [on(model, task, point, sites="all", token_budget=budget).features for budget in (10_000, 1)]
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-9) for name in found[0])


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING"])
@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_point_with_prompts_of_its_own_gives_the_texts_tokens(family, kind, bases, tmp_path, task):
    point = mc.Adapter.from_pretrained(make_prompt(tmp_path / "p", bases(family), family, kind, seed=1))
    labels = LABELS if family == "bert" else None
    model = mc.AdapterModel.from_pretrained(adapters=[point], labels=labels, dtype="float64")
    found = on(model, task, point, pooling="all-tokens")
    name = f"{LAYERS[family]}.1"
    assert len(found.features[name]) == sum(found.inputs.lengths)
    with torch.inference_mode(), model.at(point) as module:
        seen = []
        layer = next(part for path, part in module.named_modules() if path.endswith(name))
        hook = layer.register_forward_hook(lambda _, __, out: seen.append(out if torch.is_tensor(out) else out[0]))
        for row in found.inputs.rows:
            module.peft_model(input_ids=torch.tensor([row.context]))
        hook.remove()
    expected = torch.cat([out[0, -length:] for out, length in zip(seen, found.inputs.lengths, strict=True)])
    assert torch.allclose(found.features[name].double(), expected.double(), atol=1e-6)


def test_the_base_is_a_point_too(loaded, task):
    model, point = loaded("llama")
    base, moved = on(model, task), on(model, task, point)
    assert base.name == "base"
    assert torch.equal(base.features["embedding"], moved.features["embedding"])
    assert not torch.allclose(base.features["layers.1"], moved.features["layers.1"], atol=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_what_it_was_also_after_an_error(family, loaded, task, state, monkeypatch):
    model, point = loaded(family)
    inputs, before = read_inputs(model, task), state(model.module)
    activations(model, point, inputs, sites="all")
    assert state(model.module) == before
    monkeypatch.setattr("modeconn.models.prompt_batches.Layout.pooled", None)  # calling it fails
    with pytest.raises(TypeError):
        activations(model, point, inputs, sites="all")
    assert state(model.module) == before


@pytest.mark.parametrize(
    ("family", "group", "expected"),
    [
        ("llama", "layers", ["embedding", "layers.0", "layers.1"]),
        ("llama", "attention", ["layers.0.self_attn", "layers.1.self_attn"]),
        ("llama", "mlp", ["layers.0.mlp", "layers.1.mlp"]),
        ("gpt2", "attention", ["h.0.attn", "h.1.attn"]),
        ("gpt2", "mlp", ["h.0.mlp", "h.1.mlp"]),
        ("bert", "attention", ["layer.0.attention", "layer.1.attention"]),
        ("bert", "mlp", ["layer.0.output.dense", "layer.1.output.dense"]),
        ("t5", "layers", [f"{s}.{n}" for n in ("embedding", "block.0", "block.1") for s in ("encoder", "decoder")]),
        ("t5", "mlp", [f"{s}.{i}.layer.{j}.DenseReluDense" for i in (0, 1) for s, j in T5_FEED_FORWARD]),
    ],
)  # fmt: skip
def test_groups_of_sites(family, group, expected, loaded, task):
    model, _ = loaded(family)
    assert sorted(site.name for site in sites_of(model.module, group)) == sorted(expected)
    found = on(model, task, sites=group)
    assert sorted(found.features) == sorted(expected)
    assert all(len(features) == 9 for features in found.features.values())


def test_all_sites_of_a_decoder_are_ten_a_layer(loaded):
    names = [site.name for site in sites_of(loaded("llama")[0].module, "all")]
    assert len(names) == len(set(names)) == 1 + 2 * 10
    assert "layers.0.self_attn.q_proj" in names
    assert "layers.1.post_attention_layernorm" in names


def test_a_module_is_found_by_its_short_and_its_full_name_and_tuples_are_unpacked(loaded, task):
    model, _ = loaded("llama")
    short, full, both = (
        on(model, task, sites=sites).features
        for sites in ("layers.1.self_attn", "model.layers.1.self_attn", ("mlp", "layers.1.self_attn"))
    )
    assert list(short) == list(full) == ["layers.1.self_attn"]
    assert list(both) == ["layers.0.mlp", "layers.1.self_attn", "layers.1.mlp"]
    assert torch.equal(short["layers.1.self_attn"], both["layers.1.self_attn"])
    seen = []
    attention = model.module.get_submodule("model.layers.1.self_attn")
    hook = attention.register_forward_hook(lambda _, __, out: seen.append(out))
    row = read_inputs(model, task).rows[0]
    with torch.inference_mode():
        model.module(input_ids=torch.tensor([row.context]))
    hook.remove()
    assert isinstance(seen[0], tuple)
    assert torch.allclose(short["layers.1.self_attn"][0], seen[0][0][0, -1], atol=1e-9)


def test_a_layer_that_does_not_exist_is_told_with_those_that_do(loaded):
    with pytest.raises(
        ModelError, match=r"no layer 'layers\.7'\n  expected: layers, attention, mlp, all, or .*layers\.0\.mlp"
    ):
        sites_of(loaded("llama")[0].module, ["layers", "layers.7"])


def test_a_module_without_a_vector_for_each_token_is_refused_by_name_and_left_out_of_a_group(loaded, task):
    model, _ = loaded("llama")
    with pytest.raises(ModelError, match=r"at lm_head cannot be compared\n  expected: .* one vector for each token"):
        on(model, task, sites="lm_head")
    t5, _ = loaded("t5")
    with pytest.raises(ModelError, match=r"relative_attention_bias cannot be compared"):
        on(t5, task, sites="encoder.block.0.layer.0.SelfAttention.relative_attention_bias")
    assert not any("relative_attention_bias" in name for name in on(t5, task, sites="all").features)


def test_a_model_without_a_list_of_layers_is_refused():
    with pytest.raises(ModelError, match=r"the layers of Linear cannot be found"):
        sites_of(torch.nn.Linear(2, 2))


def test_modules_are_named_in_a_model_without_a_list_of_layers_too():
    plain = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
    assert [(site.name, site.chosen) for site in sites_of(plain, ("1", "0"))] == [("0", True), ("1", True)]
    with pytest.raises(ModelError, match=r"(?s)cannot be found.*remedy: name modules as sites"):
        sites_of(plain, ("0", "layers"))


def test_a_group_that_no_module_is_named_after_is_refused(loaded, monkeypatch):
    monkeypatch.setattr("modeconn.models.sites._MLP", __import__("re").compile("none"))
    with pytest.raises(ModelError, match="no mlp is found in the layers of LlamaForCausalLM"):
        sites_of(loaded("llama")[0].module, "mlp")


def test_unknown_poolings_are_refused(loaded, task):
    with pytest.raises(
        EvaluationError, match=r"unknown pooling 'max'\n  expected: last-token or mean or all-tokens or cls"
    ):
        on(loaded("llama")[0], task, pooling="max")


def test_an_overflow_of_float16_is_named(adapters, task):
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], dtype="float16")
    model.module.get_submodule("model.layers.0.mlp.down_proj").weight.fill_(60000)
    with pytest.raises(EvaluationError, match=r"activations of base at layers\.0 are not finite\n.*end at 65504"):
        on(model, task)


def test_answers_are_not_read_and_texts_have_a_hash(loaded):
    model, _ = loaded("llama")
    task = random_task(labels=LABELS)
    other = mc.Task.from_records(
        "other", {"test": [{"prompt": one.prompt, "answer": "no"} for one in task.split("test")]}
    )
    inputs, same = read_inputs(model, task), read_inputs(model, other)
    assert (inputs.texts, inputs.tokens) == (same.texts, same.tokens)
    assert torch.equal(on(model, task).features["layers.1"], on(model, other).features["layers.1"])
    fewer = read_inputs(model, task, num_examples=8)
    assert inputs.texts != fewer.texts
    assert inputs.tokens != fewer.tokens


def test_examples_are_spread_over_the_split(loaded):
    model, _ = loaded("llama")
    chosen = [row.example for row in read_inputs(model, random_task(labels=LABELS), num_examples=3).rows]
    assert chosen == [0, 4, 8]
    assert read_inputs(model, random_task(labels=LABELS), num_examples=99).num_examples == 9
    with pytest.raises(EvaluationError, match="num_examples=0"):
        read_inputs(model, random_task(labels=LABELS), num_examples=0)


def test_the_same_prompt_twice_gives_two_rows(loaded):
    model, _ = loaded("llama")
    task = mc.Task.from_records("twice", {"test": [{"prompt": "the cat", "answer": "sat"}] * 3})
    for pooling in POOL:
        found = on(model, task, pooling=pooling).features["layers.1"]
        assert len(found) == 3 * (3 if pooling == "all-tokens" else 1)
        assert torch.allclose(found[: len(found) // 3], found[len(found) // 3 : 2 * len(found) // 3], atol=1e-9)

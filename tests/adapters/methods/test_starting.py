"""What an adapter is before training, and what of the model is trained."""

import re

import pytest
import torch
from peft import get_peft_model
from peft_oracle import logits

METHODS = [
    "wegeft tied",
    "wegeft per layer",
    "wegeft tied output",
    "wegeft per layer output",
    "loretta rep",
    "loretta adp",
]
PREFIXES = {"wegeft": "wegeft_", "loretta rep": "loretta_rep_", "loretta adp": "loretta_adp_"}


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
@pytest.mark.parametrize("method", METHODS)
def test_the_model_starts_as_the_base(method, family, base, settings):
    expected = logits(base(family))
    assert torch.equal(logits(get_peft_model(base(family), settings(method, family)).eval()), expected)


@pytest.mark.parametrize("method", ["loretta rep", "loretta adp"])
def test_the_published_start_is_not_the_base(method, base, settings):
    torch.manual_seed(0)
    model = get_peft_model(base("llama"), settings(method, "llama", start="published")).eval()
    assert not torch.allclose(logits(model), logits(base("llama")), atol=1e-3)
    assert model.peft_config["default"].to_dict()["start"] == "published"


@pytest.mark.parametrize("method", METHODS)
def test_only_the_adapter_is_trained_and_every_part_of_it_moves_something(method, base, moved, settings):
    model = moved(get_peft_model(base("llama"), settings(method, "llama")))
    trained = {name for name, one in model.named_parameters() if one.requires_grad}
    prefix = next(one for start, one in PREFIXES.items() if method.startswith(start))
    assert trained == {name for name, _ in model.named_parameters() if prefix in name}
    model(input_ids=torch.tensor([[1, 5, 9, 7]])).logits.square().sum().backward()
    assert all(model.get_parameter(name).grad.abs().max() > 0 for name in trained)


@pytest.mark.parametrize("method", METHODS)
def test_training_begins_to_move_from_the_start(method, base, settings):
    model = get_peft_model(base("llama"), settings(method, "llama"))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    tokens = torch.tensor([[1, 5, 9, 7]])
    losses = []
    for _ in range(4):
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 1e-3


def test_tied_modules_share_one_pair_and_others_have_their_own(base, settings):
    tied, own = (get_peft_model(base("llama"), settings("wegeft tied", "llama", tied=flag)) for flag in (True, False))
    counts = [sum(one.numel() for one in model.parameters() if one.requires_grad) for model in (tied, own)]
    assert counts == [2 * 2 * 3 * 16, 4 * 2 * 3 * 16]  # pairs x tensors x rank x width


def test_attention_and_feed_forward_of_gpt2_do_not_share_a_pair(base, settings):
    model = get_peft_model(base("gpt2"), settings("wegeft tied", "gpt2", target_modules=["c_proj"]))
    assert model.peft_config["default"].tied_modules == {
        "transformer.h.*.attn.c_proj": ["transformer.h.0.attn.c_proj", "transformer.h.1.attn.c_proj"],
        "transformer.h.*.mlp.c_proj": ["transformer.h.0.mlp.c_proj", "transformer.h.1.mlp.c_proj"],
    }


@pytest.mark.parametrize("method", METHODS)
def test_the_settings_that_the_user_gave_stay_as_they_were(method, base, settings):
    config = settings(method, "llama", target_modules="all-linear")
    before = config.to_dict()
    get_peft_model(base("llama"), config)
    assert {**config.to_dict(), "base_model_name_or_path": None} == {**before, "base_model_name_or_path": None}


@pytest.mark.parametrize("method", METHODS)
def test_targets_are_chosen_as_in_peft(method, base, settings):
    model = get_peft_model(
        base("llama"),
        settings(
            method, "llama", target_modules=["q_proj", "o_proj"], exclude_modules=["o_proj"], layers_to_transform=[1]
        ),
    )
    assert model.targeted_module_names == ["model.layers.1.self_attn.q_proj"]


@pytest.mark.parametrize("method", METHODS)
def test_targets_have_defaults_by_model_type(method, base, settings):
    model = get_peft_model(base("llama"), settings(method, "llama", target_modules=None))
    found = {name.rpartition(".")[2] for name in model.targeted_module_names}
    assert found == ({"o_proj", "down_proj"} if method == "loretta adp" else {"q_proj", "v_proj"})


@pytest.mark.parametrize(
    ("family", "ends"),
    [
        ("bert", ["attention.output.dense", "output.dense"]),
        ("gpt2", ["attn.c_proj", "mlp.c_proj"]),
        ("llama", ["self_attn.o_proj", "mlp.down_proj"]),
    ],
)
def test_loretta_adp_follows_attention_and_feed_forward(family, ends, base, settings):
    names = get_peft_model(base(family), settings("loretta adp", family, target_modules=None)).targeted_module_names
    assert [re.split(r"\.[01]\.", name)[1] for name in names] == ends * 2


def test_loretta_adp_follows_each_block_of_t5(base, settings):
    names = get_peft_model(base("t5"), settings("loretta adp", "t5", target_modules=None)).targeted_module_names
    first = [re.split(r"layer\.\d\.", name)[1] for name in names if "block.0" in name]
    assert first == [
        "SelfAttention.o",
        "DenseReluDense.wo",
        "SelfAttention.o",
        "EncDecAttention.o",
        "DenseReluDense.wo",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_of_a_half_precision_base_is_float32_and_its_outputs_are_not(method, trained):
    model = trained(method, "llama", dtype=torch.bfloat16)
    assert {one.dtype for one in model.parameters() if one.requires_grad} == {torch.float32}
    assert logits(model).dtype == torch.bfloat16


@pytest.mark.parametrize("method", METHODS)
def test_logits_in_half_precision_are_near_those_in_float32(method, trained):
    expected = logits(trained(method, "llama"))
    difference = logits(trained(method, "llama", dtype=torch.bfloat16)).float() - expected
    assert difference.norm() < 0.05 * expected.norm()

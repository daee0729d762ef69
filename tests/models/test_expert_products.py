"""Mixtures of experts in float64, in which transformers' grouped products cannot be made."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft_oracle import logits
from random_tasks import random_task
from tiny import make_base, make_tokenizer
from transformers import GptOssConfig, GptOssForCausalLM, MixtralConfig, MixtralForCausalLM

import modeconn as mc
from modeconn.models.upcast import in_float64

SIZES = {
    "vocab_size": 26,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
}
MODELS = {  # experts as [E, out, in] and as [E, in, out]
    "mixtral": (lambda: MixtralForCausalLM(MixtralConfig(**SIZES)), ["mlp.gate.weight"]),
    "gpt-oss": (lambda: GptOssForCausalLM(GptOssConfig(head_dim=8, **SIZES)), ["experts.down_proj_bias"]),
}


@pytest.fixture(params=MODELS, scope="module")
def family(request, tmp_path_factory):
    """Folders of a base with experts, and of two adapters of them."""
    make, others = MODELS[request.param]
    root = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(0)
    model = make()
    for parameter in model.parameters():
        parameter.data.normal_(std=0.3)
    model.save_pretrained(root / "base")
    make_tokenizer("llama").save_pretrained(root / "base")
    parameters = ["experts.gate_up_proj", "experts.down_proj", *others]
    for seed in (1, 2):
        torch.manual_seed(seed)
        loaded = type(model).from_pretrained(root / "base", dtype=torch.float32)
        loaded.name_or_path = str(root / "base")
        config = LoraConfig(
            r=2,
            target_modules=["q_proj"],
            target_parameters=parameters,
            task_type="CAUSAL_LM",
            init_lora_weights=False,
        )
        get_peft_model(loaded, config).save_pretrained(root / str(seed))
    return type(model), root


@pytest.fixture(scope="module")
def ends(family):
    return [mc.Adapter.from_pretrained(family[1] / str(seed)) for seed in (1, 2)]


def test_a_point_is_what_peft_computes(family, ends):
    kind, root = family
    model = mc.AdapterModel.from_pretrained(adapters=ends, dtype="float64")
    base = kind.from_pretrained(root / "base", dtype=torch.float64, experts_implementation="eager")
    expected = logits(PeftModel.from_pretrained(base, root / "1").double().eval())
    with model.at(ends[0]) as module:
        torch.testing.assert_close(logits(module), expected, rtol=0, atol=1e-10)


def test_a_path_passes_the_gate_in_float64(ends):
    model = mc.AdapterModel.from_pretrained(adapters=ends, dtype="float64")
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, [random_task()], num_points=3)
    assert max(profile.checks["1 -> 2"]["ends_agree_with_peft_within"].values()) < 1e-10


def test_float32_keeps_its_grouped_products_and_its_float64_copy_does_not(ends):
    model = mc.AdapterModel.from_pretrained(adapters=ends)
    exact = in_float64(model)
    assert exact is not None
    with model.at(ends[0]) as module, exact.at(ends[0]) as double:
        assert module.config._experts_implementation != "eager" == double.config._experts_implementation
        torch.testing.assert_close(logits(module).double(), logits(double), rtol=1e-5, atol=1e-5)


def test_a_model_without_experts_is_left_alone(tmp_path):
    base = make_base(tmp_path / "base", "llama")
    before, after = (mc.AdapterModel.from_pretrained(base, dtype=dtype).module for dtype in ("float32", "float64"))
    assert before.config._experts_implementation == after.config._experts_implementation

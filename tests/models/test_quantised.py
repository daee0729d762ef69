"""Points beside quantised weights: the function that plain PEFT computes, and the packed numbers untouched.

Needs torchao and bitsandbytes, which run on CPUs too; what is not installed is skipped.
"""

import sys
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from peft import IA3Config, PeftModel, get_peft_model
from peft_oracle import logits
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, LABELS, make_adapter, make_base
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, BitsAndBytesConfig, TorchAoConfig

import modeconn as mc
from modeconn.evaluation.keys import point_keys
from modeconn.models.quantised import settle

PACKAGES = {"torchao-int8": "torchao", "bnb-8bit": "bitsandbytes", "bnb-4bit": "bitsandbytes"}
SIZES = {
    "llama": {"hidden_size": 64, "intermediate_size": 128},
    "gpt2": {"n_embd": 64},
    "bert": {"hidden_size": 64, "intermediate_size": 128},
}


@pytest.fixture(params=PACKAGES)
def quantization(request):
    """A way to quantise, where its package is installed."""
    pytest.importorskip(PACKAGES[request.param])
    return request.param


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Folder of a base with products wide enough for blocks of 64 numbers, and of adapters for it."""
    made = {}

    def folder(family, seed=None, **settings):
        key = f"{family}{seed}{sorted(settings)}"
        if key not in made:
            place = tmp_path_factory.mktemp("wide") / key
            if seed is None:
                made[key] = make_base(place, family, **SIZES[family])
            else:
                made[key] = make_adapter(place, folder(family), family, seed=seed, **settings)
        return made[key]

    return folder


def config_of(quantization, kept):
    """The config that a user of transformers would write."""
    if quantization == "torchao-int8":
        from torchao.quantization import Int8WeightOnlyConfig  # type: ignore[import-not-found]

        return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=kept)
    if quantization == "bnb-8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=kept,
    )


def plain_logits(base, adapter, quantization, auto: Any = AutoModelForCausalLM, kept=("lm_head",)):
    """The logits of a quantised base with an adapter, by transformers and PEFT alone."""
    config = config_of(quantization, list(kept))
    labels = {"num_labels": 3} if auto is AutoModelForSequenceClassification else {}
    model = auto.from_pretrained(base, dtype=torch.float32, quantization_config=config, **labels)
    for module in model.modules():  # else 4-bit products on CPUs with AVX512-BF16 are of bf16
        if type(module).__name__ == "Linear4bit":
            vars(module)["support_avx512bf16_for_cpu"] = False
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return logits(PeftModel.from_pretrained(model, adapter).eval())


def our_logits(model, point):
    with model.at(point) as module:
        return logits(module)


def assert_close(found, expected):
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_point_is_the_function_that_peft_computes(family, quantization, wide):
    point = mc.Adapter.from_pretrained(wide(family, seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], quantization=quantization)
    expected = plain_logits(wide(family), wide(family, seed=1), quantization)
    assert_close(our_logits(model, point), expected)
    in_full = mc.AdapterModel.from_pretrained(adapters=[point])
    if (family, quantization) != ("gpt2", "torchao-int8"):  # torchao leaves GPT-2's Conv1D alone
        assert (our_logits(in_full, point) - expected).abs().max() > 1e-3


def test_a_midpoint_is_the_function_that_peft_computes(quantization, wide, tmp_path):
    ends = [mc.Adapter.from_pretrained(wide("llama", seed=seed)) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(adapters=ends, quantization=quantization)
    middle = mc.LinearPath(*ends)(0.5)
    expected = plain_logits(wide("llama"), middle.save_pretrained(tmp_path / "middle"), quantization)
    assert_close(our_logits(model, middle), expected)


def make_ia3(folder, base):
    """An (IA)^3 adapter, whose update is a function of the base's weights."""
    torch.manual_seed(0)
    blank: Any = FAMILIES["llama"]()
    model = blank.from_pretrained(base, dtype=torch.float32)
    config = IA3Config(target_modules=["v_proj", "down_proj"], feedforward_modules=["down_proj"], task_type="CAUSAL_LM")
    peft_model = get_peft_model(model, config)
    for name, parameter in peft_model.named_parameters():
        if "ia3" in name:
            parameter.data.normal_(1.0, 0.3)
    peft_model.save_pretrained(folder)
    return folder


def make_dora(folder, base):
    """A DoRA adapter, likewise."""
    make_adapter(folder, base, "llama", seed=5, use_dora=True)
    tensors = load_file(folder / "adapter_model.safetensors")
    longer = {name: value * 1.3 for name, value in tensors.items() if "magnitude" in name}
    save_file(tensors | longer, folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("make", [make_ia3, make_dora])
def test_updates_of_the_bases_weights_are_those_of_the_rounded_weights(make, quantization, wide, tmp_path):
    """(IA)^3 scales what 8-bit products of bitsandbytes round once more: there it is near, not equal."""
    point = mc.Adapter.from_pretrained(make(tmp_path / "a", wide("llama")))
    model = mc.AdapterModel.from_pretrained(wide("llama"), adapters=[point], quantization=quantization)
    expected = plain_logits(wide("llama"), tmp_path / "a", quantization)
    tolerance = 5e-2 if quantization == "bnb-8bit" else 1e-4
    assert (our_logits(model, point) - expected).abs().max() < tolerance * expected.abs().max()


def test_a_head_that_points_bring_is_not_quantised(quantization, wide):
    point = mc.Adapter.from_pretrained(wide("bert", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], labels=LABELS, quantization=quantization)
    auto, kept = AutoModelForSequenceClassification, ("classifier",)
    assert_close(our_logits(model, point), plain_logits(wide("bert"), wide("bert", seed=1), quantization, auto, kept))


def test_a_path_passes_the_gate(quantization, wide):
    ends = [mc.Adapter.from_pretrained(wide("llama", seed=seed), name=f"seed {seed}") for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(adapters=ends, quantization=quantization)
    task = make_task("first", 0, num_examples=9)
    frame = mc.evaluate_path(mc.LinearPath(*ends), model, [task], num_points=3).frame
    (sums,) = model.evaluate(ends[1], [model.encode(task)])
    np.testing.assert_allclose(frame["loss"].iloc[-1], sums.loss_sum.mean(), rtol=1e-6)


def test_the_packed_weights_stay_as_they_are(quantization, wide):
    point = mc.Adapter.from_pretrained(wide("llama", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], quantization=quantization)
    name = "model.layers.0.self_attn.q_proj.weight"
    parameter = model.module.get_parameter(name)
    before = model.weight(name).clone()
    with model.reference(point) as module:
        logits(module)
    our_logits(model, point)
    assert model.module.get_parameter(name) is parameter
    assert torch.equal(model.weight(name), before)


def test_the_numbers_behind_the_packed_ones_are_those_of_the_product(quantization, wide):
    model = mc.AdapterModel.from_pretrained(wide("llama"), quantization=quantization)
    linear = model.module.get_submodule("model.layers.0.mlp.down_proj")  # 64 x 128
    with torch.inference_mode():
        seen = linear(torch.eye(128)).T
    numbers = model.weight("model.layers.0.mlp.down_proj.weight")
    assert numbers.shape == (64, 128)
    assert_close(numbers.float(), seen)


def test_a_base_keeps_its_fingerprint_however_it_is_rounded(quantization, wide):
    in_full = mc.AdapterModel.from_pretrained(wide("llama")).fingerprint
    for dtype in ("float32", "float16"):
        model = mc.AdapterModel.from_pretrained(wide("llama"), quantization=quantization, dtype=dtype)
        assert model.fingerprint == in_full


def test_kept_points_of_the_full_base_are_not_taken_for_those_of_the_rounded_one(quantization, wide):
    ends = [mc.Adapter.from_pretrained(wide("llama", seed=seed)) for seed in (1, 2)]
    in_full, rounded = (mc.AdapterModel.from_pretrained(adapters=ends, quantization=q) for q in (None, quantization))
    keys = [point_keys(mc.LinearPath(*ends), model, [], [0.0, 1.0]) for model in (in_full, rounded)]
    assert not {*keys[0]} & {*keys[1]}


@pytest.fixture
def checkpoint(quantization, wide, tmp_path):
    """A base that was saved quantised."""
    model = mc.AdapterModel.from_pretrained(wide("llama"), quantization=quantization)
    model.module.save_pretrained(tmp_path / "quantised")  # type: ignore[operator]
    model.tokenizer.save_pretrained(tmp_path / "quantised")
    return tmp_path / "quantised"


def test_a_quantised_checkpoint_is_used_as_it_is(quantization, checkpoint, wide):
    point = mc.Adapter.from_pretrained(wide("llama", seed=1))
    again = mc.AdapterModel.from_pretrained(checkpoint, adapters=[point])
    assert_close(our_logits(again, point), plain_logits(wide("llama"), wide("llama", seed=1), quantization))
    twice = mc.AdapterModel.from_pretrained(checkpoint)
    assert twice.fingerprint == again.fingerprint != mc.AdapterModel.from_pretrained(wide("llama")).fingerprint


def test_a_quantised_checkpoint_is_not_quantised_again(quantization, checkpoint):
    with pytest.raises(
        mc.ModelError, match=r"(?s)cannot be quantised again.*full precision.*leave the quantization out"
    ):
        mc.AdapterModel.from_pretrained(checkpoint, quantization=quantization)


def test_a_head_in_the_place_of_a_quantised_one_is_refused(quantization, wide):
    point = mc.Adapter.from_pretrained(wide("bert", seed=1))
    config = config_of(quantization, ["nothing"])
    with pytest.raises(mc.ModelError, match=r"(?s)quantised base.*classifier.weight.*without these modules"):
        mc.AdapterModel.from_pretrained(adapters=[point], labels=LABELS, quantization=config)


def test_a_full_fine_tune_is_refused(quantization, wide, tmp_path):
    point = mc.Adapter.from_pretrained(make_base(tmp_path / "full", "llama", seed=1, **SIZES["llama"]))
    with pytest.raises(mc.ModelError, match=r"(?s)cannot be put into the quantised base.*q_proj.*full precision"):
        mc.AdapterModel.from_pretrained(wide("llama"), adapters=[point], quantization=quantization)


def test_shapes_are_those_behind_the_packed_ones(quantization, wide, adapters):
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    with pytest.raises(mc.ModelError, match=r"(?s)q_proj.weight \[16, 16\] for \[64, 64\]"):
        mc.AdapterModel.from_pretrained(wide("llama"), adapters=[point], quantization=quantization)


def test_an_unknown_way_is_refused(wide):
    with pytest.raises(mc.ModelError, match=r"(?s)unknown quantization 'int3'.*bnb-4bit, bnb-8bit, torchao-int8"):
        mc.AdapterModel.from_pretrained(wide("llama"), quantization="int3")


def test_a_missing_package_is_named(wide, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    with pytest.raises(mc.ModelError, match=r"(?s)cannot quantise.*the package torchao.*pip install torchao"):
        mc.AdapterModel.from_pretrained(wide("llama"), quantization="torchao-int8")


def test_a_checkpoint_quantised_otherwise_is_refused():
    model = torch.nn.Linear(2, 2)
    quantizer = SimpleNamespace(quantization_config=SimpleNamespace(quant_method="gptq"), pre_quantized=True)
    model.hf_quantizer = quantizer  # type: ignore[assignment]
    with pytest.raises(mc.ModelError, match=r"(?s)cannot be put beside.*bitsandbytes, torchao.*by gptq.*precision"):
        settle(model)

"""LoRA of the stacked weights of experts, whichever way a model stores them."""

import re
import warnings
from contextlib import contextmanager

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft_oracle import logits
from points import PREFIX, make_point
from transformers import GptOssConfig, GptOssForCausalLM, MixtralConfig, MixtralForCausalLM

import modeconn as mc
from modeconn.errors import AdapterError
from modeconn.models.placing import check_fits, placed

SIZES = {
    "vocab_size": 26,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "num_local_experts": 3,
    "num_experts_per_tok": 2,
    "experts_implementation": "eager",  # the others know no float64
}
MODELS = {  # experts as [E, out, in] and as [E, in, out]
    "mixtral": (lambda: MixtralForCausalLM(MixtralConfig(**SIZES)), ["mlp.gate.weight"]),
    "gpt-oss": (lambda: GptOssForCausalLM(GptOssConfig(head_dim=8, **SIZES)), ["experts.down_proj_bias"]),
}


@contextmanager
def quiet():
    """PEFT doubts patterns of parameters, which it does follow."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The following rank_pattern keys|The following alpha_pattern keys")
        yield


class Model:
    """A random model with experts, always the same."""

    def __init__(self, name):
        self.make, self.others = MODELS[name]

    def fresh(self):
        torch.manual_seed(0)
        model = self.make().double().eval()
        for parameter in model.parameters():
            parameter.data.normal_(std=0.3)
        return model

    def adapter(self, folder, seed, **settings):
        torch.manual_seed(seed)
        parameters = ["experts.gate_up_proj", "experts.down_proj", *self.others]
        config = {"r": 2, "lora_alpha": 5, "target_modules": ["q_proj"], "target_parameters": parameters} | settings
        with quiet():
            get_peft_model(self.fresh(), LoraConfig(**config, init_lora_weights=False)).save_pretrained(folder)
        return mc.Adapter.from_pretrained(folder)

    def loaded(self, folder):
        with quiet():
            return PeftModel.from_pretrained(self.fresh(), folder).double().eval()


@pytest.fixture(params=MODELS, scope="module")
def model(request):
    return Model(request.param)


@pytest.fixture(scope="module")
def ends(model, tmp_path_factory):
    """Two adapters of different ranks, one with another rank for one of the parameters."""
    folder = tmp_path_factory.mktemp("experts")
    patterns = {"rank_pattern": {"experts.down_proj": 4}}
    return model.adapter(folder / "1", 1, **patterns), model.adapter(folder / "2", 2, r=3)


def test_logits_are_those_of_peft(model, ends):
    base = model.fresh()
    check_fits(base, ends[0], "the base")
    before = logits(base)
    with placed(base, ends[0]):
        found = logits(base)
    torch.testing.assert_close(found, logits(model.loaded(ends[0].source)), rtol=0, atol=1e-10)
    assert (found - before).abs().max() > 0.02
    assert torch.equal(logits(base), before)


def test_a_line_in_weights_space_is_that_of_the_merged_weights(model, ends):
    base, merged = model.fresh(), [model.loaded(end.source).merge_and_unload().state_dict() for end in ends]
    with placed(base, mc.LinearPath(*ends)(0.3)):
        for name, value in base.state_dict().items():
            torch.testing.assert_close(value, 0.7 * merged[0][name] + 0.3 * merged[1][name], rtol=0, atol=1e-7)


def test_a_midpoint_is_saved_for_peft(model, ends, tmp_path):
    base, middle = model.fresh(), mc.LinearPath(*ends)(0.3)
    with placed(base, middle):
        expected = logits(base)
    found = logits(model.loaded(middle.save_pretrained(tmp_path / "middle")))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_length_of_the_line(model, ends):
    first, second = (model.loaded(end.source).merge_and_unload().state_dict() for end in ends)
    expected = sum(float((first[name] - second[name]).square().sum()) for name in first) ** 0.5
    assert mc.LinearPath(*ends).distance(1.0) == pytest.approx(expected, rel=1e-6)


def test_what_a_file_holds_comes_back(ends, tmp_path):
    middle = mc.LinearPath(*ends)(0.5)
    again = mc.Adapter.from_pretrained(middle.save_pretrained(tmp_path / "middle"))
    assert again.updates.keys() == middle.updates.keys()
    for name, update in again.updates.items():
        torch.testing.assert_close(update.dense(), middle.updates[name].dense(), rtol=1e-5, atol=1e-6)


def experts(rank=2, names=(".base_layer", "")):
    """A file of three experts with one pair for each name."""
    return {
        f"{PREFIX}mlp.experts{name}.lora_{side}.weight": torch.ones(shape)
        for name in names
        for side, shape in (("A", (3 * rank, 4)), ("B", (5, 3 * rank)))
    }


def fails(tensors, *parts, **settings):
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(map(re.escape, parts))):
        make_point(tensors, **settings)


@pytest.mark.parametrize(
    ("parameters", "names"),
    [(["experts.down_proj"], (".base_layer", "")), (["experts.down_proj", "experts.gate_up_proj"], ("",))],
)
def test_more_or_fewer_pairs_than_parameters(parameters, names):
    parts = "factors of mlp.experts in the adapter cannot be given to its parameters", f"got: {len(names)} pairs"
    fails(experts(names=names), *parts, "remedy: use the adapter_config.json", target_parameters=parameters)


def test_several_parameters_whose_order_is_not_known():
    parts = "cannot be given to its parameters", "which are first, second", "whose order is known", "merge the adapter"
    fails(experts(), *parts, target_parameters=["experts.first", "experts.second"])


def test_factors_that_are_no_stack_of_the_rank():
    parts = "factors of mlp.experts.down_proj", "with r = 4 for each of E experts", "lora_A [6, 4] and lora_B [5, 6]"
    fails(experts(names=("",)), *parts, target_parameters=["experts.down_proj"], r=4)


def test_experts_are_refused_with_an_initialisation_that_changes_the_base():
    parts = "update of the adapter against its base is not known", "init_lora_weights='pissa'", "give the full model"
    fails(experts(names=("",)), *parts, target_parameters=["experts.down_proj"], init_lora_weights="pissa")

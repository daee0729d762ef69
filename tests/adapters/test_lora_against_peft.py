"""Every form of LoRA does to a base what PEFT does with it: DoRA, trained biases and tokens, and other settings."""

import copy

import pytest
import torch
from kind_oracle import (
    assert_average_of_factors,
    assert_gate,
    assert_line,
    assert_logits,
    assert_round_trip,
    assert_tensors_matter,
    made,
    make_kind,
)
from kind_oracle import load as load_model
from peft import LoraConfig
from tiny import TARGETS

import modeconn as mc
from modeconn.models.placing import placed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft.*")

CASES = {
    "dora": ("llama", {"use_dora": True}),
    "dora-conv1d": ("gpt2", {"use_dora": True, "use_rslora": True}),
    "dora-embedding": ("llama", {"use_dora": True, "target_modules": ["q_proj", "embed_tokens"]}),
    "lora-bias-conv1d": ("gpt2", {"lora_bias": True}),
    "bias-all": ("gpt2", {"bias": "all", "target_modules": ["c_attn"]}),
    "bias-lora-only": ("gpt2", {"bias": "lora_only", "target_modules": ["c_attn"]}),
    "bias-all-and-added": ("gpt2", {"bias": "all", "lora_bias": True}),
    "bias-lora-only-and-added": ("gpt2", {"bias": "lora_only", "lora_bias": True, "target_modules": ["c_attn"]}),
    "bias-all-and-head": ("bert", {"bias": "all"}),
    "tokens": ("llama", {"trainable_token_indices": [1, 5, 9]}),
    "tokens-of-two-tables": ("llama", {"trainable_token_indices": {"embed_tokens": [1, 5], "lm_head": [4]}}),
    "parameter": ("llama", {"target_parameters": ["q_proj.weight"], "target_modules": ["v_proj"]}),
    "parameter-conv1d": ("gpt2", {"target_parameters": ["c_attn.weight"], "target_modules": []}),
    "velora": ("llama", {"velora_config": {"num_groups": 4}}),
    "layers": ("llama", {"layers_to_transform": [1], "layers_pattern": "layers"}),
}


@pytest.fixture(params=CASES, scope="module")
def pair(request, bases, tmp_path_factory):
    """Family, base, and folders of two adapters of one kind."""
    family, settings = CASES[request.param]
    settings = {"r": 4, "lora_alpha": 6, "target_modules": TARGETS[family]} | settings
    folders = (tmp_path_factory.mktemp("lora") / str(seed) for seed in (1, 2))
    made = (
        make_kind(folder, bases(family), family, LoraConfig, seed=seed, std=0.3, **settings)
        for seed, folder in enumerate(folders, start=1)
    )
    return family, bases(family), tuple(made)


def test_logits_are_those_of_peft(pair):
    family, base, (folder, _) = pair
    assert_logits(family, base, folder, "float64", 1e-9)


@torch.no_grad()
def test_logits_in_bfloat16_are_as_exact_as_those_of_peft(pair):
    """Against the same bfloat16 base in float64 arithmetic; many texts, as single logits are rounded by luck."""
    family, base, folders = pair
    texts = torch.randint(4, 26, (64, 12), generator=torch.Generator().manual_seed(0))
    squares = {"ours": 0.0, "peft": 0.0}
    for point in map(mc.Adapter.from_pretrained, folders):
        model = load_model(family, base, point, dtype="bfloat16")
        precise = copy.deepcopy(model.module).double()
        with placed(precise, point):
            exact = precise(input_ids=texts).logits
        with model.reference(point) as module:
            squares["peft"] += float((module(input_ids=texts).logits - exact).square().mean())
        with placed(model.module, point):
            squares["ours"] += float((model.module(input_ids=texts).logits - exact).square().mean())
    assert 0 < squares["peft"] ** 0.5 < 0.02 * exact.abs().max()
    assert squares["ours"] ** 0.5 <= 1.5 * squares["peft"] ** 0.5


def test_a_line_in_weights_space_is_that_of_the_merged_weights(pair):
    family, base, folders = pair
    assert_line(family, base, folders, 0.3)


def test_a_midpoint_in_factors_space_is_what_peft_makes_of_it(pair, tmp_path):
    family, base, folders = pair
    assert_average_of_factors(family, base, folders, tmp_path / "midpoint")


def test_a_path_is_evaluated(pair):
    """In float32, after both ends were compared with PEFT's."""
    family, base, folders = pair
    assert_gate(family, base, folders)


def test_logits_are_bit_equal_after_saving(pair, tmp_path):
    family, base, (folder, _) = pair
    assert_round_trip(family, base, folder, tmp_path / "saved")


def test_every_tensor_counts(pair, request):
    if "velora" in request.node.name:
        pytest.skip("a tensor of VeLoRA is used by the backward pass only")
    if "head" in request.node.name:
        pytest.skip("a head's bias is in the file three times")
    assert_tensors_matter(pair[2][0])


def test_an_adapter_before_training_changes_nothing(bases, tmp_path):
    for number, settings in enumerate(({"use_dora": True}, {"lora_bias": True})):
        folder = make_kind(
            tmp_path / str(number), bases("gpt2"), "gpt2", LoraConfig, seed=None, std=0.0,
            target_modules=["c_attn"], **settings,
        )  # fmt: skip
        with pytest.raises(mc.AdapterError, match="changes nothing"):
            mc.Adapter.from_pretrained(folder)
        point = mc.Adapter.from_pretrained(folder, allow_zero=True)
        model = load_model("gpt2", bases("gpt2"), point)
        assert all(change.abs().max() < 1e-6 for change in made(point, model).values())

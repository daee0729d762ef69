"""Every kind of adapter is, at both ends and between, what PEFT makes of it."""

from typing import NamedTuple

import peft
import pytest
from kind_oracle import (
    assert_average_of_factors,
    assert_gate,
    assert_line,
    assert_logits,
    assert_round_trip,
    assert_tensors_matter,
)

import modeconn as mc
from modeconn.adapters.methods import LorettaRepConfig, WeGeFTConfig
from modeconn.errors import AdapterError

LLAMA = ["q_proj", "v_proj", "down_proj"]
GPT2 = ["c_attn", "c_proj"]
BERT = ["query", "intermediate.dense"]
ADALORA = {"init_r": 4, "lora_alpha": 5, "total_step": 10}


class Case(NamedTuple):
    """An adapter of a kind."""

    family: str
    config: type
    settings: dict
    std: float = 0.3


CASES = {
    "adalora": Case("llama", peft.AdaLoraConfig, {"target_modules": LLAMA, **ADALORA}, 0.6),
    "adalora-gpt2": Case("gpt2", peft.AdaLoraConfig, {"target_modules": GPT2, **ADALORA}),
    "adalora-biases": Case("gpt2", peft.AdaLoraConfig, {"target_modules": GPT2, "bias": "lora_only", **ADALORA}),
    "boft": Case("llama", peft.BOFTConfig, {"target_modules": LLAMA}),
    "boft-bert": Case("bert", peft.BOFTConfig, {"target_modules": BERT, "boft_block_size": 0, "boft_block_num": 2}),
    "boft-biases": Case("bert", peft.BOFTConfig, {"target_modules": BERT, "bias": "all"}),
    "fourier": Case(
        "llama",
        peft.FourierFTConfig,
        {"target_modules": LLAMA, "n_frequency": 20, "n_frequency_pattern": {"v_proj": 7}},
    ),
    "fourier-gpt2": Case(
        "gpt2", peft.FourierFTConfig, {"target_modules": GPT2, "n_frequency": 9, "random_loc_seed": 3, "scaling": 99.0}
    ),
    "fourier-biases": Case("gpt2", peft.FourierFTConfig, {"target_modules": GPT2, "n_frequency": 9, "bias": "all"}),
    "ia3": Case("llama", peft.IA3Config, {"target_modules": LLAMA, "feedforward_modules": ["down_proj"]}),
    "ia3-gpt2": Case("gpt2", peft.IA3Config, {"target_modules": GPT2, "feedforward_modules": r".*mlp\.c_proj"}),
    "ia3-bert": Case("bert", peft.IA3Config, {"target_modules": BERT, "feedforward_modules": []}),
    "ln": Case("llama", peft.LNTuningConfig, {"target_modules": ["input_layernorm", "norm"]}),
    "ln-gpt2": Case("gpt2", peft.LNTuningConfig, {"target_modules": ["ln_1", "ln_f"]}),
    "loha": Case(
        "llama", peft.LoHaConfig, {"target_modules": LLAMA, "r": 3, "alpha": 7, "rank_pattern": {"v_proj": 2}}
    ),
    "loha-bert": Case("bert", peft.LoHaConfig, {"target_modules": BERT, "r": 2, "alpha_pattern": {"query": 3}}),
    "lokr": Case("llama", peft.LoKrConfig, {"target_modules": LLAMA, "r": 3, "alpha": 7}),
    "lokr-pairs": Case(
        "llama",
        peft.LoKrConfig,
        {"target_modules": LLAMA, "r": 1, "alpha": 3, "decompose_both": True, "decompose_factor": 4},
    ),
    "loretta": Case("llama", LorettaRepConfig, {"target_modules": LLAMA, "r": 4, "alpha": 5, "tensor_rank": 3}, 0.5),
    "loretta-gpt2": Case("gpt2", LorettaRepConfig, {"target_modules": GPT2, "r": 3, "alpha": 5, "start": "published"}),
    "oft": Case("llama", peft.OFTConfig, {"target_modules": LLAMA, "oft_block_size": 4}),
    "oft-exact": Case(
        "bert", peft.OFTConfig, {"target_modules": BERT, "oft_block_size": 0, "r": 2, "use_cayley_neumann": False}
    ),
    "oft-shared": Case(
        "llama",
        peft.OFTConfig,
        {"target_modules": LLAMA, "oft_block_size": 4, "block_share": True, "num_cayley_neumann_terms": 3},
    ),
    "oft-biases": Case("llama", peft.OFTConfig, {"target_modules": LLAMA, "oft_block_size": 4, "bias": "oft_only"}),
    "oft-bounded": Case(
        "llama", peft.OFTConfig, {"target_modules": LLAMA, "oft_block_size": 4, "coft": True, "eps": 0.7}
    ),
    "oft-table": Case("llama", peft.OFTConfig, {"target_modules": ["embed_tokens", "q_proj"], "oft_block_size": 4}),
    "vera": Case("llama", peft.VeraConfig, {"target_modules": LLAMA, "r": 4}),
    "vera-biases": Case("gpt2", peft.VeraConfig, {"target_modules": GPT2, "r": 4, "bias": "vera_only"}),
    "vera-gpt2": Case("gpt2", peft.VeraConfig, {"target_modules": GPT2, "r": 4}),
    "vera-drawn": Case(
        "llama",
        peft.VeraConfig,
        {"target_modules": LLAMA, "r": 4, "save_projection": False, "projection_prng_key": 5},
    ),
    "vera-drawn-gpt2": Case("gpt2", peft.VeraConfig, {"target_modules": GPT2, "r": 4, "save_projection": False}),
    "wegeft": Case("llama", WeGeFTConfig, {"target_modules": LLAMA, "r": 3, "alpha": 5}),
    "wegeft-untied": Case("bert", WeGeFTConfig, {"target_modules": BERT, "r": 3, "alpha": 5, "tied": False}),
    "wegeft-output": Case("gpt2", WeGeFTConfig, {"target_modules": GPT2, "r": 3, "alpha": 5, "form": "output"}),
}
ONE_OF_EACH = [
    "adalora",
    "boft-biases",
    "fourier",
    "ia3-bert",
    "ln",
    "loha-bert",
    "lokr-pairs",
    "loretta",
    "oft-table",
    "vera-drawn-gpt2",
    "wegeft",
]
pytestmark = [
    pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension"),  # BOFT has a kernel of its own
    pytest.mark.filterwarnings("ignore:Setting boft_n_butterfly_factor to 1"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False but the target module is `Conv1D`"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type"),  # a norm of Llama
    pytest.mark.filterwarnings("ignore:Specified to not load vera_A and vera_B"),
    pytest.mark.filterwarnings("ignore:Specified to not save vera_A and vera_B"),
]


@pytest.fixture
def ends(request, bases, kinds):
    """Family, base and the folders of two adapters of a case."""
    family, config, settings, std = CASES[request.param]
    return family, bases(family), tuple(kinds(family, config, seed, std=std, **settings) for seed in (1, 2))


def of(names):
    """The cases of these names."""
    return pytest.mark.parametrize("ends", names, indirect=True)


@of(CASES)
def test_logits_are_those_of_peft_in_float64(ends):
    family, base, folders = ends
    for folder in folders:
        assert_logits(family, base, folder, "float64", 1e-9)


@of(ONE_OF_EACH)
def test_logits_are_those_of_peft_in_float32(ends):
    family, base, folders = ends
    assert_logits(family, base, folders[0], "float32", 2e-5)


@of(ONE_OF_EACH)
def test_logits_are_close_to_those_of_peft_in_bfloat16(ends):
    family, base, folders = ends
    assert_logits(family, base, folders[0], "bfloat16", 0.015)


@of(CASES)
def test_a_line_is_the_line_between_merged_weights(ends):
    assert_line(*ends, t=0.3)


@of(CASES)
def test_the_midpoint_of_factors_is_what_peft_makes_of_the_averaged_tensors(ends, tmp_path):
    assert_average_of_factors(*ends, tmp_path / "average")


@of(ONE_OF_EACH)
@pytest.mark.parametrize("space", ["weights", "factors"])
def test_a_path_is_evaluated_and_its_ends_agree_with_peft(ends, space):
    assert_gate(*ends, space=space)


@of(ONE_OF_EACH)
def test_logits_are_bit_equal_after_saving(ends, tmp_path):
    family, base, folders = ends
    assert_round_trip(family, base, folders[0], tmp_path / "saved")


@of(CASES)
def test_the_fingerprint_depends_on_every_tensor(ends):
    _, _, folders = ends
    assert_tensors_matter(folders[0])


@pytest.mark.parametrize(
    "name", ["adalora", "boft", "ia3", "loha", "lokr", "lokr-pairs", "loretta", "oft", "vera", "vera-drawn", "wegeft"]
)
def test_the_start_of_training_changes_nothing(name, kinds):
    family, config, settings, _ = CASES[name]
    start = kinds(family, config, None, **settings)
    with pytest.raises(
        AdapterError, match=r"(?s)changes nothing.*all zero, as they are before the first training step"
    ):
        mc.Adapter.from_pretrained(start)
    assert mc.Adapter.from_pretrained(start, allow_zero=True).is_zero


@pytest.mark.parametrize(
    "names",
    [("loha", "ia3"), ("oft", "fourier"), ("vera-drawn", "adalora"), ("ln", "wegeft"), ("loretta-gpt2", "ia3-gpt2")],
    ids="-and-".join,
)
def test_a_line_between_two_kinds_is_the_line_between_merged_weights(names, bases, kinds):
    cases = [CASES[name] for name in names]
    folders = tuple(kinds(case.family, case.config, 1, std=case.std, **case.settings) for case in cases)
    assert_line(cases[0].family, bases(cases[0].family), folders, t=0.4)


@of(["ia3", "oft", "boft", "fourier", "lokr", "ln"])
def test_a_line_without_factors_cannot_be_saved_as_an_adapter(ends, tmp_path):
    first, second = (mc.Adapter.from_pretrained(folder) for folder in ends[2])
    with pytest.raises(AdapterError, match=r"(?s)no factors.*expected: low-rank parts only.*remedy: "):
        mc.LinearPath(first, second)(0.5).save_pretrained(tmp_path / "middle")

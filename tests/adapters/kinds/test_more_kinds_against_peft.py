"""The rarer kinds of adapters are, at both ends and between, what PEFT makes of them."""

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
from modeconn.errors import AdapterError

LLAMA = ["q_proj", "v_proj", "down_proj"]
GPT2 = ["c_attn", "c_proj"]
BERT = ["query", "intermediate.dense"]
BANK = {"num_vectors": 6, "vector_length": 8, "r": 2, "init_vector_bank_bound": 0.5}
TOP = {**BANK, "topk": 3, "save_only_topk_weights": True}


class Case(NamedTuple):
    """An adapter of a kind."""

    family: str
    config: type
    settings: dict
    std: float = 0.3


CASES = {
    "delora": Case("llama", peft.DeloraConfig, {"target_modules": LLAMA, "r": 3, "rank_pattern": {"v_proj": 2}}),
    "delora-biases": Case("bert", peft.DeloraConfig, {"target_modules": BERT, "r": 2, "bias": "all"}),
    "gralora": Case("llama", peft.GraloraConfig, {"target_modules": LLAMA, "r": 4, "alpha": 5}),
    "gralora-hybrid": Case(
        "gpt2", peft.GraloraConfig, {"target_modules": GPT2, "r": 8, "gralora_k": 4, "hybrid_r": 3, "alpha": 7}
    ),
    "hra": Case("llama", peft.HRAConfig, {"target_modules": LLAMA, "r": 4}),
    "hra-odd": Case("bert", peft.HRAConfig, {"target_modules": BERT, "r": 3, "bias": "hra_only"}),
    "hra-orthogonal": Case("llama", peft.HRAConfig, {"target_modules": LLAMA, "r": 4, "apply_GS": True}),
    "miss": Case("llama", peft.MissConfig, {"target_modules": LLAMA, "r": 4}),
    "miss-cut": Case("bert", peft.MissConfig, {"target_modules": BERT, "r": 5}),
    "miss-bat": Case("llama", peft.MissConfig, {"target_modules": LLAMA, "r": 4, "init_weights": "bat"}),
    "miss-mini": Case("llama", peft.MissConfig, {"target_modules": LLAMA, "r": 3, "mini_r": 4, "init_weights": "mini"}),
    "randlora": Case("llama", peft.RandLoraConfig, {"target_modules": LLAMA, "r": 5, "randlora_alpha": 12}, 0.05),
    "randlora-gpt2": Case("gpt2", peft.RandLoraConfig, {"target_modules": GPT2, "r": 4, "bias": "randlora_only"}, 0.02),
    "randlora-drawn": Case(
        "llama",
        peft.RandLoraConfig,
        {"target_modules": LLAMA, "r": 4, "save_projection": False, "projection_prng_key": 3},
        0.02,
    ),
    "randlora-sparse": Case(
        "gpt2", peft.RandLoraConfig, {"target_modules": GPT2, "r": 4, "save_projection": False, "sparse": True}, 0.02
    ),
    "randlora-very-sparse": Case(
        "llama",
        peft.RandLoraConfig,
        {"target_modules": LLAMA, "r": 6, "save_projection": False, "very_sparse": True},
        0.02,
    ),
    "road": Case("llama", peft.RoadConfig, {"target_modules": LLAMA, "group_size": 4}),
    "road-2": Case("bert", peft.RoadConfig, {"target_modules": BERT, "group_size": 8, "variant": "road_2"}),
    "road-4": Case("bert", peft.RoadConfig, {"target_modules": BERT, "group_size": 4, "variant": "road_4"}),
    "shira": Case("llama", peft.ShiraConfig, {"target_modules": LLAMA, "r": 2, "random_seed": 5}),
    "tokens": Case("llama", peft.TrainableTokensConfig, {"token_indices": [4, 5, 9]}, 1.0),
    "tokens-tied": Case(
        "gpt2", peft.TrainableTokensConfig, {"token_indices": [4, 5, 9], "target_modules": ["wte"]}, 1.0
    ),
    "vblora": Case("llama", peft.VBLoRAConfig, {"target_modules": LLAMA, **BANK}, 0.5),
    "vblora-gpt2": Case("gpt2", peft.VBLoRAConfig, {"target_modules": GPT2, **BANK, "bias": "all"}, 0.5),
    "vblora-top": Case("llama", peft.VBLoRAConfig, {"target_modules": LLAMA, **TOP}, 0.5),
}
ONE_OF_EACH = [
    "delora-biases",
    "gralora-hybrid",
    "hra-odd",
    "miss-bat",
    "miss-mini",
    "randlora-drawn",
    "road-4",
    "shira",
    "tokens",
    "vblora-top",
]
OWN_PLACES = ["vblora-top"]  # which vectors have the largest logits differs between two adapters
pytestmark = [
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False but the target module is `Conv1D`"),
    pytest.mark.filterwarnings("ignore:The symmetric initialization can NOT be performed when r is odd"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),
    pytest.mark.filterwarnings("ignore:Specified to not load"),
    pytest.mark.filterwarnings("ignore:Specified to not save"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
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


@of([name for name in CASES if name not in OWN_PLACES])
def test_the_midpoint_of_factors_is_what_peft_makes_of_the_averaged_tensors(ends, tmp_path):
    assert_average_of_factors(*ends, tmp_path / "average")


@of(ONE_OF_EACH)
def test_a_path_is_evaluated_and_its_ends_agree_with_peft(ends):
    assert_gate(*ends, space="weights")


@of([name for name in ONE_OF_EACH if name not in OWN_PLACES])
def test_a_path_in_factors_is_evaluated_and_its_ends_agree_with_peft(ends):
    assert_gate(*ends, space="factors")


@of(ONE_OF_EACH)
def test_logits_are_bit_equal_after_saving(ends, tmp_path):
    family, base, folders = ends
    assert_round_trip(family, base, folders[0], tmp_path / "saved")


@of([name for name in CASES if not name.startswith(("randlora", "vblora"))])  # copies; logits that are not used
def test_the_fingerprint_depends_on_every_tensor(ends):
    assert_tensors_matter(ends[2][0])


@pytest.mark.parametrize("name", ["delora", "gralora", "hra", "miss", "miss-bat", "randlora", "road", "shira"])
def test_the_start_of_training_changes_nothing(name, kinds):
    family, config, settings, _ = CASES[name]
    start = kinds(family, config, None, **settings)
    with pytest.raises(AdapterError, match=r"(?s)changes nothing.*all zero, as they are before the first training"):
        mc.Adapter.from_pretrained(start)
    assert mc.Adapter.from_pretrained(start, allow_zero=True).is_zero


@pytest.mark.parametrize("names", [("hra", "miss"), ("shira", "delora"), ("vblora-top", "randlora")], ids="-and-".join)
def test_a_line_between_two_kinds_is_the_line_between_merged_weights(names, bases, kinds):
    cases = [CASES[name] for name in names]
    folders = tuple(kinds(case.family, case.config, 1, std=case.std, **case.settings) for case in cases)
    assert_line(cases[0].family, bases(cases[0].family), folders, t=0.4)

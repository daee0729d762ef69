"""Ranks and scalings are read from adapter_config.json as PEFT reads them."""

import pytest
from peft.utils.other import get_pattern_key
from points import make_config

from modeconn.adapters.config import AdapterConfig

MODULE = "model.layers.1.self_attn.q_proj"
PATTERNS = [
    "q_proj",
    "proj",
    "q",
    "layers.1.self_attn.q_proj",
    r".*\.1\..*",
    "layers.1",
    "self_attn.*",
    "v_proj|q_proj",
]


def parse(**settings):
    return AdapterConfig.parse(make_config(**settings), "the adapter")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_a_module_where_peft_matches_it(pattern):
    patterns = {pattern: 7}
    assert parse(rank_pattern=patterns).rank(MODULE) == patterns.get(get_pattern_key(list(patterns), MODULE), 2)


def test_the_first_of_two_matching_patterns_counts():
    patterns = {"q_proj": 5, "layers.1.self_attn.q_proj": 7}
    assert parse(rank_pattern=patterns).rank(MODULE) == patterns[get_pattern_key(list(patterns), MODULE)]


@pytest.mark.parametrize(
    ("settings", "scaling"),
    [
        ({"r": 4, "lora_alpha": 6}, 1.5),
        ({"r": 4, "lora_alpha": 6, "use_rslora": True}, 3.0),
        ({"r": 4, "lora_alpha": 6, "rank_pattern": {"q_proj": 8}}, 0.75),
        ({"r": 4, "lora_alpha": 6, "alpha_pattern": {"q_proj": 8}}, 2.0),
        ({"r": 4, "lora_alpha": 6, "rank_pattern": {"q_proj": 16}, "alpha_pattern": {"q": 8}, "use_rslora": True}, 1.5),
    ],
)
def test_the_scaling_is_alpha_by_the_rank_or_by_its_root(settings, scaling):
    assert parse(**settings).scaling(MODULE) == scaling


def test_settings_that_a_file_leaves_out_have_the_defaults_of_peft():
    config = AdapterConfig.parse({"peft_type": "LORA"}, "the adapter")
    assert (config.rank(MODULE), config.scaling(MODULE), config.modules_to_save) == (8, 1.0, ())

"""Regular expressions in settings: those whose time to fail has no bound are refused before they are used."""

import pytest
import torch
from points import PREFIX, make_tensors

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.adapters.kinds.values import is_regex
from modeconn.errors import AdapterError

ENDLESS = ["(a+)+b", "((a+)b?)*c", "(a|aa)+b", "(?:a?){40}b", "((?:a{1,9})+)", "(?=(a+)+)b", ".*.*.*.*.*b"]
FINE = [
    "q_proj",
    r"model\.layers\.\d+\.self_attn\.(q|v)_proj",
    r".*\.(10|11)\..*proj",
    "(a|b)",
    r"(?:\d+)?x",
    "[ab]+",
    r"a\.\d+\.b\.[0-9]+\.c\.\d+\.d\.\d+\.\d+",  # numbers of layers are short
    # What trainers of vision models write: two ways, of four repeats and of one.
    r"(?:.*?(?:vision|text).*?(?:attn|mlp).*?(?:q_proj|fc1).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:mlp)\.(?:up_proj).*)",
]


@pytest.mark.parametrize("pattern", FINE)
def test_patterns_of_modules_are_read(pattern):
    assert is_regex(pattern)


@pytest.mark.parametrize("pattern", ENDLESS)
def test_a_pattern_that_may_never_end_is_refused(pattern):
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "rank_pattern": {pattern: 2}}
    tensors = make_tensors(0, modules={"a" * 60: (6, 5)})
    with pytest.raises(AdapterError, match=r"(?s)cannot be read.*patterns without repeats of repeats.*rank_pattern="):
        Adapter.from_tensors(tensors, AdapterConfig.parse(settings, "the adapter"))


def test_a_pattern_of_feedforward_modules():
    settings = {"peft_type": "IA3", "feedforward_modules": "(a+)+b"}
    tensors = {f"{PREFIX}{'a' * 60}.ia3_l": torch.ones(4, 1)}
    with pytest.raises(AdapterError, match=r"(?s)cannot be read.*feedforward_modules="):
        Adapter.from_tensors(tensors, AdapterConfig.parse(settings, "the adapter"))


@pytest.mark.parametrize("key", ["target_modules", "exclude_modules", "layers_pattern", "modules_to_save"])
@pytest.mark.parametrize("pattern", ["(a+)+b", "((", "(?P<a>"])
def test_a_pattern_of_modules_that_cannot_be_used(key, pattern):
    value = [pattern] if key == "modules_to_save" else pattern
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, key: value}
    with pytest.raises(AdapterError, match=rf"(?s)cannot be read.*got: {key}=.*a list of the modules' names can stand"):
        AdapterConfig.parse(settings, "the adapter")

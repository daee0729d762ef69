"""Adapters without a weight update, made by PEFT: prompts, prefixes, gates; far from zero, as if trained."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import (
    AdaptionPromptConfig,
    MultitaskPromptTuningConfig,
    PeftConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from tiny import FAMILIES, TASK_TYPES

KINDS: Mapping[str, Callable[..., PeftConfig]] = {
    "PROMPT_TUNING": PromptTuningConfig,
    "P_TUNING": lambda **settings: PromptEncoderConfig(encoder_hidden_size=8, **settings),
    "PREFIX_TUNING": PrefixTuningConfig,
    "MULTITASK_PROMPT_TUNING": lambda **settings: MultitaskPromptTuningConfig(num_ranks=2, **settings),
    "ADAPTION_PROMPT": AdaptionPromptConfig,
}
NUM_VIRTUAL = 3


def make_prompt(folder: Path, base: Path, family: str, kind: str, *, seed: int, **settings: Any) -> Path:
    """Save a random adapter of a kind without a weight update, and a random head where there is one."""
    torch.manual_seed(seed)
    blank: Any = FAMILIES[family]()
    model = blank.from_pretrained(base, dtype=torch.float32)
    model.name_or_path = str(base)
    sizes: dict[str, Any] = {"num_virtual_tokens": NUM_VIRTUAL}
    if kind == "ADAPTION_PROMPT":
        sizes = {"adapter_len": NUM_VIRTUAL, "adapter_layers": 1}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        peft_model = get_peft_model(model, KINDS[kind](task_type=TASK_TYPES[family], **(sizes | settings)))
        for parameter in peft_model.parameters():
            if parameter.requires_grad:
                parameter.data.normal_(std=1.5)
        peft_model.save_pretrained(str(folder))
    return folder

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft_oracle
import pytest
import torch
from peft import get_peft_model
from tiny import TARGETS

from modeconn.adapters.methods import LorettaAdpConfig, LorettaRepConfig, WeGeFTConfig

CONFIGS: dict[str, Callable[..., Any]] = {
    "wegeft tied": lambda **settings: WeGeFTConfig(r=3, alpha=5, **settings),
    "wegeft per layer": lambda **settings: WeGeFTConfig(r=3, alpha=5, tied=False, **settings),
    "wegeft tied output": lambda **settings: WeGeFTConfig(r=3, alpha=5, form="output", **settings),
    "wegeft per layer output": lambda **settings: WeGeFTConfig(r=3, alpha=5, tied=False, form="output", **settings),
    "loretta rep": lambda **settings: LorettaRepConfig(r=4, alpha=5, tensor_rank=3, **settings),
    "loretta adp": lambda **settings: LorettaAdpConfig(bottleneck=4, scaling=1.5, tensor_rank=3, **settings),
}


@pytest.fixture(scope="session")
def settings() -> Callable[..., Any]:
    """A method's settings for a tiny model: `settings("wegeft tied", "llama", dropout=0.1)`."""

    def make(method: str, family: str, **changes: Any) -> Any:
        return CONFIGS[method](**{"target_modules": TARGETS[family], **changes})

    return make


@pytest.fixture(scope="session")
def base(bases: Callable[[str], Path]) -> Callable[..., Any]:
    """A fresh copy of a family's tiny base model; float32 unless told."""
    loaded: dict[tuple[str, torch.dtype], Any] = {}

    def make(family: str, dtype: torch.dtype = torch.float32) -> Any:
        if (family, dtype) not in loaded:
            loaded[family, dtype] = peft_oracle.load_base(family, bases(family), dtype)
        return copy.deepcopy(loaded[family, dtype])

    return make


@pytest.fixture(scope="session")
def moved() -> Callable[..., Any]:
    """Gives every trainable number of a model a random value, so that no update is zero."""

    def move(model: Any, seed: int = 0) -> Any:
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
        return model

    return move


@pytest.fixture(scope="session")
def trained(base, moved, settings) -> Callable[..., Any]:
    """A tiny model with an adapter that is as if trained, in evaluation mode."""

    def make(method: str, family: str, *, dtype: torch.dtype = torch.float32, seed: int = 0, **changes: Any) -> Any:
        return moved(get_peft_model(base(family, dtype), settings(method, family, **changes)), seed).eval()

    return make

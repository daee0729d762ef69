from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from kind_oracle import make_kind
from peft_oracle import load_base
from tiny import make_base

SETTINGS = {"llama": {"attention_bias": True}}


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of a tiny base model of a family, made once; its biases are not zero, so that changes of them show."""
    made: dict[str, Path] = {}

    def base(family: str) -> Path:
        if family not in made:
            folder = make_base(tmp_path_factory.mktemp(family) / "base", family, **SETTINGS.get(family, {}))
            model = load_base(family, folder, torch.float32)
            for name, parameter in model.named_parameters():
                if name.endswith(".bias"):
                    parameter.data.normal_(std=0.5)
            model.save_pretrained(folder)
            made[family] = folder
        return made[family]

    return base


@pytest.fixture(scope="session")
def kinds(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Folder of a random adapter that PEFT made, for a family and a config, once for each seed."""
    made: dict[str, Path] = {}

    def kind(family: str, config: type, seed: int | None = 1, *, std: float = 0.3, **settings: Any) -> Path:
        key = f"{family} {config.__name__} {seed} {std} {sorted(settings.items())}"
        if key not in made:
            folder = tmp_path_factory.mktemp("kinds") / f"{config.__name__}-{seed}"
            made[key] = make_kind(folder, bases(family), family, config, seed=seed, std=std, **settings)
        return made[key]

    return kind

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny import LABELS
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoModelForSequenceClassification

import modeconn as mc

AUTO = {
    "llama": AutoModelForCausalLM,
    "gpt2": AutoModelForCausalLM,
    "bert": AutoModelForSequenceClassification,
    "t5": AutoModelForSeq2SeqLM,
}


@pytest.fixture(scope="session")
def loaded(adapters: Callable[..., Path]) -> Callable[..., tuple[mc.AdapterModel, mc.Adapter]]:
    """A family's model and a random point, loaded once for each dtype."""
    made: dict[tuple[str, str], tuple[mc.AdapterModel, mc.Adapter]] = {}

    def load(family: str, dtype: str = "float64") -> tuple[mc.AdapterModel, mc.Adapter]:
        if (family, dtype) not in made:
            point = mc.Adapter.from_pretrained(adapters(family, seed=1))
            labels = LABELS if family == "bert" else None
            made[family, dtype] = mc.AdapterModel.from_pretrained(adapters=[point], dtype=dtype, labels=labels), point
        return made[family, dtype]

    return load


@pytest.fixture(scope="session")
def peft_model(bases: Callable[[str], Path], adapters: Callable[..., Path]) -> Callable[..., torch.nn.Module]:
    """A family's base with an adapter, loaded by transformers and PEFT alone; adapter and base in one dtype."""

    def load(
        family: str, dtype: torch.dtype, *, base: Path | None = None, adapter: Path | None = None
    ) -> torch.nn.Module:
        model = AUTO[family].from_pretrained(base or bases(family), dtype=dtype)
        return PeftModel.from_pretrained(model, adapter or adapters(family, seed=1)).to(dtype).eval()

    return load


@pytest.fixture
def state() -> Callable[[torch.nn.Module], Mapping[str, Any]]:
    """What must not change in a model: every parameter's object, values and gradient flag, and the hooks."""

    def of(module: torch.nn.Module) -> Mapping[str, Any]:
        parameters = dict(module.named_parameters(remove_duplicate=False))
        return {
            "objects": {name: id(parameter) for name, parameter in parameters.items()},
            "values": {name: parameter.detach().double().numpy().tobytes() for name, parameter in parameters.items()},
            "gradients": {name: parameter.requires_grad for name, parameter in parameters.items()},
            "hooks": [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in module.modules()],
            "training": [one.training for one in module.modules()],
        }

    return of

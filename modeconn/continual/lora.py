"""The adapter that a training run starts from."""

import re
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeconn.continual.settings import TrainSettings
from modeconn.errors import ModelError
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.loading import quiet_peft

# PEFT has no error of its own for this.
_NO_TARGET = re.compile(
    r"specify `target_modules`|not found in the base model|No modules were targeted|Target module .* is not supported",
    re.DOTALL,
)


def new_adapter(model: AdapterModel, settings: TrainSettings) -> Any:  # noqa: ANN401  (a PeftModel)
    """An untrained LoRA adapter in a twin of the base model, which shares its weights.

    Args:
        model: The base model.
        settings: Rank, scaling, dropout, modules and the seed of the factors.

    Returns:
        The `PeftModel`; its adapter is called "default".

    Raises:
        ModelError: If no module of the base gets an adapter, or PEFT refuses the settings.
    """
    torch.manual_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.lora_alpha,  # type: ignore[arg-type]  # PEFT takes floats, its annotation says int
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.target_modules) if settings.target_modules else None,
        task_type=model.family.task_type,
    )
    twin: Any = model.twin()
    try:
        with quiet_peft():
            return get_peft_model(twin, config)
    except ValueError as error:
        told = str(error).partition("\n")[0]
        if not _NO_TARGET.search(str(error)):
            raise ModelError(
                "PEFT cannot make the adapter",
                expected="settings that PEFT takes for this base model",
                got=told,
                remedy="change what the message names",
            ) from error
        raise ModelError(
            "no module gets an adapter",
            expected=f"target_modules among {', '.join(_adaptable(model.module))}",
            got=", ".join(settings.target_modules or ()) or f"none given ({told})",
            remedy="give --target-modules",
        ) from error


def _adaptable(module: nn.Module) -> list[str]:
    """The last parts of the names of all modules that can take LoRA, sorted."""
    kinds = (nn.Linear, nn.Embedding, Conv1D)
    return sorted({name.rpartition(".")[2] for name, part in module.named_modules() if isinstance(part, kinds)})

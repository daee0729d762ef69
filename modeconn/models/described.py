"""A base model by its description alone: no weights, no memory, but all shapes, and its tokenizer."""

from collections.abc import Sequence
from pathlib import Path

import torch
import transformers
from transformers import AutoConfig

from modeconn.adapters.skeleton import AUTO_CLASSES, CLASSIFIERS
from modeconn.errors import ModelError
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.families import family_of
from modeconn.models.loading import load_reader
from modeconn.models.sources import NO_CODE, from_local_first


class DescribedModel(AdapterModel):
    """A base model without numbers: a parameter reads as zeros of its shape."""

    def weight(self, parameter: str) -> torch.Tensor:
        """Zeros, on the CPU."""
        return torch.zeros_like(super().weight(parameter), device="cpu")


def described(source: str | Path, *, task_type: str, labels: Sequence[str] = ()) -> DescribedModel:
    """A base model on the meta device, from its config.json and tokenizer; tasks can be encoded, nothing evaluated.

    Args:
        source: A folder or hub id; it need not hold weights.
        task_type: What the model is used for.
        labels: Names of a classifier's classes.

    Raises:
        ModelError: If config or tokenizer cannot be read, or transformers has no such model.
    """
    config = from_local_first(AutoConfig.from_pretrained, source, **NO_CODE)
    if task_type in CLASSIFIERS and labels:
        config.num_labels = len(labels)
    try:
        with torch.device("meta"):
            module = getattr(transformers, AUTO_CLASSES[task_type]).from_config(config, dtype=torch.float32)
    except ValueError as error:
        raise ModelError(
            f"{source} cannot be used as {task_type}",
            expected=f"a model that {AUTO_CLASSES[task_type]} knows",
            got=str(config.model_type),
            remedy="give another --task-type, or another base model",
        ) from error
    module = module.eval().requires_grad_(False)
    reader = load_reader(source, module, (), task_type)
    return DescribedModel(module, reader, family_of(task_type, tuple(labels) or None), str(source), fingerprint="")

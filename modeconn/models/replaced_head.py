"""The same base model with another classification head."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModelError
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.family import Classifier
from modeconn.models.offloaded import device_of


def with_head(model: Any, point: Adapter) -> AdapterModel:  # noqa: ANN401  (any model of points)
    """A model that shares all weights with another but has room for a point's head, and its classes.

    Args:
        model: The model; it is not changed.
        point: The point whose head it is to take; its saved modules replace those of the model.

    Raises:
        ModelError: If the model is no classifier.
    """
    if not isinstance(model, AdapterModel) or not isinstance(model.family, Classifier):
        raise ModelError(
            "the model cannot take another head",
            expected="a classifier of transformers",
            got=f"{type(model).__name__}",
            remedy='use heads="shared" or "skip"',
        )
    twin: Any = model.twin()
    for name, value in point.saved.items():
        path, _, leaf = name.rpartition(".")
        module = twin.get_submodule(path)
        room = torch.zeros(value.shape, dtype=model.dtype, device=device_of(module, next(module.parameters())))
        module._parameters[leaf] = nn.Parameter(room, requires_grad=False)
    labels = tuple(point.provenance["labels"])
    twin.config.num_labels = len(labels)
    return replace(model, module=twin, family=type(model.family)(labels), absent=model.absent | set(point.saved))

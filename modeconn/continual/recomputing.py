"""Activations that are worked out again in the backward pass instead of being kept."""

from functools import partial
from typing import Any

from torch import nn

from modeconn.errors import ModelError
from modeconn.models.packed_attention import recomputed
from modeconn.models.prompted import Prompted


def recompute_activations(module: nn.Module) -> None:
    """Let the layers of a model keep their inputs only in training; the numbers stay the same.

    Args:
        module: The learner's module.

    Raises:
        ModelError: If the model cannot do that.
    """
    model: Any = module
    if isinstance(module, Prompted) or not getattr(model, "supports_gradient_checkpointing", False):
        raise ModelError(
            "the activations cannot be recomputed",
            expected="a model of transformers that supports gradient checkpointing, and an adapter without a prompt",
            got=type(module).__name__,
            remedy="leave out --gradient-checkpointing, or lower --train-token-budget to save memory",
        )
    newer = getattr(model, "activation_checkpointing_enable", None)  # transformers 5.20 renamed it
    (newer or model.gradient_checkpointing_enable)({"use_reentrant": False, "context_fn": partial(recomputed, module)})

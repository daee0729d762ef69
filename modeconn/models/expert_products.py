"""How the experts of a mixture are multiplied: the grouped products of transformers know no float64."""

from typing import Any

import torch


def settle_experts(module: Any) -> None:  # noqa: ANN401  (a model of transformers)
    """Let a model in float64 multiply expert by expert; other models stay as they are.

    The numbers are those of the grouped products, but for rounding.

    Args:
        module: The model; changed in place. One without experts is left alone.
    """
    chosen = getattr(module.config, "_experts_implementation", None)
    if chosen in (None, "eager") or next(module.parameters()).dtype != torch.float64:
        return
    module.set_experts_implementation("eager")

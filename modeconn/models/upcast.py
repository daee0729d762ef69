"""A model in float64, to tell rounding from a real difference."""

import copy
from dataclasses import replace

import torch

from modeconn.models.adapter_model import AdapterModel
from modeconn.models.expert_products import settle_experts
from modeconn.models.offloaded import is_spread
from modeconn.models.point_model import PointModel
from modeconn.models.quantised import is_quantised

_MOST_BYTES = 2 * 2**30  # of the float64 weights: what is compared for a check must not cost more than the sweep


def in_float64(model: PointModel) -> PointModel | None:
    """A copy of a float32 model in float64; None of others, large and spread ones, and where the device has no float64.

    Args:
        model: The model; it is not changed.
    """
    if not isinstance(model, AdapterModel) or model.dtype != torch.float32 or model.device.type == "mps":
        return None
    weights = list(model.module.parameters())
    if is_spread(model.module) or any(is_quantised(weight) for weight in weights):
        return None
    if 8 * sum(weight.numel() for weight in weights) > _MOST_BYTES:
        return None
    module = copy.deepcopy(model.module).double()
    settle_experts(module)
    return replace(model, module=module)

"""A short name for a base model's weights, the same in float64, float32 and bf16 and on every device."""

import hashlib

import torch
from torch import nn

_SAMPLE = 256


def base_fingerprint(model: nn.Module) -> str:
    """A hash of names, shapes and evenly spread values of the backbone's parameters.

    The values are rounded to bf16 first, so that a float32 model and its bf16 copy have one fingerprint (a float16
    copy has another: hash the weights before they become float16). Heads are left out: a base has many. At most 256
    values of each tensor are read, so that it takes no time with 7B parameters; two models that differ elsewhere
    only, have the same fingerprint.

    Args:
        model: A model of transformers (its `base_model` is hashed), or any module.

    Returns:
        64 hexadecimal digits.
    """
    backbone = getattr(model, "base_model", model)
    digest = hashlib.sha256()
    for name, parameter in sorted(backbone.named_parameters()):
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
        values = parameter.detach().reshape(-1)
        if values.is_floating_point():
            step = max(1, values.numel() // _SAMPLE)
            sample = values[::step][:_SAMPLE].to(torch.bfloat16).view(torch.int16)
            digest.update(sample.cpu().numpy().tobytes())
    return digest.hexdigest()

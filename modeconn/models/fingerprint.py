"""A short name for a base model's weights, the same in float64, float32 and bf16 and on every device."""

import hashlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import FullModel
from modeconn.errors import ModelError
from modeconn.models.offloaded import is_offloaded
from modeconn.models.quantised import packed, quantised_while_loading, quantization_of

_SAMPLE = 256
_OUTPUT = "output embedding"  # its name in the hash, whatever a model calls it
_OUTPUTS = ("lm_head.weight", "embed_out.weight")


def base_fingerprint(model: nn.Module) -> str:
    """A hash of names, shapes and evenly spread values of the backbone's parameters.

    The values are rounded to bf16 first, so that a float32 model and its bf16 copy have one fingerprint (a float16
    copy has another: hash the weights before they become float16). A language model's output weights count where they
    are its own; classification heads are left out: a base has many. At most 256 values of each tensor are read, so
    that it takes no time with 7B parameters; two models that differ elsewhere only, have the same fingerprint.

    Args:
        model: A model of transformers (its `base_model` is hashed), or any module.

    Returns:
        64 hexadecimal digits.
    """
    backbone = getattr(model, "base_model", model)
    digest, parameters = hashlib.sha256(), sorted(backbone.named_parameters())
    output = _own_output(model, {id(parameter) for _, parameter in parameters})
    for name, parameter in [*parameters, *([(_OUTPUT, output)] if output is not None else [])]:
        for part, values in packed(parameter).items():
            digest.update(f"{name}{part} {tuple(values.shape)}".encode())
            digest.update(_rounded(values.reshape(-1)[:: _step(values.numel())][:_SAMPLE]))
    return digest.hexdigest()


def _own_output(model: Any, backbone: Collection[int]) -> torch.Tensor | None:  # noqa: ANN401
    """The weights that a language model makes its logits with; None where they are tied to the backbone's, or none."""
    found = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    weight = getattr(found, "weight", None)
    return weight if weight is not None and id(weight) not in backbone else None


def fingerprint_of(model: nn.Module, folder: Callable[[], Path], task_type: str) -> str:
    """The fingerprint of a model that was just loaded.

    One that was quantised on the way has that of the checkpoint: points know the base that they were trained on, not
    how it is rounded today. So has one of which weights are offloaded: they are read where they lie. A checkpoint that
    is quantised itself has one of its own, that of its packed numbers.

    Args:
        model: The model.
        folder: Finds the checkpoint's folder, where it must be looked at again.
        task_type: What the model is used for.
    """
    # Float16 has lost digits that the hash is made from.
    narrow = getattr(model, "dtype", None) == torch.float16 and not quantization_of(model)
    if quantised_while_loading(model) or narrow or any(is_offloaded(module) for module in model.modules()):
        return stored_fingerprint(FullModel.open(folder(), task_type=task_type, strict=False))
    return base_fingerprint(model)


def stored_fingerprint(model: FullModel) -> str:
    """The fingerprint that a model on disk has when it is loaded; only the hashed values are read."""
    prefix = model.skeleton.prefix
    names = {name.removeprefix(prefix): name for name in model.skeleton.shapes if name.startswith(prefix)}
    digest = hashlib.sha256()
    outputs = [name for name in model.skeleton.shapes if name.endswith(_OUTPUTS) and name in model.stored]
    for short in [*sorted(names), *([_OUTPUT] if outputs else [])]:
        tensor = model.stored[outputs[0] if short is _OUTPUT else names[short]]
        digest.update(f"{short} {tensor.shape}".encode())
        step = _step(tensor.numel)
        sample = [tensor.stretch(place, place + 1) for place in range(0, tensor.numel, step)[:_SAMPLE]]
        digest.update(_rounded(torch.cat(sample)))
    return digest.hexdigest()


def _step(numel: int) -> int:
    """From one hashed value to the next."""
    return max(1, numel // _SAMPLE)


def _rounded(values: torch.Tensor) -> bytes:
    """Values as bytes, the same in float64, float32 and bf16; packed numbers as they are."""
    if not values.is_floating_point():
        return values.cpu().numpy().tobytes()
    return values.to(torch.bfloat16).view(torch.int16).cpu().numpy().tobytes()


def check_same_base_model(point: Adapter, fingerprint: str, base_name: str) -> None:
    """Raise if a point recorded another base model than the one at hand.

    Raises:
        ModelError: If the fingerprints differ.
    """
    recorded = point.provenance.get("base_fingerprint", fingerprint)
    if recorded != fingerprint:
        raise ModelError(
            f"{point.name} was trained on another base model than {base_name}",
            expected=f"the base with fingerprint {recorded[:12]} ({point.config.base_model})",
            got=f"fingerprint {fingerprint[:12]}",
            remedy="give the base that it was trained on with --base-model",
        )

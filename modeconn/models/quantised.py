"""Bases whose weights are rounded to 8 or 4 bits: how they are loaded, and the numbers behind the packed ones."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.kinds.dora import Dora
from modeconn.adapters.kinds.initial import SinceStart
from modeconn.errors import ModelError, listed
from modeconn.models.offloaded import stored

QUANTIZATIONS = ("torchao-int8", "bnb-8bit", "bnb-4bit")
_METHODS = ("torchao", "bitsandbytes")
_OUTPUTS = ("lm_head", "embed_out", "classifier", "score", "pre_classifier")  # what makes the logits stays as it is


def loading_options(
    quantization: Any,  # noqa: ANN401  (a name, or a config of transformers)
    *,
    dtype: torch.dtype,
    device: torch.device,
    saved: Collection[str] = (),
) -> dict[str, Any]:
    """What `from_pretrained` of transformers takes to quantise a model while it is loaded; nothing without a wish.

    Args:
        quantization: One of `QUANTIZATIONS`, a quantisation config of transformers, or None.
        dtype: The dtype of what is not quantised, and of the products.
        device: Where the model will live.
        saved: Parameters that points replace: their modules are not quantised.

    Raises:
        ModelError: If the name is not known, or the package is not installed.
    """
    if quantization is None:
        return {}
    if isinstance(quantization, str):
        kept = sorted({*_OUTPUTS, *(name.rpartition(".")[0] for name in saved)})
        quantization = _config(quantization, dtype, kept)
    return {"quantization_config": quantization, "device_map": {"": str(device)}}


def _config(name: str, dtype: torch.dtype, kept: list[str]) -> Any:  # noqa: ANN401
    """A quantisation config of transformers by its name here."""
    from transformers import BitsAndBytesConfig, TorchAoConfig

    package = "torchao" if name == "torchao-int8" else "bitsandbytes"
    try:
        if name == "torchao-int8":
            from torchao.quantization import Int8WeightOnlyConfig  # type: ignore[import-not-found]

            return TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=kept)
        if name == "bnb-8bit":
            return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
        if name == "bnb-4bit":
            options: dict[str, Any] = {"bnb_4bit_quant_type": "nf4", "bnb_4bit_compute_dtype": dtype}
            return BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=kept, **options)
    except ImportError as error:
        raise ModelError(
            f"cannot quantise the base to {name}",
            expected=f"the package {package}",
            got=f"{type(error).__name__}: {str(error).splitlines()[0]}",
            remedy=f"pip install {package}, or leave the quantization out",
        ) from error
    raise ModelError(
        f"unknown quantization {name!r}",
        expected=listed(QUANTIZATIONS),
        got=repr(name),
        remedy='use quantization="torchao-int8", or a quantisation config of transformers',
    )


def check_in_full_precision(config: Any) -> None:  # noqa: ANN401  (of transformers)
    """Raise if a checkpoint is quantised that is to be quantised while it is loaded.

    Raises:
        ModelError: If its config says so.
    """
    present = getattr(config, "quantization_config", None)
    if present is not None:
        method = present.get("quant_method") if isinstance(present, dict) else present.quant_method
        raise ModelError(
            "the base model cannot be quantised again",
            expected="a base in full precision",
            got=f"a checkpoint quantised by {method}",
            remedy="leave the quantization out: the checkpoint is used as it is",
        )


def settle(model: nn.Module) -> None:
    """Check how a model is quantised, and stop its modules from repacking their weights while they are used.

    Copies of a model share the weights, and dequantising needs them as they were packed: bitsandbytes moves 8-bit
    scales from the weight to the module at the first call, and repacks 4-bit weights in place on CPUs with AVX512-BF16.

    Args:
        model: The model.

    Raises:
        ModelError: If the method is not known here.
    """
    quantizer: Any = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return
    named = quantizer.quantization_config.quant_method
    method = str(getattr(named, "value", named))
    if method not in _METHODS:
        raise ModelError(
            "the base model is quantised in a way that points cannot be put beside",
            expected=f"a base in full precision, or quantised by {listed(_METHODS)}",
            got=f"quantised by {method}",
            remedy=f"give the base in full precision, with quantization= one of {listed(QUANTIZATIONS)}",
        )
    for module in model.modules():
        weight: Any = module._parameters.get("weight")
        if type(weight).__name__ == "Int8Params" and weight.CB is not None:
            module.init_8bit_state()  # type: ignore[operator]
        if type(weight).__name__ == "Params4bit":
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]


def quantised_while_loading(model: nn.Module) -> bool:
    """Whether a model was quantised from a checkpoint in full precision."""
    quantizer: Any = getattr(model, "hf_quantizer", None)
    return quantizer is not None and not quantizer.pre_quantized


def quantization_of(model: nn.Module) -> str | None:
    """How a model is quantised, as one line of JSON; None where it is not."""
    quantizer: Any = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return None
    return json.dumps(quantizer.quantization_config.to_dict(), sort_keys=True, default=str)


def is_quantised(weight: torch.Tensor) -> bool:
    """Whether a parameter holds packed numbers, whatever dtype it shows."""
    return not weight.is_floating_point() or type(weight).__module__.startswith("torchao.")


def check_starts(parameters: Mapping[str, torch.Tensor], point: Adapter, base_name: str) -> None:
    """Raise if the first factors of PiSSA would be taken out of rounded weights: training took them out of others.

    Args:
        parameters: The base's, by name.
        point: The point.
        base_name: The base's folder or hub id, for the message.

    Raises:
        ModelError: If a parameter that they were taken out of is quantised.
    """
    parts = [(name, part) for name, update in point.updates.items() for part in update.parts]
    directions = [(name, part.direction if isinstance(part, Dora) else part) for name, part in parts]
    starts = {name for name, part in directions if isinstance(part, SinceStart) and part.start == "pissa"}
    rounded = [name for name in starts & parameters.keys() if is_quantised(parameters[name])]
    if rounded:
        raise ModelError(
            f"the update of {point.name} is not known beside the quantised base model {base_name}",
            expected="the weights in full precision, whose largest singular values PiSSA took away before training",
            got=f"rounded weights of {listed(rounded)}",
            remedy="load the base in full precision, or give the adapter as it was before training:"
            " from_pretrained(folder, initial=FOLDER)",
        )


def shape_of(module: nn.Module, leaf: str) -> tuple[int, ...]:
    """The shape of a parameter, `[out, in]` of a packed one."""
    weight = module._parameters[leaf]
    assert weight is not None  # the caller has it by name
    if is_quantised(weight) and leaf == "weight" and hasattr(module, "in_features"):
        return int(module.out_features), int(module.in_features)  # type: ignore[arg-type]
    return tuple(weight.shape)


def unpacked(module: nn.Module, leaf: str) -> torch.Tensor:
    """A parameter's numbers as the module uses them, `[out, in]` where they were packed.

    Args:
        module: A module whose packed weight is as it was loaded (see `settle`).
        leaf: The parameter's name there.
    """
    weight: Any = stored(module, leaf)
    if not is_quantised(weight):
        return weight.detach()
    if type(weight).__name__ == "Params4bit":
        from bitsandbytes.functional import dequantize_4bit  # type: ignore[import-not-found]

        return dequantize_4bit(weight.data, weight.quant_state)
    if type(weight).__name__ == "Int8Params":
        from bitsandbytes.functional import int8_vectorwise_dequant  # type: ignore[import-not-found]

        return int8_vectorwise_dequant(weight.data, module.state.SCB)  # type: ignore[union-attr]
    return weight.dequantize().detach()


def packed(weight: torch.Tensor) -> Mapping[str, torch.Tensor]:
    """The plain tensors that a parameter consists of, by name; one without a name where it is one."""
    if not type(weight).__module__.startswith("torchao."):
        return {"": weight.detach()}
    names, _ = weight.__tensor_flatten__()  # type: ignore[attr-defined]
    return {f".{name}": getattr(weight, name) for name in names}

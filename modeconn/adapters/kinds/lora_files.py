"""Combinations of LoRA points as files that plain PEFT loads."""

import math
from collections.abc import Callable, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.kinds.convolution import Convolution
from modeconn.adapters.kinds.fused import Fused, wrapped
from modeconn.adapters.kinds.kind import PREFIX, Tensors
from modeconn.adapters.kinds.replaced import AddedBias, Replaced, ReplacedRows
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_Updates = Mapping[str, Update]
_TOKENS = "TRAINABLE_TOKENS"
_KEPT = ("task_type", "base_model_name_or_path", "revision")


def lora_tensors(updates: _Updates, saved: Tensors, config: "AdapterConfig") -> dict[str, torch.Tensor]:
    """The tensors of a LoRA file, one pair of factors a module, in units of the config's scaling.

    Raises:
        AdapterError: If an update has no form that a LoRA file can hold.
    """
    tensors = {PREFIX + name: value for name, value in saved.items()}
    pairs = wrapped(name for name, update in updates.items() if _all(update, Fused))
    adds_biases = any(_of(update, AddedBias) for update in updates.values())
    # Matrices first: what cannot be held then says what can be done about them.
    for name, update in sorted(updates.items(), key=lambda item: -len(item[1].shape)):
        module = PREFIX + name.rpartition(".")[0]
        if name in pairs:
            down, up = one_fused(update, unit=config.scaling(name)).of_peft()
            tensors |= _pair(PREFIX + pairs[name], down, up)
        elif _all(update, Convolution):
            kernel = one_convolution(update, unit=config.scaling(module.removeprefix(PREFIX)))
            up = kernel.up.reshape(*kernel.up.shape, *(1 for _ in kernel.down.shape[2:]))  # [out, R, 1, ...]
            tensors |= _pair(module, kernel.down, up)
            if adds_biases:
                tensors.setdefault(f"{module}.lora_B.bias", torch.zeros(len(up)))
        elif _all(update, AddedBias | Replaced):
            wrapper = ".base_layer" if f"{module.removeprefix(PREFIX)}.weight" in updates else ""
            if added := _of(update, AddedBias):
                tensors[f"{module}.lora_B.bias"] = added.dense() / config.scaling(module.removeprefix(PREFIX))
            if trained := _of(update, Replaced):
                tensors[f"{module}{wrapper}.bias"] = _mean(trained, name, lambda part: part.value)
        elif _all(update, ReplacedRows):
            wrapper = "" if config.raw.get("peft_type") == _TOKENS else ".token_adapter"
            tensors[f"{module}{wrapper}.trainable_tokens_delta"] = _mean(update, name, lambda part: part.rows)
        else:
            # Without factors there is no rank, and so no scaling: `factors` tells what cannot be saved.
            up, down = update.factors(unit=config.scaling(module.removeprefix(PREFIX)) if update.low_rank else 1.0)
            tensors |= _table(module, down, up) if update.lookup else _pair(module, down, up)
            if adds_biases and not update.lookup:  # lora_bias holds for all modules
                tensors.setdefault(f"{module}.lora_B.bias", torch.zeros(len(up)))
    return tensors


def pair_rank(update: Update) -> int | None:
    """The rank of the pair that is written for a parameter, of one expert where there are several; None without."""
    if _all(update, Fused | Convolution):
        return sum(part.down.shape[0 if isinstance(part, Convolution) else -2] for part in update.parts)  # type: ignore[attr-defined]
    return update.rank if update.low_rank else None


def _pair(module: str, down: torch.Tensor, up: torch.Tensor) -> dict[str, torch.Tensor]:
    """A pair under the names of a module's."""
    return {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}


def _table(module: str, down: torch.Tensor, up: torch.Tensor) -> dict[str, torch.Tensor]:
    """A pair under the names of an embedding's, which PEFT stores transposed."""
    return {f"{module}.lora_embedding_A": up.T, f"{module}.lora_embedding_B": down.T}


def _all(update: Update, kind: type | UnionType) -> bool:
    """Whether all parts of an update are of one kind, or of some."""
    return all(isinstance(part, kind) for part in update.parts)


def _of(update: Update, kind: type) -> Update | None:
    """Those parts of an update that are of one kind; None where there are none."""
    chosen = [(c, part) for c, part in zip(update.coefficients, update.parts, strict=True) if isinstance(part, kind)]
    return Update(tuple(c for c, _ in chosen), tuple(part for _, part in chosen)) if chosen else None


def one_fused(update: Update, *, unit: float) -> Fused:
    """The parts of a parameter's update as one, of the sum of their ranks; its scaling is `unit`."""
    return Fused.combined(update.coefficients, update.parts, unit=unit)  # type: ignore[arg-type]  # all are Fused


def one_convolution(update: Update, *, unit: float) -> Convolution:
    """The parts of a kernel's update as one, `[B_0 B_1] [A_0 ; A_1]`: exact, as it is for matrices.

    Args:
        update: Of convolutions only, of one kernel.
        unit: The scaling of the result; the second factor is divided by it.
    """
    pairs = zip(update.coefficients, update.parts, strict=True)
    kernels = [(weight, part) for weight, part in pairs if isinstance(part, Convolution)]
    down = torch.cat([part.down * (weight * part.scaling / unit) for weight, part in kernels])  # [R, in, ...]
    return Convolution(torch.cat([part.up for _, part in kernels], dim=1), down, unit)


def _mean(update: Update, name: str, value: Callable[[Any], torch.Tensor]) -> torch.Tensor:
    """What replaces a parameter at a combination of points; the base cancels where the coefficients sum to 1."""
    tokens = {part.tokens for part in update.parts if isinstance(part, ReplacedRows)}
    if len(tokens) > 1 or not math.isclose(sum(update.coefficients), 1.0, abs_tol=1e-9):
        raise AdapterError(
            f"an adapter file cannot hold the change of {name}",
            expected="trained values of the same parameters and rows at all points, with coefficients that sum to 1",
            got=f"coefficients that sum to {sum(update.coefficients):g}"
            + (f", and {len(tokens)} sets of rows" if len(tokens) > 1 else ""),
            remedy="write the point as a merged full model instead",
        )
    pairs = zip(update.coefficients, update.parts, strict=True)
    return torch.stack([weight * value(part) for weight, part in pairs]).sum(dim=0)


def combined_config(first: "AdapterConfig", updates: _Updates) -> dict[str, Any]:
    """The adapter_config.json of a combination: one target a module, scaling 1 by `alpha = r`.

    Args:
        first: The config of one of the points, for the base model, task type and saved modules.
        updates: The combined updates, by parameter name.
    """
    if (alone := _tokens_alone(first, updates)) is not None:  # PEFT loads no LoRA adapter without a pair of factors
        return {**alone, **{key: first.raw.get(key) for key in _KEPT}}
    fused = {name: pair_rank(update) or 1 for name, update in updates.items() if _all(update, Fused)}
    modules = {
        name.removesuffix(".weight"): pair_rank(update) or update.rank
        for name, update in updates.items()
        if name.endswith(".weight") and not _all(update, Fused) and not _all(update, ReplacedRows)
    }
    ranks = modules | fused
    rank = max(ranks.values(), default=1)
    patterns = {name: value for name, value in sorted(ranks.items()) if value != rank}
    keep = (*_KEPT, "modules_to_save", "fan_in_fan_out")
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "inference_mode": True,
        "target_modules": sorted(modules),
        "rank_pattern": patterns,
        "alpha_pattern": dict(patterns),
        **_beside(updates, modules),
        **({"target_parameters": sorted(fused)} if fused else {}),
        **{key: first.raw.get(key) for key in keep},
    }


def _tokens_alone(first: "AdapterConfig", updates: _Updates) -> dict[str, Any] | None:
    """The settings of a combination that changes nothing but rows of embeddings, the same ones in each."""
    rows = {part.tokens for update in updates.values() for part in update.parts if isinstance(part, ReplacedRows)}
    if len(rows) != 1 or not all(_all(update, ReplacedRows) for update in updates.values()):
        return None
    # PEFT finds output layers that are tied to the embedding by itself, and fails where they are named.
    named = first.raw.get("target_modules") if first.raw.get("peft_type") == _TOKENS else None
    modules = named or sorted(name.removesuffix(".weight") for name in updates)
    return {"peft_type": _TOKENS, "inference_mode": True, "target_modules": modules, "token_indices": list(*rows)}


def _beside(updates: _Updates, modules: Mapping[str, int]) -> dict[str, Any]:
    """The settings of what is trained beside the factors: biases and tokens."""
    replaced = [name.removesuffix(".bias") for name, update in updates.items() if _of(update, Replaced)]
    rows = {name: update.parts[0] for name, update in updates.items() if _all(update, ReplacedRows)}
    tokens = {name.removesuffix(".weight"): list(part.tokens) for name, part in rows.items()}  # type: ignore[attr-defined]
    scope = "all" if any(module not in modules for module in replaced) else "lora_only"
    return {
        "bias": scope if replaced else "none",
        **({"lora_bias": True} if any(_of(update, AddedBias) for update in updates.values()) else {}),
        **({"trainable_token_indices": tokens} if tokens else {}),
    }

"""The settings of LoRA: which are read, what values they may have, and which are refused and why."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modeconn.adapters.kinds.initial import start_of
from modeconn.adapters.kinds.kind import trained_biases
from modeconn.adapters.kinds.values import is_flag, is_names, is_number, is_pattern, is_rank, is_tokens

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

# Settings with which no change of weights is the same function, and why.
_REASONS: Mapping[str, str] = {
    "alora_invocation_tokens": "it acts from a token of the text on, so no one weight does the same",
    "arrow_config": "it chooses among adapters token by token",
    "enable_lora": "one pair of factors for parts of a matrix, which PEFT reads no more",
    "ensure_weight_tying": "one adapter serves two modules of the base",
    "kasa_config": "it cuts the base's smallest singular values away",
    "layer_replication": "the model has more layers than its base",
    "megatron_config": "its modules are split over machines",
    "monteclora_config": "its factors are samples of a distribution",
    "use_bdlora": "its factors are stored block by block",
    "use_qalora": "its inputs are averaged in groups",
}
# Read, without effect on the update once the tensors are there, or refused.
KNOWN = frozenset(_REASONS) | frozenset(
    {
        "alpha_pattern",
        "bias",
        "corda_config",
        "eva_config",
        "fan_in_fan_out",
        "init_lora_weights",
        "loftq_config",
        "lora_alpha",
        "lora_bias",
        "lora_dropout",
        "lora_ga_config",
        "megatron_core",
        "merge_weights",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "runtime_config",
        "target_parameters",
        "trainable_token_indices",
        "use_dora",
        "use_rslora",
        "velora_config",
    }
)


def _is_tokens_of_modules(value: object) -> bool:
    """Whether a value is a list of tokens, or a dict from module names to such lists, or none."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and isinstance(one, list) and is_tokens(one) for key, one in value.items())
    return is_tokens(value)


FITS = {
    "r": is_rank,
    "lora_alpha": is_number,
    "rank_pattern": lambda value: is_pattern(value, is_rank),
    "alpha_pattern": lambda value: is_pattern(value, is_number),
    "use_rslora": is_flag,
    "use_dora": is_flag,
    "lora_bias": is_flag,
    "fan_in_fan_out": is_flag,
    "bias": lambda value: value in ("none", "all", "lora_only", None),
    "init_lora_weights": lambda value: is_flag(value) or isinstance(value, str),
    "target_parameters": is_names,
    "trainable_token_indices": _is_tokens_of_modules,
}


def refused(raw: Mapping[str, Any]) -> list[str]:
    """Settings whose update is not that of a weight, each with the reason."""
    return [f"{key}={raw[key]!r} ({reason})" for key, reason in _REASONS.items() if raw.get(key)]


def overwritten(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """Endings of the base parameters that PEFT changes in place: trained biases, and what training took away."""
    return trained_biases(raw) + ((".weight",) if start_of(raw) is not None else ())


def factor_settings(config: "AdapterConfig", modules: Sequence[str]) -> dict[str, object]:
    """What else than the tensors decides the update: scalings, where training began, and which rows they are."""
    raw = config.raw
    return {
        **{module: config.scaling(module) for module in modules},
        "init_lora_weights": start_of(raw),
        "target_parameters": sorted(raw.get("target_parameters") or ()),
        "trainable_token_indices": _tokens(raw.get("trainable_token_indices")),
    }


def _tokens(named: Any) -> object:  # noqa: ANN401
    """The tokens that are trained: a list where all named layers have the same, as a list in the file means."""
    lists = list(named.values()) if isinstance(named, dict) else []
    return lists[0] if lists and all(one == lists[0] for one in lists) else named

"""What an adapter_config.json says, checked: nothing that changes the update is overlooked."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from modeconn.errors import AdapterError, listed

# Keys that say nothing about the update once the tensors are there (training, loading, bookkeeping).
_WITHOUT_EFFECT = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_dropout",
        "megatron_core",
        "merge_weights",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "qalora_group_size",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "use_rslora",
    }
)
# Initialisations that leave the base weight alone; all others (PiSSA, OLoRA, CorDA, LoftQ, ...) replace it.
_PLAIN_INITS = (True, False, None, "gaussian", "eva", "orthogonal")
_DEFAULTS: Mapping[str, Any] = MappingProxyType({"bias": "none"})


def _is_number(value: object) -> bool:
    """Whether a value is a finite number other than zero."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value != 0


def _is_rank(value: object) -> bool:
    """Whether a value is a rank."""
    return isinstance(value, int) and _is_number(value) and value > 0


def _is_pattern(value: object, fits: Callable[[object], bool]) -> bool:
    """Whether a value maps regular expressions to values that fit."""
    if value is None:
        return True
    try:
        return isinstance(value, dict) and all(re.compile(key) and fits(one) for key, one in value.items())
    except re.error:
        return False


def _is_list_of_names(value: object) -> bool:
    """Whether a value is a list of strings, or none."""
    return value is None or (isinstance(value, list | tuple) and all(isinstance(one, str) for one in value))


# The keys whose values are read, with what they must be.
_FITS: Mapping[str, Callable[[object], bool]] = MappingProxyType(
    {
        "r": _is_rank,
        "lora_alpha": _is_number,
        "rank_pattern": lambda value: _is_pattern(value, _is_rank),
        "alpha_pattern": lambda value: _is_pattern(value, _is_number),
        "modules_to_save": _is_list_of_names,
        "base_model_name_or_path": lambda value: value is None or isinstance(value, str),
        "task_type": lambda value: value is None or isinstance(value, str),
        "use_rslora": lambda value: value is None or isinstance(value, bool),
    }
)


@dataclass(frozen=True)
class AdapterConfig:
    """The settings of one adapter.

    Attributes:
        raw: The whole file as read.
        origin: Where it was read, for messages.
    """

    raw: Mapping[str, Any]
    origin: str = "the adapter"

    @classmethod
    def parse(cls, raw: Mapping[str, Any], origin: str) -> "AdapterConfig":
        """Check a config as PEFT writes it.

        Raises:
            AdapterError: If the kind is not LoRA, a value is not of the kind that PEFT writes, or a key that
                changes the update has another value than its default; the message names the keys.
        """
        kind = raw.get("peft_type")
        if str(kind).upper() != "LORA":
            raise AdapterError(
                f"{origin} is an adapter of a kind that cannot be read",
                expected='"peft_type": "LORA" in adapter_config.json',
                got=f'"peft_type": {kind!r}',
                remedy="convert it to LoRA, or leave it out",
            )
        config = cls(MappingProxyType(dict(raw)), origin)
        config._refuse_malformed()
        config._refuse_unsupported()
        return config

    def _refuse_malformed(self) -> None:
        """Raise if a value that is read is not of the kind that PEFT writes."""
        malformed = [
            f"{key}={self.raw[key]!r}" for key, fits in _FITS.items() if key in self.raw and not fits(self.raw[key])
        ]
        if malformed:
            raise AdapterError(
                f"{self.origin} has settings that cannot be read",
                expected="values as PEFT writes them: ranks above 0, finite scalings, lists of module names",
                got=listed(malformed),
                remedy="use the adapter_config.json that PEFT's save_pretrained wrote",
            )

    def _refuse_unsupported(self) -> None:
        """Raise unless every key outside the known ones has its default or an empty value."""
        unsupported = []
        for key, value in self.raw.items():
            if key == "init_lora_weights":
                if value not in _PLAIN_INITS:
                    unsupported.append(f"{key}={value!r}")
            elif key not in _WITHOUT_EFFECT and value and value != _DEFAULTS.get(key):
                unsupported.append(f"{key}={value!r}")
        if unsupported:
            raise AdapterError(
                f"{self.origin} uses settings whose weight update is not known",
                expected="plain LoRA: scaling, ranks, patterns, targets and saved modules",
                got=listed(unsupported),
                remedy="convert the adapter to plain LoRA (PEFT: save_pretrained with"
                " path_initial_model_for_weight_conversion), or merge it and compare full models",
            )

    @property
    def base_model(self) -> str | None:
        """The base model that the adapter names."""
        return self.raw.get("base_model_name_or_path")

    @property
    def task_type(self) -> str | None:
        """PEFT's task type, such as CAUSAL_LM."""
        return self.raw.get("task_type")

    @property
    def modules_to_save(self) -> tuple[str, ...]:
        """Names of the modules that are trained and saved whole."""
        return tuple(self.raw.get("modules_to_save") or ())

    def rank(self, module: str) -> int:
        """The rank r that the config gives a module."""
        return int(self._by_pattern("rank_pattern", module, self.raw.get("r", 8)))

    def scaling(self, module: str) -> float:
        """The factor s of `dW = s B A`: `alpha / r`, for rsLoRA `alpha / sqrt(r)` (Kalajdzievski 2023, 2312.03732)."""
        alpha = self._by_pattern("alpha_pattern", module, self.raw.get("lora_alpha", 8))
        rank = self.rank(module)
        return alpha / (rank**0.5 if self.raw.get("use_rslora") else rank)

    def _by_pattern(self, key: str, module: str, default: float) -> float:
        """The value of the first pattern that matches the module's name, read as PEFT reads it."""
        for pattern, value in (self.raw.get(key) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        return default

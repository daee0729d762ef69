"""What an adapter_config.json says, checked: nothing that changes the update is overlooked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modeconn.adapters.kinds.kind import BOOKKEEPING, Kind
from modeconn.adapters.kinds.table import kind_of
from modeconn.adapters.kinds.values import is_layers, is_names_or_pattern, is_patterns, is_text
from modeconn.errors import AdapterError, listed

_FITS = MappingProxyType(
    {
        "base_model_name_or_path": is_text,
        "exclude_modules": is_names_or_pattern,
        "layers_pattern": lambda value: is_patterns([value] if isinstance(value, str) else value),
        "layers_to_transform": is_layers,
        "modules_to_save": is_patterns,  # PEFT matches them so
        "target_modules": is_names_or_pattern,
        "task_type": is_text,
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
            AdapterError: If the kind cannot be read, a value is not of the sort that PEFT writes, or a key that
                changes the update has another value than its default; the message names the keys.
        """
        config = cls(MappingProxyType(dict(raw)), origin)
        kind = config.kind
        config._refuse_malformed(kind)
        config._refuse_unsupported(kind)
        return config

    @cached_property
    def kind(self) -> Kind:
        """The kind of adapter."""
        return kind_of(self.raw, self.origin)

    def _refuse_malformed(self, kind: Kind) -> None:
        """Raise if a value that is read is not of the sort that PEFT writes."""
        fits = {**_FITS, **kind.fits}
        malformed = [
            f"{key}={self.raw[key]!r}" for key, check in fits.items() if key in self.raw and not check(self.raw[key])
        ]
        if malformed:
            raise AdapterError(
                f"{self.origin} has settings that cannot be read",
                expected="values as PEFT writes them: ranks above 0, finite scalings, lists of module names, patterns"
                " without repeats of repeats",
                got=listed(malformed),
                remedy="use the adapter_config.json that PEFT's save_pretrained wrote; in a pattern's place a list of"
                " the modules' names can stand",
            )

    def _refuse_unsupported(self, kind: Kind) -> None:
        """Raise unless every key outside the known ones has its default or an empty value."""
        known = BOOKKEEPING | kind.settings
        unsupported = kind.refused(self.raw) + [
            f"{key}={value!r}"
            for key, value in self.raw.items()
            if key not in known and value and value != kind.defaults.get(key)
        ]
        if unsupported:
            raise AdapterError(
                f"{self.origin} uses settings whose weight update is not known",
                expected=f"settings of {kind.name} that modeconn knows, all others at their defaults",
                got=listed(unsupported),
                remedy=kind.remedy,
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
        return int(self.by_pattern("rank_pattern", module, self.raw.get("r", 8)))

    def scaling(self, module: str) -> float:
        """The factor s of `dW = s B A`: `alpha / r`, for rsLoRA `alpha / sqrt(r)` (Kalajdzievski 2023, 2312.03732)."""
        alpha = self.by_pattern("alpha_pattern", module, self.raw.get("lora_alpha", 8))
        rank = self.rank(module)
        return alpha / (rank**0.5 if self.raw.get("use_rslora") else rank)

    def by_pattern(self, key: str, module: str, default: float) -> float:
        """The value of the first pattern that matches the module's name, read as PEFT reads it."""
        for pattern, value in (self.raw.get(key) or {}).items():
            if re.match(rf"(.*\.)?({pattern})$", module):
                return value
        return default


@dataclass(frozen=True)
class AsRead:
    """What an adapter's file says, where the point's own settings are others.

    That is where its first factors were subtracted, so that the rank is twice the trained one, and where its kind was
    renamed.

    Attributes:
        config: The settings in the file.
        folder: Where it lies.
    """

    config: AdapterConfig
    folder: Path

"""What the kinds of adapters have in common: their settings, and what their files hold."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.update import Update
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

PREFIX = "base_model.model."
Tensors = Mapping[str, torch.Tensor]

# Embeddings and output layers, which PEFT saves unasked where their rows were resized.
_VOCABULARIES = tuple(
    f".{module}.weight"
    for module in ("embed_tokens", "lm_head", "wte", "word_embeddings", "shared", "embed_in", "embed_out")
)

# Settings of every kind that say nothing about the update once the tensors are there.
BOOKKEEPING = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "revision",
        "target_modules",
        "task_type",
    }
)


@dataclass(frozen=True)
class Parts:
    """The tensors of an adapter file, sorted by what they do.

    Attributes:
        updates: What is added to a parameter of the base, by the parameter's name.
        saved: What replaces a parameter of the base (modules_to_save), by the parameter's name.
        base_copies: Copies of base weights that PEFT saves beside an embedding; they change nothing.
    """

    updates: Mapping[str, Update]
    saved: Tensors
    base_copies: Tensors = field(default_factory=dict)


@dataclass(frozen=True)
class Kind:
    """One kind of adapter.

    Attributes:
        name: Its `peft_type`.
        read: Tensors under PEFT's names and settings -> parts; every tensor is used, or it raises.
        settings: Keys of adapter_config.json that `read` takes into account, or that change nothing once the tensors
            are there; `BOOKKEEPING` comes on top. Any other key must have an empty value or its default.
        fits: Key -> whether a value can be read.
        defaults: Key -> the value, other than an empty one, that changes nothing.
        refused: Settings whose update is not known, as "key=value".
        scalings: Settings and names of modules -> what else than the tensors decides the update, by name; points can be
            combined in factors space only where it is equal.
        has_update: Whether there is a `dW`; without one, points can be combined in factors space only.
        constants: Endings of the names of tensors that are whole numbers, such as the places of entries: they are no
            coordinates, and points can be combined in factors space only where they are equal.
        is_zero: Whether the tensors of a kind without a `dW` change nothing.
        overwrites: Settings -> endings of the names of parameters of the base that PEFT changes in place when it loads
            such an adapter: what is loaded for comparison must not share them.
        unloadable: Tensors -> why PEFT cannot load such an adapter on this machine; empty where it can.
        register: Makes the kind known to PEFT, where it is not one of PEFT's own.
        remedy: What to do about settings that are refused.
    """

    name: str
    read: Callable[[Tensors, "AdapterConfig"], Parts]
    settings: frozenset[str]
    fits: Mapping[str, Callable[[object], bool]] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    refused: Callable[[Mapping[str, Any]], list[str]] = lambda raw: []  # noqa: ARG005
    scalings: Callable[["AdapterConfig", Sequence[str]], Mapping[str, object]] = lambda config, modules: {}  # noqa: ARG005
    has_update: bool = True
    constants: tuple[str, ...] = ()
    is_zero: Callable[[Tensors], bool] = lambda tensors: False  # noqa: ARG005
    overwrites: Callable[[Mapping[str, Any]], tuple[str, ...]] = lambda raw: trained_biases(raw)
    unloadable: Callable[[Tensors], str] = lambda tensors: ""  # noqa: ARG005
    register: Callable[[], None] = lambda: None
    remedy: str = "merge the adapter into its base, and give the full model instead"


def trained_biases(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The ending of the biases of the base that were trained beside an adapter, where they were."""
    return (".bias",) if raw.get("bias", "none") not in ("none", None) else ()


class Unread:
    """The tensors of a file that no reader has used yet.

    Args:
        tensors: PEFT's names -> tensors.
        config: The adapter's settings.
    """

    def __init__(self, tensors: Tensors, config: "AdapterConfig") -> None:
        self.rest, self.config = dict(tensors), config

    def modules(self, suffix: str) -> list[str]:
        """The modules that have a tensor of this suffix, sorted; `suffix` begins with a dot."""
        found = (name for name in self.rest if name.startswith(PREFIX) and name.endswith(suffix))
        return sorted(name.removeprefix(PREFIX).removesuffix(suffix) for name in found)

    def has(self, module: str, suffix: str) -> bool:
        """Whether a module has a tensor of this suffix."""
        return f"{PREFIX}{module}{suffix}" in self.rest

    def take(self, module: str, suffix: str) -> torch.Tensor:
        """Use a module's tensor.

        Raises:
            AdapterError: If there is none.
        """
        name = f"{PREFIX}{module}{suffix}"
        if name not in self.rest:
            raise AdapterError(
                f"{self.config.origin} lacks a tensor",
                expected=name,
                got=f"for {module} only {listed(one for one in self.rest if one.startswith(PREFIX + module + '.'))}",
                remedy="save the adapter with PEFT's save_pretrained",
            )
        return self.rest.pop(name)

    def take_saved(self, *, prefix: str = PREFIX) -> dict[str, torch.Tensor]:
        """Use the tensors of modules that are trained and saved whole, by the base's parameter names."""
        modules = self.config.modules_to_save
        names = [name for name in self.rest if name.startswith(prefix) and _is_saved(name, modules)]
        return {name.removeprefix(prefix): self.rest.pop(name) for name in names}

    def finish(self, updates: Mapping[str, Update], saved: Tensors, expected: str, base_copies: Tensors) -> Parts:
        """The parts, after checking that every tensor was used and that there is an update.

        Args:
            updates: What was read.
            saved: What was read.
            expected: The tensors of the kind, for messages: "pairs of lora_A and lora_B".
            base_copies: What was read.

        Raises:
            AdapterError: If tensors are left over, none is an update, or a saved module is absent.
        """
        self._refuse_rest(f"{expected} under '{PREFIX}', and the modules_to_save")
        if not updates:
            raise AdapterError(
                f"{self.config.origin} holds no update",
                expected=f"{expected}, of one module at least",
                got=f"saved modules only: {listed(saved)}",
                remedy="save the adapter with PEFT's save_pretrained",
            )
        self._refuse_unsaved(saved)
        return Parts(updates, saved, base_copies)

    def finish_without_updates(self, saved: Tensors, expected: str) -> Parts:
        """The parts of a kind without a `dW`, after checking that every tensor was used.

        Args:
            saved: What was read.
            expected: All tensors that the file may hold, for messages.

        Raises:
            AdapterError: If tensors are left over, or a saved module is absent.
        """
        self._refuse_rest(expected)
        self._refuse_unsaved(saved)
        return Parts({}, saved)

    def _refuse_rest(self, expected: str) -> None:
        """Raise if tensors are left over."""
        if self.rest:
            raise AdapterError(
                f"{self.config.origin} holds tensors that would not be used",
                expected=expected,
                got=listed(self.rest),
                remedy="save the adapter with PEFT's save_pretrained; nothing is skipped silently",
            )

    def _refuse_unsaved(self, saved: Tensors) -> None:
        """Raise if modules should have been saved, and none was."""
        if self.config.modules_to_save and not saved:
            raise AdapterError(
                f"{self.config.origin} lacks the modules that it says it saved",
                expected=f"weights of one of {listed(self.config.modules_to_save)}",
                got="none in the file",
                remedy="save the adapter with PEFT's save_pretrained",
            )


def _is_saved(name: str, modules: tuple[str, ...]) -> bool:
    """Whether a parameter belongs to a module that is trained and saved whole, or to a vocabulary that was resized."""
    if name.endswith(_VOCABULARIES):
        return True
    return any(f"{module}." in name.removeprefix(PREFIX) for module in modules)  # PEFT compares endings: pre_classifier

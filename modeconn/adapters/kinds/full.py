"""Full fine-tunes: every parameter of the base is replaced."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.full import FullModel
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors
from modeconn.adapters.stored import LoadedTensor, StoredTensor, StoredTensors
from modeconn.adapters.update import Part, Update

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


MODEL_SETTINGS = "model"  # key of a point's settings: the full model's own, with their defaults


@dataclass(frozen=True, eq=False)
class Replacement(Part):
    """A weight that takes the place of the base's, `dW = W_1 - W_0`; its numbers stay on disk until they are needed.

    Attributes:
        value: W_1, as the model stores the parameter.
    """

    value: StoredTensor

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the weight."""
        return self.value.shape

    @property
    def stored(self) -> bool:
        """True."""
        return True

    @property
    def needs_base(self) -> bool:
        """True: the change is a difference from the base."""
        return True

    @property
    def replaces(self) -> bool:
        """True."""
        return True

    def whole(self) -> torch.Tensor:
        """`W_1`."""
        return self.value.read()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`W_1 - W_0`; without a base W_1 itself, float32, for sums in which the base cancels."""
        if base is None:
            return self.value.read().to(torch.float32, copy=True)
        return self.value.read().to(base.device, base.dtype) - base

    def digest(self) -> str:
        """SHA-256 in hex of the weight as it is stored."""
        return self.value.digest()


def full_config(model: FullModel) -> dict[str, Any]:
    """What stands for an adapter_config.json of a full fine-tune.

    Args:
        model: The fine-tuned model.
    """
    return {
        "peft_type": "FULL",
        "task_type": model.skeleton.task_type,
        "base_model_name_or_path": model.raw.get("_name_or_path") or None,
        "modules_to_save": list(model.heads),
        "ties": dict(model.ties),
        MODEL_SETTINGS: dict(model.settings),
    }


def _read_full(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Every tensor is a parameter; those of the head, which bases lack, are read at once."""
    stored: Mapping[str, StoredTensor] = (
        tensors.stored
        if isinstance(tensors, StoredTensors)
        else {name: LoadedTensor.of(name, value) for name, value in tensors.items()}
    )
    saved = {name: tensors[name] for name in stored if name.partition(".")[0] in config.modules_to_save}
    return Parts({name: Update.of(Replacement(one)) for name, one in stored.items() if name not in saved}, saved)


FULL = Kind(
    name="FULL",
    read=_read_full,
    settings=frozenset({"ties", MODEL_SETTINGS}),
    fits={key: lambda value: isinstance(value, dict) for key in ("ties", MODEL_SETTINGS)},
    remedy="give the folder that save_pretrained of transformers wrote",
)

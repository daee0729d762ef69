"""What is trained: an adapter of any kind beside a base model, or all weights of a copy of it."""

import json
from pathlib import Path
from typing import Any, Protocol

import torch
from peft import get_peft_model_state_dict
from torch import nn

from modeconn.adapters.initial import initial_factors
from modeconn.adapters.writing import write_adapter
from modeconn.continual.settings import TrainSettings
from modeconn.continual.starting import FULL, new_adapter
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.family import Classifier
from modeconn.models.prompted import Prompted, stands_before
from modeconn.models.sources import quiet_transformers


class Learner(Protocol):
    """The weights that a training run moves.

    Attributes:
        module: The model with these weights in place, called as a model of transformers is.
        weights: Name -> each tensor that gradients reach.
    """

    module: nn.Module
    weights: dict[str, nn.Parameter]

    def save(self, folder: Path) -> None:
        """Write a checkpoint: a folder that `Adapter.from_pretrained` reads, and plain PEFT or transformers."""
        ...


def learner(model: AdapterModel, settings: TrainSettings) -> Learner:
    """The untrained learner that the settings name.

    Raises:
        RunError: If a setting is none of the kind's.
        ModelError: If the base model cannot take it.
    """
    return WholeModel(model) if settings.adapter == FULL else AdapterLearner(model, settings)


class AdapterLearner:
    """An adapter of PEFT in a twin of the base.

    Args:
        model: The base model.
        settings: Which adapter.
    """

    def __init__(self, model: AdapterModel, settings: TrainSettings) -> None:
        self._peft_model = new_adapter(model, settings)
        self._config = self._peft_model.active_peft_config
        prompted = stands_before(self._config)
        self.module: nn.Module = Prompted(self._peft_model) if prompted else self._peft_model.base_model.model
        self.weights = trainable(self._peft_model)
        self._provenance = provenance(model)
        self._initial = initial_factors(self._tensors(), self._raw())

    def save(self, folder: Path) -> None:
        """Write the adapter, with the factors it began with where its update is counted from them."""
        write_adapter(folder, self._tensors(), self._raw(), self._provenance, initial=self._initial)

    def _tensors(self) -> dict[str, torch.Tensor]:
        """PEFT's names -> copies of the tensors."""
        found = get_peft_model_state_dict(self._peft_model)
        return {name: value.detach().clone() for name, value in found.items()}

    def _raw(self) -> dict[str, Any]:
        """The content of adapter_config.json."""
        content = {**self._config.to_dict(), "inference_mode": True}
        return json.loads(json.dumps(content, default=_plain))


class WholeModel:
    """All weights of a copy of the base: full fine-tuning.

    Args:
        model: The base model; its own weights stay.
    """

    def __init__(self, model: AdapterModel) -> None:
        self.module: Any = model.twin(apart=list(dict(model.module.named_parameters())))
        self.module.requires_grad_(True)
        if isinstance(model.family, Classifier) and model.family.labels:
            labels = model.family.labels
            self.module.config.id2label = dict(enumerate(labels))
            self.module.config.label2id = {label: number for number, label in enumerate(labels)}
        self.weights = trainable(self.module)
        self._tokenizer = model.tokenizer

    def save(self, folder: Path) -> None:
        """Write the model and its tokenizer as transformers does."""
        with quiet_transformers():
            self.module.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that gradients reach, each once."""
    return {name: weight for name, weight in module.named_parameters() if weight.requires_grad}


def provenance(model: AdapterModel) -> dict[str, Any]:
    """What is noted beside an adapter: which base, which classes."""
    labels = getattr(model.family, "labels", None)
    return {"base_fingerprint": model.fingerprint, **({"labels": list(labels)} if labels else {})}


def _plain(value: Any) -> Any:  # noqa: ANN401
    """PEFT's sets as sorted lists, its own settings as dicts."""
    return sorted(value) if isinstance(value, set | frozenset) else value.to_dict()

"""A folder with a full model: its config, and its tensors under the names of the model's parameters."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from modeconn.adapters.experts import are_single, stacked
from modeconn.adapters.shards import open_shards
from modeconn.adapters.skeleton import IMAGES, Skeleton, check_counts
from modeconn.adapters.stored import StoredTensor
from modeconn.errors import AdapterError, listed

CONFIG_FILE = "config.json"


@dataclass(frozen=True)
class FullModel:
    """A full model on disk; nothing of it is in memory but names and places.

    It says what weights of a base are, so that points whose updates are functions of them can be bound to it.

    Attributes:
        folder: Where it lies.
        raw: The content of config.json.
        skeleton: What the model is made of.
        stored: Parameter name -> tensor; of tied parameters the first name, unless the file holds several that differ.
    """

    folder: Path
    raw: Mapping[str, Any]
    skeleton: Skeleton
    stored: Mapping[str, StoredTensor]

    @classmethod
    def open(cls, folder: str | Path, *, task_type: str | None = None, strict: bool = True) -> "FullModel":
        """Look at a model's config and at the headers of its files.

        Args:
            folder: As save_pretrained of transformers writes it.
            task_type: What the model is used for; by default what its architecture says.
            strict: Whether every tensor must be used. Bases come with heads for other uses.

        Raises:
            AdapterError: If a file is broken, or the tensors are not those of the model that the config describes.
        """
        folder = Path(folder).expanduser()
        raw = _read_config(folder / CONFIG_FILE)
        tensors = open_shards(folder)
        check_counts(raw, tensors, str(folder))
        skeleton = Skeleton.of(raw, str(folder), task_type=task_type)
        stored = _by_parameter(tensors, skeleton, folder, strict=strict)
        stored = _without_copies(stored, skeleton)
        _check(stored, skeleton, folder)
        return cls(folder, raw, skeleton, stored)

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """All settings of config.json as this version of transformers reads them, defaults included."""
        return config_of(self.raw).to_dict()

    @property
    def heads(self) -> tuple[str, ...]:
        """The head's modules, if the files hold one."""
        heads = self.skeleton.heads
        return heads if any(name.partition(".")[0] in heads for name in self.stored) else ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes of the head; none where there is no head, or they are placeholders."""
        names = self.raw.get("id2label") or {}
        ordered = tuple(str(names[key]) for key in sorted(names, key=int)) if self.heads else ()
        return () if all(re.fullmatch(r"LABEL_\d+", name) for name in ordered) else ordered

    @cached_property
    def ties(self) -> Mapping[str, str]:
        """The names of tied parameters that have no tensor of their own -> the name that has."""
        return {name: first for name, first in self.skeleton.ties.items() if name not in self.stored}

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter as the model stores it, read from its file."""
        return self.stored[self.ties.get(parameter, parameter)].read()

    def transposed(self, parameter: str) -> bool:
        """Whether the model stores a parameter as `[in, out]`."""
        return parameter in self.skeleton.transposed

    def has(self, parameter: str) -> bool:
        """Whether the model has a parameter of this name."""
        return parameter in self.skeleton.shapes or parameter in self.skeleton.ties


def config_of(settings: Mapping[str, Any]) -> Any:  # noqa: ANN401  (a config of transformers)
    """The config of transformers that settings stand for.

    Args:
        settings: The content of a config.json whose `model_type` transformers has.
    """
    from transformers import CONFIG_MAPPING

    return CONFIG_MAPPING[settings["model_type"]].from_dict(dict(settings))


def _read_config(file: Path) -> dict[str, Any]:
    """A model's config.json."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise TypeError(f"a {type(value).__name__}")
    except (OSError, ValueError, TypeError, RecursionError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise AdapterError(
            f"cannot read {file}",
            expected="a JSON object",
            got=got,
            remedy="give the folder that save_pretrained of transformers wrote",
        ) from error
    return value


def _by_parameter(
    tensors: Mapping[str, StoredTensor], skeleton: Skeleton, folder: Path, *, strict: bool
) -> dict[str, StoredTensor]:
    """Tensors by the names of the model's parameters; buffers are left out."""
    found, unknown = _named(tensors, skeleton)
    if skeleton.conversions and (unknown or skeleton.task_type == IMAGES or are_single(list(tensors))):
        tensors = stacked(tensors, skeleton.conversions)
        found, unknown = _named(tensors, skeleton)
    if strict and unknown:
        raise _left_over([found[name].name for name in unknown], folder)
    return {name: tensor for name, tensor in found.items() if name not in unknown}


def _named(tensors: Mapping[str, StoredTensor], skeleton: Skeleton) -> tuple[dict[str, StoredTensor], set[str]]:
    """Tensors by the names of parameters, without those that are ignored; and the names that are no parameter's."""
    prefixed = any(name.startswith(skeleton.prefix) for name in tensors)
    named = [(skeleton.name_of(name, prefixed=prefixed), tensor) for name, tensor in tensors.items()]
    found = {name: tensor for name, tensor in named if name is not None}
    return found, {name for name in found if name not in skeleton.shapes and name not in skeleton.ties}


def _left_over(names: list[str], folder: Path) -> AdapterError:
    """The error for tensors that are no parameters; experts that lie one by one have a reason of their own."""
    if are_single(names):
        return AdapterError(
            f"the experts of the model in {folder} cannot be read",
            expected="the experts of a layer as one stacked tensor, as the model holds them in memory",
            got=f"{listed(names)}: experts one by one, of which some are missing or differ in shape or dtype, or which"
            " transformers stacks in a way that is not known",
            remedy="load the model with transformers, write save_file(model.state_dict(), FILE) of safetensors.torch in"
            " the place of its weights, and give that folder; or train adapters of the experts (target_parameters)",
        )
    return AdapterError(
        f"the model in {folder} holds tensors that would not be used",
        expected="the parameters of the model that its config.json describes",
        got=listed(names),
        remedy="load it with this version of transformers, and save it again",
    )


def _without_copies(stored: Mapping[str, StoredTensor], skeleton: Skeleton) -> dict[str, StoredTensor]:
    """One tensor for tied parameters, under the first name; several only where they differ."""
    kept = dict(stored)
    for name, first in skeleton.ties.items():
        if name not in kept:
            continue
        if first not in kept:
            kept[first] = kept.pop(name)
        elif kept[name].shape == kept[first].shape and torch.equal(kept[name].read(), kept[first].read()):
            del kept[name]
    return kept


def _check(stored: Mapping[str, StoredTensor], skeleton: Skeleton, folder: Path) -> None:
    """Raise unless all parameters are there, in shape, as numbers; a head may be left out as a whole."""
    wanted = set(skeleton.shapes)
    without = {name for name in wanted if skeleton.prefix and not name.startswith(skeleton.prefix)}
    if not without & stored.keys():
        wanted -= without  # the model was saved without its head
    if missing := wanted - stored.keys():
        raise AdapterError(
            f"the model in {folder} lacks weights",
            expected=f"all {len(wanted)} parameters that its config.json describes",
            got=f"nothing for {listed(missing)}",
            remedy="load it with this version of transformers, and save it again",
        )
    shapes = {**skeleton.shapes, **{name: skeleton.shapes[first] for name, first in skeleton.ties.items()}}
    odd = [
        f"{name} {list(one.shape)} for {list(shapes[name])}"
        for name, one in stored.items()
        if one.shape != shapes[name]
    ]
    odd += [f"{name} of {one.dtype}" for name, one in stored.items() if not one.dtype.is_floating_point]
    if odd:
        raise AdapterError(
            f"the model in {folder} holds tensors that do not fit its config.json",
            expected="floating point numbers in the shapes that the config gives"
            " (a quantised checkpoint cannot be an end of a path)",
            got=listed(odd),
            remedy="use the config.json that was saved with these weights"
            + ("; shapes [0] are what DeepSpeed ZeRO-3 leaves when saved without gathering" if _empty(stored) else ""),
        )


def _empty(stored: Mapping[str, StoredTensor]) -> bool:
    """Whether a tensor has no elements."""
    return any(one.numel == 0 for one in stored.values())

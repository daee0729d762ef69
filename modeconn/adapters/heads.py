"""Whose head counts at a point of a path: classification heads and other modules that checkpoints saved whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.adapters.kinds.kind import PREFIX
from modeconn.adapters.skeleton import LANGUAGE_MODELS
from modeconn.adapters.stored import LoadedTensor, StoredTensors
from modeconn.errors import AdapterError, listed

Heads = Literal["shared", "own", "skip"]


def under_policy(points: Sequence[Adapter], heads: Heads | None) -> tuple[Adapter, ...]:
    """The points with the heads that a policy gives them.

    Args:
        points: The control points of a path, the start first.
        heads: None leaves heads as coordinates of the path. "shared": the start's head all along. "skip": none, so
            that the base's stays. "own", of classifiers only: the start's; for tasks that only the end's head knows,
            the path is taken once more with the end's (see `with_heads_of`).

    Raises:
        AdapterError: If the policy is unknown, or it is "own" and a point is a language model.
    """
    if heads is None:
        return tuple(points)
    if heads not in get_args(Heads):
        raise AdapterError(
            f"unknown policy for heads {heads!r}",
            expected=" or ".join(get_args(Heads)),
            got=repr(heads),
            remedy='use heads="shared" to take the start\'s head all along the path',
        )
    if heads == "own":
        _check_classifiers(points)
    if heads == "skip":
        return tuple(without_heads(point) for point in points)
    return tuple(with_heads_of(point, points[0]) for point in points)


def _check_classifiers(points: Sequence[Adapter]) -> None:
    """Raise if a point is known to be a language model: its output layer does not know the labels of a task."""
    others = [f"{one.name} of {one.config.task_type}" for one in points if one.config.task_type in LANGUAGE_MODELS]
    if others:
        raise AdapterError(
            'heads="own" is for classifiers only',
            expected="checkpoints whose heads have named classes, of which a task's labels tell the head",
            got=listed(others),
            remedy='use heads="shared" for the start\'s saved modules all along, or heads="skip" for the base\'s',
        )


def without_heads(point: Adapter) -> Adapter:
    """The point without its saved modules."""
    bare = replace(point, saved={}, provenance={k: v for k, v in point.provenance.items() if k != "labels"})
    return with_heads_of(point, replace(bare, config=_saving(point, None)))


def with_heads_of(point: Adapter, other: Adapter) -> Adapter:
    """The point with another's saved modules, and the names of their classes, in the place of its own.

    Args:
        point: What gives the updates.
        other: What gives the head.
    """
    if other is point:
        return point
    labels = {key: value for key, value in other.provenance.items() if key == "labels"}
    return replace(
        point,
        saved=other.saved,
        own=_own_tensors(point, other),
        config=_saving(point, other.config.modules_to_save or None),
        provenance={**{k: v for k, v in point.provenance.items() if k != "labels"}, **labels},
        source=None,
    )


def _saving(point: Adapter, modules: Sequence[str] | None) -> AdapterConfig:
    """A point's settings with other modules to save."""
    raw = {**point.config.raw, "modules_to_save": None if modules is None else list(modules)}
    return AdapterConfig.parse(raw, point.config.origin)


def _prefix(*points: Adapter) -> str:
    """What stands before a saved module's name in the files: files of prompts are named otherwise."""
    for point in points:
        for name in point.saved:
            found = {key.removesuffix(name) for key in point.own or () if key.endswith(name)}
            for prefix in (PREFIX, "base_model.", ""):
                if prefix in found:
                    return prefix
    return PREFIX


def _own_tensors(point: Adapter, other: Adapter) -> Mapping[str, torch.Tensor] | None:
    """The tensors of a point's file with another's saved modules; None for a combination, which has no file."""
    if point.own is None:
        return None
    modules = point.config.modules_to_save
    if isinstance(point.own, StoredTensors):
        kept = {name: one for name, one in point.own.stored.items() if name not in point.saved}
        return StoredTensors({**kept, **{name: LoadedTensor.of(name, value) for name, value in other.saved.items()}})
    prefix = _prefix(point, other)
    kept = {name: one for name, one in point.own.items() if not any(f".{module}." in f".{name}" for module in modules)}
    return {**kept, **{prefix + name: value for name, value in other.saved.items()}}

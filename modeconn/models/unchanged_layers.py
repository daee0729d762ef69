"""Which of a model's first layers no point changes.

Adapters of the upper layers, a trained head, and full fine-tunes with frozen layers change nothing below their first
changed layer.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.part import BaseWeights
from modeconn.adapters.ties import with_ties
from modeconn.adapters.update import Update
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.full import tied_names
from modeconn.models.last_layer import layers_of
from modeconn.models.lower_layers import LowerLayers
from modeconn.models.placing import Weights
from modeconn.models.point_model import PointModel

_LEAST_ROOM = 64 * 2**20
_SHARE_OF_WEIGHTS = 8


@contextmanager
def sharing_layers(model: PointModel, layers: LowerLayers | None) -> Iterator[None]:
    """A context in which a model evaluates points of one sweep only, which share layers.

    Args:
        model: The model.
        layers: From `lower_layers`; nothing is shared without them.
    """
    with model.sweep.sharing(layers) if isinstance(model, AdapterModel) else nullcontext():
        yield


def lower_layers(model: PointModel, points: Sequence[Adapter]) -> LowerLayers | None:
    """The layers that no combination of points changes; None where there is none, or a limit of the memory is set.

    The last layer is never among them, as it may run at the scored positions only.

    Args:
        model: The model.
        points: The control points; each must fit the model.
    """
    if not isinstance(model, AdapterModel) or model.memory.limit is not None:
        return None
    module: Any = model.module
    layers = None if bool(module.config.is_encoder_decoder) else layers_of(module)  # those have two lists of layers
    if layers is None or not all(point.config.kind.has_update for point in points):
        return None
    base, ties = Weights(module), tied_names(module)
    points = [with_ties(point.within(base), ties) for point in points]
    prefix = next(name for name, one in module.named_modules() if one is layers) + "."
    named = {name for point in points for name in (*point.updates, *point.saved)}
    changed = partial(_is_changed, points=points, base=base)
    count = 0
    while count < len(layers) - 1 and not any(map(changed, sorted(_of(f"{prefix}{count}.", named)))):
        count += 1
    if count == 0:
        return None
    elsewhere = {name for name in named if not name.startswith(prefix)}
    later = {name for name in elsewhere if changed(name)}
    below = {name for number in range(count) for name in _of(f"{prefix}{number}.", named)}
    return LowerLayers(
        tuple(layers[:count]),
        frozenset(_together(below | (elsewhere - later), [named.intersection(group) for group in ties])),
        tuple({module.get_submodule(name.rpartition(".")[0]) for name in later}),
        max(_LEAST_ROOM, sum(one.nbytes for one in module.parameters()) // _SHARE_OF_WEIGHTS),
    )


def _together(unchanged: set[str], ties: Sequence[set[str]]) -> set[str]:
    """The names without those that are tied to a changed one: a point that brings only one of two moves both."""
    return unchanged - {name for group in ties if not group <= unchanged for name in group}


def _of(prefix: str, names: set[str]) -> set[str]:
    """The names that begin so."""
    return {name for name in names if name.startswith(prefix)}


def _is_changed(name: str, *, points: Sequence[Adapter], base: BaseWeights) -> bool:
    """Whether a point changes a parameter."""
    if any(name in point.saved for point in points):
        return True
    updates = [point.updates[name] for point in points if name in point.updates]
    return not _are_of_base(updates, name, base)


def _are_of_base(updates: Sequence[Update], name: str, base: BaseWeights) -> bool:
    """Whether updates are those of full fine-tunes which left a parameter as it is in the base.

    They must be equal before they are rounded to the base's dtype: a combination of others may be rounded otherwise.
    """
    if not base.has(name) or not all(update.replaces for update in updates):
        return False
    weight = base.weight(name)
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    values = (update.replacement(wide) for update in updates)  # one at a time
    first = next(values)
    if first.shape != weight.shape or not torch.equal(first.to(weight.dtype), weight):
        return False
    return all(one.shape == first.shape and torch.equal(one, first) for one in values)

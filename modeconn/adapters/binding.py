"""Points bound to a base: updates that know the sizes, or the weights, that they are functions of."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from modeconn.adapters.kinds.lora import combined_config
from modeconn.adapters.part import BaseWeights
from modeconn.adapters.update import Update

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter


def within(point: "Adapter", base: BaseWeights) -> "Adapter":
    """The same point for one base: see `Adapter.within`."""
    found = {name: update.within(base, name) for name, update in point.updates.items()}
    if all(found[name] is update for name, update in point.updates.items()):
        return point
    return _with_updates(point, {name: update for name, update in found.items() if update.parts})


def bound(point: "Adapter", base: BaseWeights) -> "Adapter":
    """The same point with updates that no longer need the base: see `Adapter.on`."""
    if not point.needs_base:
        return point
    updates = {
        name: update.on(base.weight(name), transposed=base.transposed(name)) if update.needs_base else update
        for name, update in within(point, base).updates.items()
    }
    return _with_updates(point, updates)


def _with_updates(point: "Adapter", updates: Mapping[str, Update]) -> "Adapter":
    """The same point whose updates know more; the ranks in a combination's settings follow them."""
    raw = point.config.raw if point.own is not None else combined_config(point.config, updates)
    return replace(point, updates=updates, config=replace(point.config, raw=raw))

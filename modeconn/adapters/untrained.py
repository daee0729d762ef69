"""Checkpoints that change nothing, where only the base tells: PiSSA, OLoRA, LN tuning before the first step."""

from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.initial import SinceStart
from modeconn.adapters.part import BaseWeights
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter

_ROUNDING = 1e-5  # relative, of factors that were taken out of the base in float32


def check_changes(point: "Adapter", base: BaseWeights) -> None:
    """Raise if a checkpoint turns out to change nothing, unless it was loaded with `allow_zero`.

    Args:
        point: The checkpoint; combinations pass.
        base: The base's weights.

    Raises:
        AdapterError: If every update is zero.
    """
    if not point.allow_zero and changes_nothing(point, base):
        raise AdapterError(
            f"{point.name} changes nothing",
            expected="a weight update that is not zero",
            got=f"{len(point.updates)} updates ({point.config.kind.name}), all zero against this base, as they are"
            " before the first training step",
            remedy="give a trained checkpoint, or pass allow_zero=True for one saved before training",
        )


def changes_nothing(point: "Adapter", base: BaseWeights) -> bool:
    """Whether every update of a point is zero, which for some kinds only the base tells.

    Parameters are looked at one after the other, up to the first that changes: of a trained checkpoint, one.

    Args:
        point: The point; full fine-tunes count as changes, as the base itself may be one.
        base: The base's weights.
    """
    if point.replaces or not point.updates:
        return False
    return all(_is_zero(update, name, base) for name, update in point.updates.items())


def _is_zero(update: Update, name: str, base: BaseWeights) -> bool:
    """Whether an update of a base's parameter is zero."""
    if all(part.is_zero or (part.optional and not base.has(name)) for part in update.parts):
        return True
    if not update.needs_base or not base.has(name):
        return False
    weight, transposed = base.weight(name), base.transposed(name)
    if any(isinstance(part, SinceStart) for part in update.parts):
        trained = Update.of(*(part.factors if isinstance(part, SinceStart) else part for part in update.parts))
        change = update.on(weight, transposed=transposed)
        return change.inner(change) <= _ROUNDING**2 * trained.inner(trained)
    # Looked at as the model holds it: a copy of the base's numbers is one in the base's dtype as well.
    return not torch.count_nonzero(update.within(base, name).dense(weight, transposed=transposed))

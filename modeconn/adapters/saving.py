"""Which points can be saved as adapters, and with what settings."""

import math
from typing import TYPE_CHECKING, Any

from modeconn.adapters.kinds.kind import PREFIX
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter


def check_savable(point: "Adapter") -> None:
    """Raise unless an adapter's file can hold a point."""
    if point.saved and not math.isclose(point.weight_sum, 1.0):
        raise _refusal(
            point,
            expected="a combination whose coefficients sum to 1, because it holds saved modules"
            f" ({listed(point.saved)})",
            got=f"coefficients that sum to {point.weight_sum:g}",
            remedy="add the difference to a checkpoint first",
        )
    if point.replaces:
        raise _refusal(
            point,
            expected="changes that an adapter can hold",
            got="the weights of a full fine-tune",
            remedy="write a full model, export_merged(point, folder), or the nearest adapter, truncated(point, rank,"
            " base=...); on the command line modeconn export --merged or --rank",
        )
    if not (point.updates or point.own) and point.config.kind.has_update:
        raise _refusal(
            point,
            expected="a point with an update",
            got="a combination in which every update cancels",
            remedy="the base model itself is that point",
        )


def settings_to_save(point: "Adapter") -> dict[str, Any]:
    """The content of adapter_config.json; without a head it is no classifier, which PEFT could not load."""
    raw = dict(point.config.raw)
    if raw.get("task_type") == "SEQ_CLS" and not point.saved and not raw.get("modules_to_save"):
        raw["task_type"] = None
    return raw


def copy_name(parameter: str) -> str:
    """PEFT's name of a base weight that is saved beside the adapter."""
    module, _, leaf = parameter.rpartition(".")
    return f"{PREFIX}{module}.base_layer.{leaf}"


def is_of_base(name: str, copies: set[str]) -> bool:
    """Whether a tensor of a file is a base weight: a copy, or what PiSSA left of one, which loading makes again."""
    return name in copies or name.endswith(".base_layer.weight")


def _refusal(point: "Adapter", *, expected: str, got: str, remedy: str) -> AdapterError:
    """The error for a point that cannot be saved."""
    return AdapterError(f"cannot save {point.name} as an adapter", expected=expected, got=got, remedy=remedy)

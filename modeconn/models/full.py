"""What is special about full fine-tunes in a model: tied weights, and weights that the base must not add to."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModelError, listed


def tied_names(model: nn.Module) -> list[list[str]]:
    """The names of each parameter that has several."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return [group for group in names.values() if len(group) > 1]


def given_by_all(adapters: Sequence[Adapter]) -> set[str]:
    """The parameters that the points bring along: the base's own values are never used."""
    saved = {name for adapter in adapters for name in adapter.saved}
    replaced = [{name for name, one in adapter.updates.items() if one.replaces} for adapter in adapters]
    return saved | set.intersection(*replaced) if replaced else saved


def check_whole(model: nn.Module, point: Adapter, absent: Collection[str], base_name: str) -> None:
    """Raise unless a point and its base make a whole model.

    A point brings along what the base lacks, such as a classification head; a full fine-tune, every weight of the
    backbone, and its weights are tied as the model's are.

    Args:
        model: The base model.
        point: The point.
        absent: The parameters that the base lacks; they hold random values.
        base_name: How messages call the base.

    Raises:
        ModelError: If weights would be left at random values, or at the base's.
    """
    lacking = set(absent) - given_by_all([point])
    if lacking:
        raise ModelError(
            f"{point.name} lacks weights that the base model {base_name} lacks as well",
            expected=f"values for {listed(absent)}",
            got=f"none for {listed(lacking)}; the model holds random ones there",
            remedy='give a base that has them, or a path with heads="shared" (--heads)',
        )
    if point.config.kind.name == "FULL":
        _check_full(model, point, base_name)


def _check_full(model: nn.Module, point: Adapter, base_name: str) -> None:
    """Raise unless a full fine-tune gives every weight of the model's backbone, and is tied as the model is."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    given = {id(parameters[name]) for name in (*point.updates, *point.saved)}
    prefix: Any = getattr(model, "base_model_prefix", "")
    prefix = f"{prefix}." if prefix and hasattr(model, prefix) else ""
    missing = [name for name, one in parameters.items() if name.startswith(prefix) and id(one) not in given]
    ties: Mapping[str, str] = point.config.raw.get("ties") or {}
    missing += [
        f"{name} (it is {first} there)"
        for name, first in ties.items()
        if name in parameters and parameters[name] is not parameters[first]
    ]
    if missing:
        raise ModelError(
            f"{point.name} and the base model {base_name} are not of one architecture",
            expected="a full fine-tune with a tensor for every weight of the base",
            got=f"none for {listed(missing)}",
            remedy="give the base that it was trained on; of full fine-tunes any one serves as the base",
        )

"""Vocabularies that grew in training: rows of the embedding and of the head that the base does not have."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import FullModel
from modeconn.errors import ModelError
from modeconn.models.offloaded import is_spread


def fit_vocabulary(module: Any, adapters: Sequence[Adapter]) -> bool:  # noqa: ANN401  (a model of transformers)
    """Give a base as many rows as its points' embeddings have, where all of them bring one of the same size along.

    The base's new rows are 0, and never seen: every point puts its own in their place. Where the points differ, or
    one of them has no rows of its own, nothing is done, and the fit is refused with both shapes.

    Args:
        module: The base model; resized in place.
        adapters: The points.

    Returns:
        Whether the number of rows changed.

    Raises:
        ModelError: If rows would have to be added to a base that is spread over devices.
    """
    table: Any = module.get_input_embeddings()
    names = [name for name, one in module.named_parameters(remove_duplicate=False) if one is table.weight]
    sizes = {_rows(point, names) for point in adapters}
    rows = sizes.pop() if len(sizes) == 1 else None
    before = int(table.weight.shape[0])
    if rows is None or rows == before:
        return False
    if is_spread(module):
        raise ModelError(
            "the base model's vocabulary cannot be changed where it is spread over devices",
            expected=f"points with the base's {before} tokens, or a base on one device",
            got=f"points with {rows} tokens and the device map {dict(module.hf_device_map)}",
            remedy="load the base on one device (leave device_map, --device-map out)",
        )
    module.resize_token_embeddings(rows, mean_resizing=False)
    with torch.no_grad():
        for layer in (module.get_input_embeddings(), module.get_output_embeddings()):
            for parameter in layer.parameters() if layer is not None else ():
                parameter[before:] = 0
    module.requires_grad_(False)
    return True


def other_vocabulary(base: FullModel, point: Adapter) -> tuple[int, int] | None:
    """How many rows the embedding has that a point brings along, and how many the base's; None where they agree.

    Args:
        base: The base, of which nothing is read but its config.
        point: The point.
    """
    before = base.settings.get("vocab_size")
    tables = {
        name for name in base.skeleton.tables if base.skeleton.shapes[base.skeleton.ties.get(name, name)][0] == before
    }
    tied = {name for name, first in base.skeleton.ties.items() if first in tables or name in tables}
    rows = _rows(point, sorted(tables | tied))
    return None if rows is None or before is None or rows == before else (rows, int(before))


def resized(shapes: Mapping[str, tuple[int, ...]], base: FullModel, point: Adapter) -> dict[str, tuple[int, ...]]:
    """The shapes that a base's parameters have once it has as many rows as a point brings along.

    Args:
        shapes: Those of the base's parameters, as they are.
        base: The base.
        point: The point.
    """
    rows = other_vocabulary(base, point)
    if rows is None:
        return dict(shapes)
    after, before = rows
    return {name: (after, *shape[1:]) if shape[:1] == (before,) else shape for name, shape in shapes.items()}


def _rows(point: Adapter, names: Sequence[str]) -> int | None:
    """The rows of the embedding that a point brings along; None where it leaves the base's."""
    shapes = [tuple(point.saved[name].shape) for name in names if name in point.saved]
    shapes += [point.updates[name].shape for name in names if name in point.updates and point.updates[name].replaces]
    return shapes[0][0] if shapes else None

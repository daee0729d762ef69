"""The rows of the tables: one matrix of one point, one matrix of two."""

import re
from collections.abc import Mapping

import torch

from modeconn.geometry.comparison import Change, Shared, compare
from modeconn.geometry.spectrum import effective_rank, stable_rank

_NUMBER = re.compile(r"(?<=[.\[])\d+(?=[.\]])")


def place_of(parameter: str) -> dict[str, object]:
    """Where a parameter is: its name, its name with * for numbers, and the number of its layer.

    Example:
        >>> place_of("model.layers.3.mlp.experts.up_proj[7]")["module"], place_of("lm_head.weight")["layer"]
        ('model.layers.*.mlp.experts.up_proj[*]', None)
    """
    numbers = _NUMBER.findall(parameter)
    return {
        "parameter": parameter,
        "module": _NUMBER.sub("*", parameter),
        "layer": int(numbers[0]) if numbers else None,
    }


def by_place(parameter: str) -> list[tuple[bool, int, str]]:
    """What parameters are sorted by, so that layer 10 comes after layer 9.

    Example:
        >>> sorted(["layers.10.q", "layers.9.q", "lm_head"], key=by_place)
        ['layers.9.q', 'layers.10.q', 'lm_head']
    """
    return [(not part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"[.\[\]]", parameter)]


def module_row(change: Change, base_norm: float | None) -> dict[str, object]:
    """The measures of one change; a vector has a norm only.

    Args:
        change: The change.
        base_norm: The Frobenius norm of the base's parameter, if it is at hand.
    """
    found, (rows, columns) = change.decomposition, change.matrix.shape
    norm, vector = found.square**0.5, change.matrix.is_vector
    return {
        "num_rows": rows,
        "num_columns": columns,
        "rank": None if vector else found.rank,
        "norm": norm,
        "base_norm": base_norm,
        "relative_norm": norm / base_norm if base_norm else None,
        "spectral_norm": None if vector else _first(found.values),
        "stable_rank": None if vector else stable_rank(found.values),
        "effective_rank": None if vector else effective_rank(found.values),
    }


def pair_row(first: Change, second: Change) -> dict[str, object]:
    """What two changes of one matrix share."""
    found = compare(first, second)
    row: dict[str, object] = {
        "cosine": found.cosine,
        "sign_agreement": found.sign_agreement,
        "signed_entries": found.entries * (found.agreeing + found.opposed) // max(len(first.signs), 1),
        "directions": found.columns.directions if found.columns else 0,
    }
    for side, shared in (("column", found.columns), ("row", found.rows)):
        row |= _of_side(side, shared, found.squares)
    return row


def _of_side(side: str, shared: Shared | None, squares: tuple[float, float]) -> Mapping[str, object]:
    """What is shared of the column or of the row spaces."""
    names = [f"{side}_overlap", f"{side}_chance", f"{side}_angle"]
    names += [f"first_in_second_{side}s", f"second_in_first_{side}s"]
    if shared is None:
        return dict.fromkeys(names)
    shares = [held / square for held, square in zip(shared.held, squares, strict=True)]
    return dict(zip(names, [shared.overlap, shared.chance, shared.least_angle, *shares], strict=True))


def _first(values: torch.Tensor) -> float:
    """The largest singular value; 0 of a change that is 0."""
    return float(values[0]) if len(values) else 0.0

"""What the tables say, in sentences: what is large, what overlaps, beside what chance would give."""

from typing import Any

import numpy as np
import pandas as pd

from modeconn.geometry.measure import Geometry
from modeconn.geometry.selecting import numbers, rows_of

_MOST = 6  # points, and pairs, of which there is a paragraph each
_FAR_FROM_CHANCE = 2.0  # times the overlap of random subspaces


def reading(geometry: Geometry) -> list[str]:
    """The tables in plain sentences, the numbers included.

    Args:
        geometry: The tables.

    Returns:
        A paragraph on each point (size, ranks, where the most of it is, the base's directions) and on each pair; of
        many points the largest, of many pairs those with the largest cosines.
    """
    points = geometry.points.sort_values("norm", ascending=False, kind="stable")
    shown = [str(name) for name in points["point"].head(_MOST)]
    sentences = []
    for row in geometry.points.to_dict("records"):
        if row["point"] in shown:
            own = rows_of(geometry.modules, point=row["point"])
            sentences.append(" ".join([_on_size(row, own), *_on_places(row, own), *_on_base(row)]))
    if len(points) > _MOST:
        sentences.append(f"{len(points) - _MOST} more points are smaller; points.csv has them.")
    pairs = geometry.pairs.assign(size=geometry.pairs["cosine"].abs())
    pairs = pairs.sort_values("size", ascending=False, kind="stable")
    sentences += [_on_pair(row) for row in pairs.head(_MOST).to_dict("records")]
    if len(pairs) > _MOST:
        sentences.append(f"{len(pairs) - _MOST} more pairs have smaller cosines; pairs.csv has them.")
    return sentences


def _on_size(row: dict[Any, Any], own: pd.DataFrame) -> str:
    """How large an update is, and of how many directions."""
    known = pd.notna(row["relative_norm"])
    relative = f", {_percent(row['relative_norm'])} of the base's weights there" if known else ""
    rank, effective, stable = (numbers(own, column) for column in ("rank", "effective_rank", "stable_rank"))
    there = rank > 0  # not so of vectors, whose rank is missing
    ranks = (
        f" In the middle of its matrices {np.median(effective[there]):.1f} of {np.median(rank[there]):.0f}"
        f" directions count (effective rank; stable rank {np.median(stable[there]):.1f})."
        if there.any()
        else ""
    )
    return f"{row['point']} changes {_count(row)} by {row['norm']:.3g} in all{relative}.{ranks}"


def _count(row: dict[Any, Any]) -> str:
    """How many matrices and vectors."""
    found = [(row["num_matrices"], "matrix", "matrices"), (row["num_vectors"], "vector", "vectors")]
    told = [f"{count} {one if count == 1 else many}" for count, one, many in found if count]
    return " and ".join(told)


def _on_places(row: dict[Any, Any], own: pd.DataFrame) -> list[str]:
    """Where most of an update is."""
    total = row["norm"] ** 2
    if not total:
        return []
    parts = []
    for places in (own["module"].tolist(), _layers(own)):
        shares: dict[str, float] = {}
        for place, norm in zip(places, numbers(own, "norm").tolist(), strict=True):
            if place:
                shares[place] = shares.get(place, 0.0) + norm**2 / total
        if len(shares) > 1:
            place = max(shares, key=lambda one: shares[one])
            even = _percent(1 / len(shares))
            parts.append(f"{place} ({_percent(shares[place])}; an even share is {even})")
    return [f"Most of its square lies in {' and in '.join(parts)}."] if parts else []


def _layers(own: pd.DataFrame) -> list[str]:
    """The layers in words, empty where there is none; by name where a model has several stacks, as of a decoder."""
    numbered = own["layer"].notna().tolist()
    stacks = [str(module).partition("*")[0] for module in own["module"]]
    several = len({stack for stack, there in zip(stacks, numbered, strict=True) if there}) > 1
    return [
        (f"{stack}{layer}" if several else f"layer {layer}") if there else ""
        for stack, layer, there in zip(stacks, own["layer"].tolist(), numbered, strict=True)
    ]


def _on_base(row: dict[Any, Any]) -> list[str]:
    """What an update has of the base's singular directions."""
    if not row.get("looked_at"):
        return []
    outputs, inputs = (
        f"{_percent(row[f'top_{side}'])} in the largest and {_percent(row[f'bottom_{side}'])} in the smallest"
        f" (by chance {_percent(row[f'{side}_by_chance'])})"
        for side in ("columns", "rows")
    )
    cosine = row["least_resemblance"]
    return [
        f"Of its square, by the base's singular directions: outputs {outputs}; inputs {inputs}.",
        f"{row['intruders']} of the {row['looked_at']} largest directions of its changed weights are intruders;"
        f" the strangest has the cosine {cosine:.2f} with its nearest direction of the base.",
    ]


def _on_pair(row: dict[Any, Any]) -> str:
    """What two updates share."""
    names = f"{row['first']} and {row['second']}"
    if not row["num_shared"]:
        return f"{names} change no matrix in common."
    if pd.isna(row["column_overlap"]):
        return f"{names}: cosine {row['cosine']:.3f}."
    sides = [
        f"{side} spaces overlap by {row[f'{side}_overlap']:.3f} ({_against(row, side)})" for side in ("column", "row")
    ]
    return (
        f"{names}: cosine {row['cosine']:.3f}, {_percent(row['sign_agreement'])} of the entries have one sign;"
        f" {sides[0]}, {sides[1]}."
        f" {_percent(row['second_in_first_rows'])} of the square of {row['second']} acts on the inputs that"
        f" {row['first']} reads, {_percent(row['second_in_first_columns'])} on the outputs that it writes."
    )


def _percent(share: float) -> str:
    """A share with two digits, or as a whole number.

    Example:
        >>> _percent(0.00345), _percent(0.345), _percent(1.5)
        ('0.34 %', '34 %', '150 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"


def _against(row: dict[Any, Any], side: str) -> str:
    """An overlap beside that of random subspaces."""
    overlap, chance = row[f"{side}_overlap"], row[f"{side}_chance"]
    if chance >= 1:
        return "as any two of this size"
    times = overlap / chance
    much = f"{times:.3g} times" if times >= _FAR_FROM_CHANCE else "about" if times > 1 / _FAR_FROM_CHANCE else "below"
    return f"{much} chance, {chance:.3f}"

"""All matrices of a point as one: the measures of their block-diagonal matrix, from the tables by module."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from modeconn.geometry.selecting import numbers, rows_of, weighted_mean
from modeconn.geometry.spectrum import effective_rank, stable_rank

_SHARES = ("top_columns", "bottom_columns", "columns_by_chance", "top_rows", "bottom_rows", "rows_by_chance")
_PAIR = ("first", "second")


def point_totals(modules: pd.DataFrame, spectra: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """One row for each point.

    The singular values of a block-diagonal matrix are those of its blocks; shares in the base's directions are weighted
    by the blocks' squared norms.

    Args:
        modules: Rows by module.
        spectra: The singular values.
        names: The points, in order.
    """
    return pd.DataFrame(
        [{"point": name, **_point(rows_of(modules, point=name), rows_of(spectra, point=name))} for name in names]
    )


def _point(own: pd.DataFrame, spectrum: pd.DataFrame) -> dict[str, float]:
    """The totals of one point: its rows by module, and its singular values."""
    values, squares = numbers(spectrum, "value"), numbers(own, "norm") ** 2
    vectors = int(np.isnan(numbers(own, "rank")).sum())
    norm, base_norm = (float(np.square(numbers(own, column)).sum() ** 0.5) for column in ("norm", "base_norm"))
    row = {
        "num_matrices": len(own) - vectors,
        "num_vectors": vectors,
        "rank": len(values),
        "norm": norm,
        "base_norm": base_norm,
        "relative_norm": norm / base_norm if base_norm else np.nan,
        "spectral_norm": float(values.max(initial=0.0)),
        "stable_rank": stable_rank(values),
        "effective_rank": effective_rank(values),
    }
    if "intruders" in own:
        row |= {share: weighted_mean(numbers(own, share), squares) for share in _SHARES}
        row |= {count: int(np.nansum(numbers(own, count))) for count in ("intruders", "looked_at")}
        row["least_resemblance"] = float(np.fmin.reduce(numbers(own, "least_resemblance")))
    return row


def pair_totals(overlaps: pd.DataFrame, modules: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """One row for each pair of points, also of points that change no matrix in common.

    Args:
        overlaps: Rows by pair and module.
        modules: Rows by module, for the norms of what only one of the two changes.
        names: The points, in order.
    """
    norms: dict[str, dict[str, float]] = {}
    for name in names:
        own = rows_of(modules, point=name)
        norms[name] = dict(zip(own["parameter"].tolist(), numbers(own, "norm").tolist(), strict=True))
    rows = [
        {"first": first, "second": second, **_pair(rows_of(overlaps, first=first, second=second), norms, first, second)}
        for first, second in combinations(names, 2)
    ]
    nobody = _pair(overlaps.head(0), {"": {}}, "", "")
    return pd.DataFrame(rows, columns=[*_PAIR, *nobody])


def _pair(own: pd.DataFrame, norms: Mapping[str, Mapping[str, float]], first: str, second: str) -> dict[str, float]:
    """The totals of one pair: its rows by module, and the norms of every point's changes."""
    parameters = own["parameter"].tolist() if len(own) else []
    sizes = [np.array([norms[name][one] for one in parameters]) for name in (first, second)]  # [M] each
    squares = [sum(norm**2 for norm in norms[name].values()) for name in (first, second)]
    inner = float((np.nan_to_num(numbers(own, "cosine")) * sizes[0] * sizes[1]).sum())
    product = (squares[0] * squares[1]) ** 0.5
    row = {
        "num_shared": len(own),
        "cosine": inner / product if product else np.nan,
        "distance": max(squares[0] - 2 * inner + squares[1], 0.0) ** 0.5,
        "sign_agreement": weighted_mean(numbers(own, "sign_agreement"), numbers(own, "signed_entries")),
    }
    for side in ("column", "row"):
        for column in (f"{side}_overlap", f"{side}_chance"):
            row[column] = weighted_mean(numbers(own, column), numbers(own, "directions"))
        for one, other, number in (("first", "second", 0), ("second", "first", 1)):
            column = f"{one}_in_{other}_{side}s"
            held = float((np.nan_to_num(numbers(own, column)) * sizes[number] ** 2).sum())
            row[column] = held / squares[number] if squares[number] else np.nan
    return row

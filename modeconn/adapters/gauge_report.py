"""How much of what separates two points' factors is gauge, as a table."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.factors import Factors, factors_of

Pair = tuple[Adapter, Adapter]
GAUGE_COLUMNS = (
    "parameter", "rank", "distance_before", "distance_after", "gauge_share", "gap_before", "gap_after",
    "function_distance",
)  # fmt: skip


def gauge_report(before: Pair, after: Pair) -> pd.DataFrame:
    """What an alignment removed: one row for each parameter, sorted by name, and last the "total".

    - `rank`: of the aligned factors; 0 for a saved parameter, which has none; the sum in the total.
    - `distance_before`, `distance_after`: L2 distance of the factors, `sqrt(|B_1 - B_0|^2 + |A_1 - A_0|^2)`, with the
      square root of the scaling in each factor and zeros for what a point lacks; of a saved parameter that of its
      values.
    - `gauge_share`: `1 - distance_after^2 / distance_before^2`; negative where the distance grew, missing where it was
      0 before.
    - `gap_before`, `gap_after`: `|(B_1 - B_0)(A_1 - A_0)| / 4`, by how much the midpoint of the line in factors misses
      the mean of the updates.
    - `function_distance`: `|dW_1 - dW_0|`, which no gauge changes.

    Squares add up: distances and gaps in the total are roots of sums of squares.

    Args:
        before: Two points.
        after: The same functions in one gauge.

    Returns:
        The columns of `GAUGE_COLUMNS`.
    """
    rows = sorted([*_update_rows(before, after), *_saved_rows(before)], key=lambda row: row["parameter"])
    measured = ("distance_before", "distance_after", "gap_before", "gap_after", "function_distance")
    total = {column: math.hypot(*(row[column] for row in rows)) for column in measured}
    rows.append({"parameter": "total", "rank": sum(row["rank"] for row in rows), **total})
    for row in rows:
        row["gauge_share"] = _share(row["distance_before"], row["distance_after"])
    return pd.DataFrame(rows, columns=list(GAUGE_COLUMNS))


def _update_rows(before: Pair, after: Pair) -> Iterator[dict[str, Any]]:
    """Rows of the parameters that are updated by factors."""
    for name in after[0].updates:
        new_first, new_second = (factors_of(point, name) for point in after)
        first, second = (
            factors_of(point, name, rank=new_first.rank) if name in point.updates else new_first.zero()
            for point in before
        )
        yield {
            "parameter": name,
            "rank": new_first.rank,
            "distance_before": _distance(first, second),
            "distance_after": _distance(new_first, new_second),
            "gap_before": _gap(first, second),
            "gap_after": _gap(new_first, new_second),
            "function_distance": second.minus(first).norm(),
        }


def _saved_rows(before: Pair) -> Iterator[dict[str, Any]]:
    """Rows of the parameters that are saved whole: there is no gauge, and the lines in both spaces are one."""
    for name in before[0].saved:
        distance = float((before[1].saved[name].double() - before[0].saved[name].double()).norm())
        distances = dict.fromkeys(("distance_before", "distance_after", "function_distance"), distance)
        yield {"parameter": name, "rank": 0, **distances, "gap_before": 0.0, "gap_after": 0.0}


def _share(before: float, after: float) -> float:
    """Which part of a squared distance went away; NaN if there was none."""
    return 1 - (after / before) ** 2 if before > 0 else math.nan


def _distance(first: Factors, second: Factors) -> float:
    """The L2 distance of two pairs of factors of one rank."""
    return math.hypot(*(float((b - a).norm()) for a, b in zip(first, second, strict=True)))


def _gap(first: Factors, second: Factors) -> float:
    """How far the product of the mean factors is from the mean of the updates."""
    return Factors(second.up - first.up, second.down - first.down).norm() / 4

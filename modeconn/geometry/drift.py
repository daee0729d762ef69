"""How updates move over a run of checkpoints."""

import pandas as pd

from modeconn.geometry.selecting import rows_of

_MEASURES = ("distance", "cosine", "column_overlap", "row_overlap")


def drift(points: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Distances and shared subspaces of each point with the first one and with the one before it.

    Args:
        points: The totals of the points, in the order of the run.
        pairs: The totals of all pairs.

    Returns:
        One row for each point: point, norm, travelled (the length of the way from the base through all points up to
        it), and distance, cosine, column_overlap and row_overlap `_from_first` and `_from_previous`. What the first
        point comes from is the base: its distance is its norm, the rest is missing.
    """
    names = [str(name) for name in points["point"]]
    rows, travelled = [], 0.0
    for number, (name, norm) in enumerate(zip(names, points["norm"].tolist(), strict=True)):
        row: dict[str, object] = {"point": name, "norm": norm}
        step = norm
        for where, other in (("first", 0), ("previous", number - 1)) if number else ():
            (found,) = rows_of(pairs, first=names[other], second=name).to_dict("records")
            row |= {f"{measure}_from_{where}": found[measure] for measure in _MEASURES}
            step = found["distance"]
        travelled += step
        rows.append({"point": name, "norm": norm, "travelled": travelled, "distance_from_previous": step, **row})
    return pd.DataFrame(rows)

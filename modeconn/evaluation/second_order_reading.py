"""What the tables of curvature say, in sentences."""

from typing import Any

import numpy as np
import pandas as pd

_MOST = 6  # points and tasks of which there is a sentence each


def second_order_reading(points: pd.DataFrame, along: pd.DataFrame | None = None) -> list[str]:
    """The tables in plain sentences, the numbers included.

    Args:
        points: From `second_order`.
        along: From `curvature_along`, where there is a line.

    Returns:
        A paragraph on each point and task, those of the first six; and one on each task of the line.
    """
    told = [sentence for row in points.head(_MOST).to_dict("records") if (sentence := _on_point(row))]
    if len(points) > _MOST:
        told.append(f"{len(points) - _MOST} more rows are in second_order.csv.")
    tables = [] if along is None else [own for _, own in along.groupby("task", sort=False)]
    return [*told, *map(_on_line, tables)]


def _on_point(row: dict[Any, Any]) -> str:
    """One point and task; empty where nothing was measured."""
    parts = []
    if pd.notna(row["trace"]):
        parts.append(f"its Hessian has the trace {row['trace']:.3g} (standard error {row['trace_error']:.2g})")
    if pd.notna(row["top"]):
        ends = [f"{row[end]:.3g} (within {row[f'{end}_error']:.2g})" for end in ("bottom", "top")]
        parts.append(f"eigenvalues from {' to '.join(ends)}{_kind(row)}")
    if pd.notna(row["sharpness"]):
        highest = f"{row['loss']:.3g} to {row['highest_loss']:.3g}"
        parts.append(f"in a box of {row['box']:g} the loss rises from {highest} (sharpness {row['sharpness']:.3g})")
    if not parts:
        return ""
    about = f"At {row['point']} the loss of {row['task']} is {row['loss']:.3g} nats"
    return f"{about}: {'; '.join(parts)}. Read in the {row['num_parameters']} coordinates of its own tensors."


def _kind(row: dict[Any, Any]) -> str:
    """Whether directions lead down, where the errors of the eigenvalues allow to say it."""
    falls = row["bottom"] + row["bottom_error"] < 0
    rises = row["top"] - row["top_error"] > 0
    if falls and rises:
        return ": it curves up in some directions and down in others"
    return ": it curves down" if falls else ""


def _on_line(own: pd.DataFrame) -> str:
    """Where the loss of one task curves most along a line."""
    inner = own.loc[own["curvature"].notna()]
    values = inner["curvature"].to_numpy(dtype=float)
    high, low = int(np.argmax(values)), int(np.argmin(values))
    t = inner["t"].to_numpy(dtype=float)
    row = own.iloc[0]
    return (
        f"Along {row['path']} (space={row['space']}) the loss of {row['task']} has its largest second derivative at"
        f" t = {t[high]:.2f} ({values[high]:.3g} nats per square of the length) and its smallest at t = {t[low]:.2f}"
        f" ({values[low]:.3g}); {np.mean(values > 0):.0%} of the inner positions are convex."
    )

"""Layers of one point against layers of another, as heat maps."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from modeconn.errors import EvaluationError, listed

from . import cka_heat, cka_table, style, task_panels

_FIGURE = "a layer-by-layer CKA"
_KEYS = ("point", "reference", "task", "layer", "layer_reference")


def plot_cka_layers(frame: pd.DataFrame, *, width: float = style.PAGE_WIDTH) -> Figure:
    """A heat map of CKA between all layers for each task and pair of points; all panels share one scale.

    Args:
        frame: Columns point, reference, task, split, pooling, layer, layer_reference, cka, num_examples, as
            `cka_between` gives them; missing values are grey.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or says a thing twice.
        RunError: It holds several splits or poolings.
    """
    rows = cka_table.checked_cka(frame, figure=_FIGURE, keys=_KEYS)
    pairs = rows[["point", "reference"]].drop_duplicates().to_numpy().tolist()
    matrices = {title: _matrix(own) for title, own in _panels(rows, alone=len(pairs) == 1)}
    point, reference = pairs[0]
    heat = cka_heat.Heat(
        head=[_subject(pairs), cka_table.conditions(rows)],
        x_label=f"layer of {reference}" if len(pairs) == 1 else "layer of the second",
        y_label=f"layer of {point}" if len(pairs) == 1 else "layer of the first",
        limits=cka_table.scale_of(rows["cka"].to_numpy()),
    )
    return cka_heat.draw_heats(matrices, heat, width=width)


def plot_cka_difference(frame: pd.DataFrame, other: pd.DataFrame, *, width: float = style.PAGE_WIDTH) -> Figure:
    """A heat map of the CKA of one table less that of another, between the same layers, for each task.

    Red is more alike in the first, blue in the second; all panels share one scale, the same on both sides of 0.

    Args:
        frame: One pair of points, columns as in `plot_cka_layers`.
        other: Another pair, with the same tasks and layers.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: As for `plot_cka_layers`; or if a table holds several pairs of points, or tasks or layers
            differ.
        RunError: A table holds several splits or poolings.
    """
    tables = [cka_table.checked_cka(one, figure=_FIGURE, keys=_KEYS) for one in (frame, other)]
    pairs = [one[["point", "reference"]].drop_duplicates().to_numpy().tolist() for one in tables]
    sides = [{title: _matrix(own) for title, own in _panels(one, alone=True)} for one in tables]
    _check_alike(pairs, sides)
    matrices = {title: matrix - sides[1][title] for title, matrix in sides[0].items()}
    largest = max(float(np.nanmax(np.abs(matrix.to_numpy()))) for matrix in matrices.values())
    heat = cka_heat.Heat(
        head=[f"CKA of {_told(pairs[0][0])}, less that of {_told(pairs[1][0])}", cka_table.conditions(tables[0])],
        x_label="layer of the second",
        y_label="layer of the first",
        limits=(-largest, largest) if largest > 0 else (-1.0, 1.0),
        cmap=cka_table.DIFFERENCE,
        bar_label="difference of CKA",
    )
    return cka_heat.draw_heats(matrices, heat, width=width)


def _panels(rows: pd.DataFrame, *, alone: bool) -> list[tuple[str, pd.DataFrame]]:
    """Titles and rows of the panels: tasks, or pairs of points and tasks."""
    tasks = task_panels.chosen(rows, None, figure=_FIGURE)
    found = []
    keys = ["point", "reference", "task"]
    for point, reference, task in rows[keys].drop_duplicates().to_numpy().tolist():
        own = rows.query("point == @point and reference == @reference and task == @task")
        pair = _told([point, reference])
        title = task if alone else pair if len(tasks) == 1 else f"{task}: {pair}"
        found.append((title, own))
    return found


def _matrix(rows: pd.DataFrame) -> pd.DataFrame:
    """CKA by layer and layer of the reference, in the order of the table, under short names."""
    layers, others = cka_table.layers_of(rows), cka_table.layers_of(rows, "layer_reference")
    matrix = rows.pivot(index="layer", columns="layer_reference", values="cka").loc[layers, others]
    return pd.DataFrame(matrix.to_numpy(), index=cka_table.short_names(layers), columns=cka_table.short_names(others))


def _told(pair: list[str]) -> str:
    """A pair in words."""
    return f"{pair[0]} and {pair[1]}"


def _subject(pairs: list[list[str]]) -> str:
    """The first line over the panels."""
    return f"CKA of {_told(pairs[0])}" if len(pairs) == 1 else "CKA of pairs of points"


def _check_alike(pairs: list[list[list[str]]], sides: list[dict[str, pd.DataFrame]]) -> None:
    """Raise unless one pair of points can be taken from another."""
    names = [sorted(one) for one in sides]
    same = names[0] == names[1] and all(
        list(sides[0][task].index) == list(sides[1][task].index)
        and list(sides[0][task].columns) == list(sides[1][task].columns)
        for task in names[0]
    )
    if max(map(len, pairs)) > 1 or not same:
        told = [f"{len(pair)} pairs of points on {listed(task)}" for pair, task in zip(pairs, names, strict=True)]
        raise EvaluationError(
            "cannot draw a difference of CKA",
            expected="one pair of points in each table, with the same tasks and layers",
            got=" and ".join(told),
            remedy="select the rows of one point and reference on either side",
        )

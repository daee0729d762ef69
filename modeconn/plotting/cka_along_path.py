"""CKA of every layer with itself at the reference, along a path."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from modeconn.errors import EvaluationError

from . import cka_table, columns, profile_panel, style, task_panels
from .legend import legend_below, legend_height

_FIGURE = "CKA along a path"
_HEIGHT = 1.75  # inches of a panel
_SHOWN = 8  # layers that have a band and stand in the legend, where there are more


def plot_cka_along_path(
    frame: pd.DataFrame, *, layers: Sequence[str] | None = None, width: float = style.PAGE_WIDTH
) -> Figure:
    """A panel for each task with a line for each layer, dark for the first and bright for the last, in its band.

    Of more than 8 layers, 8 have bands and stand in the legend: spread evenly, with the one that falls deepest among
    them.

    Args:
        frame: Columns point, reference, task, split, pooling, layer, layer_reference, t, cka, num_examples, and low and
            high where there are intervals, as `cka_along_path` gives them.
        layers: Which layers, all by default.
        width: Inches: `PAGE_WIDTH` or `COLUMN_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, says a thing twice, compares different layers, or
            has not the layers that are wanted.
        RunError: It holds several splits, poolings or references.
    """
    rows = _checked(frame, layers)
    names = cka_table.layers_of(rows)
    shown = _named(rows, names)
    looks = dict(zip(names, cka_table.depth_colours(len(names)), strict=True))
    tasks = task_panels.chosen(rows, None, figure=_FIGURE)
    with style.paper_style():
        handles = _handles(rows, shown, looks)
        blocks = task_panels.in_rows(tasks, most=max(1, min(3, int(width // 2))))
        across = len(blocks[0])
        room = width / across - profile_panel.LABELS_WIDTH
        first = rows.iloc[0]
        lines = [f"CKA of every layer with itself at {first['reference']}", cka_table.conditions(rows)]
        text = task_panels.head(lines, width=width)
        panel = _HEIGHT + profile_panel.LABELS_HEIGHT + task_panels.title_height(tasks, width=room) + 0.2
        height = len(blocks) * panel + task_panels.head_height(text) + legend_height(handles, width=width)
        figure = style.new_figure(width, height)
        axes = figure.subplots(len(blocks), across, squeeze=False, sharey=True)
        for row, block in zip(axes, blocks, strict=True):
            for number, (ax, task) in enumerate(zip(task_panels.without_rest(row, len(block)), block, strict=True)):
                own = columns.rows_where(rows, (rows["task"] == task).to_numpy())
                _draw_panel(ax, own, looks, shown)
                ax.set_ylabel(cka_table.LABEL if number == 0 else "")
                task_panels.title(ax, task, width=room)
        task_panels.draw_head(figure, text)
        legend_below(figure, handles)
        style.freeze(figure)
    return figure


def _named(rows: pd.DataFrame, names: list[str]) -> list[str]:
    """The layers of the legend: evenly spread, but for the one beside the deepest, which gives its place to it."""
    picked = np.unique(np.linspace(0, len(names) - 1, min(len(names), _SHOWN)).round().astype(int))
    deepest = names.index(rows.groupby("layer")["cka"].min().idxmin())  # type: ignore[arg-type]
    if deepest not in picked:
        inner = picked[1:-1]  # a view: the first and the last layer stay
        inner[np.abs(inner - deepest).argmin()] = deepest
    return [names[number] for number in picked]


def _checked(frame: pd.DataFrame, layers: Sequence[str] | None) -> pd.DataFrame:
    """The rows of layers compared with themselves, in the order of t."""
    rows = cka_table.checked_cka(frame, figure=_FIGURE, keys=("task", "layer", "t"))
    columns.require_range(rows, "t", figure=_FIGURE, keys=("task", "layer"), low=0, high=1)
    columns.pick(rows, "reference", None, figure=_FIGURE, remedy="pass the rows of one reference")
    missing = [] if layers is None else [name for name in layers if name not in set(rows["layer"])]
    if missing or isinstance(layers, str) or (rows["layer"] != rows["layer_reference"]).to_numpy().any():
        raise EvaluationError(
            f"cannot draw {_FIGURE} of these layers",
            expected="rows of a layer and itself, and layers= a list of them",
            got=f"layers={layers!r}" if missing or isinstance(layers, str) else "different layers in a row",
            remedy="pass the table of cka_along_path, and layers as it names them",
        )
    chosen = rows if layers is None else columns.rows_where(rows, rows["layer"].isin(list(layers)).to_numpy())
    chosen = chosen.loc[chosen.groupby("layer", sort=False)["cka"].transform("count").to_numpy() > 0]  # known somewhere
    sides = {side: columns.numbers(chosen, side) for side in ("low", "high") if side in chosen}
    return chosen.assign(t=columns.numbers(chosen, "t"), **sides)


def _draw_panel(ax: Axes, rows: pd.DataFrame, looks: dict[str, str], shown: Sequence[str]) -> None:
    """The lines and bands of a task."""
    for layer, colour in looks.items():
        own = columns.rows_where(rows, (rows["layer"] == layer).to_numpy()).sort_values("t")
        t, value = own["t"].to_numpy(), own["cka"].to_numpy()
        if layer in shown and _has_band(own):
            ax.fill_between(t, own["low"], own["high"], color=colour, alpha=0.15, linewidth=0, zorder=1)
        ax.plot(t, value, color=colour, linewidth=1.2 if layer in shown else 0.6, zorder=2)
    profile_panel.position_axis(ax)
    if (rows["cka"].to_numpy() < 0).any():
        ax.axhline(0, color=style.GREY, linewidth=0.6, linestyle=":", zorder=0.5)
    ax.margins(y=0.04)


def _has_band(rows: pd.DataFrame) -> bool:
    """Whether there are intervals."""
    return {"low", "high"} <= set(rows) and bool(np.isfinite(rows[["low", "high"]].to_numpy(dtype=float)).any())


def _handles(rows: pd.DataFrame, shown: Sequence[str], looks: dict[str, str]) -> list[Line2D | Patch]:
    """The legend: layers from the first to the last, and the intervals."""
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=looks[layer], linewidth=1.6, label=f"layer {name}" if name[0].isdigit() else layer)
        for layer, name in zip(shown, cka_table.short_names(shown), strict=True)
    ]
    if _has_band(rows):
        handles.append(Patch(facecolor=style.GREY, alpha=0.3, linewidth=0, label="interval at one t"))
    return handles

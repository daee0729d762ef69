"""Updates layer by layer: one panel for each kind of module, one line a point."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from modeconn.errors import EvaluationError

from . import columns, style, task_panels
from .chosen_names import chosen_names
from .legend import legend_below, legend_height

_FIGURE = "a layer profile"
_PANEL_HEIGHT, _LABELS = 1.2, 0.5  # inches
_CHANCE = "by chance"
_LABEL_OF = {
    "norm": "norm of the update",
    "relative_norm": "norm of the update /\nnorm of the weight",
    "spectral_norm": "largest singular value",
    "stable_rank": "stable rank",
    "effective_rank": "effective rank",
    "top_columns": "share in the base's\nlargest output directions",
    "top_rows": "share in the base's\nlargest input directions",
    "bottom_columns": "share in the base's\nsmallest output directions",
    "bottom_rows": "share in the base's\nsmallest input directions",
    "intruders": "intruder dimensions",
}


def plot_layer_profile(
    frame: pd.DataFrame,
    *,
    value: str | None = None,
    modules: Sequence[str] | None = None,
    width: float = style.PAGE_WIDTH,
) -> Figure:
    """A measure of the updates over the layers.

    Several matrices of one kind and layer, as those of experts, are one place: norms are added as squares, other
    measures averaged. What belongs to no layer is left out.

    Args:
        frame: Columns point, module, layer and the measure; of shares in the base's directions also what they are by
            chance, columns_by_chance or rows_by_chance.
        value: Which measure: "norm", "relative_norm", "stable_rank", "effective_rank", ...; by default the relative
            norm where it is known, else the norm.
        modules: Which kinds of modules, all by default.
        width: Inches: `COLUMN_WIDTH` or `PAGE_WIDTH`.

    Returns:
        The figure; pyplot does not know it.

    Raises:
        EvaluationError: The table lacks columns, rows or numbers, or nothing in it belongs to a layer.
        RunError: A measure or module that is not in the table.
    """
    rows, measure = _checked(frame, value)
    drawn = chosen_names(rows, "module", modules, figure=_FIGURE)
    lines = task_panels.in_rows(drawn, most=4 if width > style.COLUMN_WIDTH else 2)
    names = short_names(drawn)
    with style.paper_style():
        figure = style.new_figure(width, _LABELS + len(lines) * (_PANEL_HEIGHT + 0.3))
        axes = figure.subplots(len(lines), len(lines[0]), sharex=True, sharey=True, squeeze=False)
        panels = task_panels.without_rest(axes, len(drawn))
        looks = style.looks(rows["point"].drop_duplicates())
        handles: list[Line2D] = []
        for module, ax in zip(drawn, panels, strict=True):
            found = _draw(ax, columns.rows_where(rows, (rows["module"] == module).to_numpy()), measure, looks)
            handles += [line for line in found if line.get_label() not in {one.get_label() for one in handles}]
            task_panels.title(ax, names[module], width=width / len(lines[0]) - 0.35)
        for ax in axes[:, 0]:
            ax.set_ylabel(_LABEL_OF.get(measure, measure.replace("_", " ")))
        for number, ax in enumerate(panels):
            if number + len(lines[0]) >= len(panels):
                ax.set_xlabel("layer")
                ax.tick_params(labelbottom=True)
        panels[0].set_ylim(bottom=0)
        ordered = [line for name in (*looks, _CHANCE) for line in handles if line.get_label() == name]
        figure.set_figheight(figure.get_figheight() + legend_height(ordered, width=width))
        legend_below(figure, ordered)
        style.freeze(figure)
    return figure


def short_names(modules: Sequence[str]) -> dict[str, str]:
    """Module -> its name without the parts that all of them begin and end with, and the numbered lists that all are in.

    Example:
        >>> list(short_names(["layers.*.self_attn.q_proj.weight", "layers.*.mlp.up_proj.weight"]).values())
        ['self_attn.q_proj', 'mlp.up_proj']
        >>> list(short_names(["encoder.block.*.layer.*.attention.q", "decoder.block.*.layer.*.attention.v"]).values())
        ['encoder.attention.q', 'decoder.attention.v']
    """
    parts = {module: module.split(".") for module in modules}
    for end in (0, -1):
        while len({one[end] for one in parts.values()}) == 1 and min(map(len, parts.values())) > 1:
            if len(parts) == 1 and parts[modules[0]][end] not in ("weight", "*", "model", "layers"):
                break  # the only one keeps the parts that say what it is
            for one in parts.values():
                del one[end]
    for place in range(min(map(len, parts.values())) - 2, 0, -1):
        lists = {(one[place], one[place + 1]) for one in parts.values()}
        if len(lists) == 1 and lists.pop()[1] == "*":  # which of them, the axis says
            for one in parts.values():
                del one[place : place + 2]
    return {module: ".".join(one) for module, one in parts.items()}


def _checked(frame: pd.DataFrame, value: str | None) -> tuple[pd.DataFrame, str]:
    """The rows that belong to a layer, and the measure."""
    columns.require_columns(frame, ["point", "module", "layer"], figure=_FIGURE)
    if value is None:
        known = "relative_norm" in frame and bool(frame["relative_norm"].notna().any())
        value = "relative_norm" if known else "norm"
    columns.require_columns(frame, [value], figure=_FIGURE)
    columns.require_names(frame, ["point", "module"], figure=_FIGURE)
    there = frame["layer"].notna().to_numpy() & frame[value].notna().to_numpy()
    rows = columns.rows_where(frame, there)
    if rows.empty:
        raise EvaluationError(
            f"cannot draw {_FIGURE}: nothing belongs to a layer",
            expected=f"rows with a layer and a {value}",
            got=f"{len(frame)} rows without",
            remedy="draw the spectra instead, or another measure",
        )
    columns.require_range(rows, value, figure=_FIGURE, keys=("point", "module", "layer"), low=0, high=np.inf)
    texts = {name: rows[name].astype(str) for name in ("point", "module")}
    return rows.assign(**texts, **{name: columns.numbers(rows, name) for name in ("layer", value)}), value


def _draw(ax: Axes, own: pd.DataFrame, measure: str, looks: dict[str, style.Look]) -> list[Line2D]:
    """The lines of one kind of module; returns them."""
    found = []
    for name, look in looks.items():
        rows = columns.rows_where(own, (own["point"] == name).to_numpy())
        if rows.empty:
            continue
        layers, values = rows["layer"].to_numpy(), rows[measure].to_numpy()
        places = np.unique(layers)
        together = np.array([_together(values[layers == place], measure) for place in places])
        edge = {"marker": look.marker, "markersize": 3.4, "markeredgecolor": "white", "markeredgewidth": 0.4}
        every = max(1, len(places) // 12)
        found += ax.plot(places, together, color=look.colour, label=name, markevery=every, clip_on=False, **edge)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    return found + _draw_chance(ax, own, measure)


def _draw_chance(ax: Axes, own: pd.DataFrame, measure: str) -> list[Line2D]:
    """What a share would be of an update in random directions, where the table knows."""
    column = f"{measure.rpartition('_')[2]}_by_chance"
    if not measure.startswith(("top_", "bottom_")) or column not in own:
        return []
    level = float(np.nanmean(columns.numbers(own, column)))
    return [ax.axhline(level, color=style.GREY, linestyle=":", linewidth=0.9, zorder=0.5, label=_CHANCE)]


def _together(values: np.ndarray, measure: str) -> float:
    """One number for the matrices of one place."""
    return float(np.sqrt(np.square(values).sum())) if measure == "norm" else float(values.mean())

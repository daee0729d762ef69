"""A figure of one panel with its legend below."""

from collections.abc import Callable, Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from . import lettering, style
from .legend import legend_below, legend_height

_LABELS_HEIGHT = 0.42  # inches that ticks and axis labels take


def on_new_figure(
    draw: Callable[[Axes], Sequence[Artist]],
    *,
    width: float,
    height: float,
    finish: Callable[[Axes], None] | None = None,
) -> Axes:
    """A figure of its own in the project's style: the axes keep their height, title and legend add to it.

    Args:
        draw: Draws on the axes and returns what the legend shows.
        width: Inches of the figure.
        height: Inches of the axes.
        finish: Draws what needs to know where the axes came to stand.

    Returns:
        The axes; pyplot does not know their figure.
    """
    with style.paper_style():
        figure = style.new_figure(width, height)
        ax = figure.subplots()
        handles = draw(ax)
        above = title_height(ax)
        figure.set_size_inches(width, height + _LABELS_HEIGHT + above + legend_height(handles, width=width))
        legend_below(figure, handles)
        style.freeze(figure)
        if finish is not None:
            figure.set_layout_engine("none")  # what is drawn now must not move the axes
            finish(ax)
    return ax


def title_height(ax: Axes) -> float:
    """Inches that the title on the left takes above the axes."""
    title = ax.get_title(loc="left")
    return (title.count("\n") + 1) * lettering.title_size() * lettering.LINE_HEIGHT / 72 + 0.08 if title else 0.0

"""A figure on disk: its images, and the table that was drawn beside them."""

import contextlib
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from modeconn.errors import RunError

FORMATS = ("pdf", "svg", "png")
DOTS_PER_INCH = 300

_SETTINGS: dict[Any, Any] = {
    "pdf.fonttype": 42,  # TrueType: text stays text, and journals refuse Type 3
    # Letters as outlines: a browser without the font would set the text wider than the figure allows.
    "svg.fonttype": "path",
    "svg.hashsalt": "modeconn",  # otherwise the identifiers in the file are random
    "savefig.bbox": None,  # "tight" would change the width that the figure was laid out for
    "savefig.transparent": False,
}
# A date in a file makes two runs of one table differ.
_METADATA: Mapping[str, Mapping[str, None]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}


def save_figure(
    figure_or_axes: Figure | Axes,
    stem: str | os.PathLike[str],
    *,
    table: pd.DataFrame,
    formats: Sequence[str] = FORMATS,
) -> tuple[Path, ...]:
    """A figure is written as `stem.pdf`, `stem.svg`, `stem.png` and its table as `stem.csv`.

    Every file is finished under another name and then renamed, so none is ever half-written. The same figure
    gives the same bytes with the same version of matplotlib. PDF text is embedded as TrueType; SVG letters
    are outlines; PNG has 300 dots per inch.

    Args:
        figure_or_axes: The figure, or any axes on it.
        stem: Folder and name without ending; the folder is made if need be.
        table: What was drawn, written without its index and with floats that read back equal.
        formats: Which of "pdf", "svg" and "png".

    Returns:
        The files written: the images in the order of `formats`, then the table.

    Raises:
        RunError: An unknown format, a stem with a format's ending, or a folder that cannot be written.
    """
    _check(stem, formats)
    # Axes -> (sub)figure -> the figure that can be saved.
    figure = figure_or_axes if isinstance(figure_or_axes, Figure) else _root(figure_or_axes)
    targets = {Path(f"{os.fspath(stem)}.{ending}"): _image(figure, ending) for ending in formats}
    targets[Path(f"{os.fspath(stem)}.csv")] = lambda path: table.to_csv(path, index=False, lineterminator="\n")
    with matplotlib.rc_context(_SETTINGS):
        _write_all(targets)
    return tuple(targets)


def _root(axes: Axes) -> Figure:
    """The figure that holds the axes, through any subfigures."""
    figure: FigureBase | None = axes.figure
    while figure is not None and not isinstance(figure, Figure):
        figure = figure.figure
    if figure is None:
        raise RunError(
            "cannot save these axes",
            expected="axes that stand on a figure",
            got="axes that were removed from theirs",
            remedy="draw again, or pass the figure",
        )
    return figure


def _check(stem: str | os.PathLike[str], formats: Sequence[str]) -> None:
    """Refuses formats that cannot be written and a stem that already ends in one."""
    unknown = [ending for ending in formats if ending not in FORMATS]
    if isinstance(formats, str) or unknown or len(set(formats)) < len(formats):
        raise RunError(
            f"cannot save the figure as {formats!r}",
            expected=f"a list of different formats out of {', '.join(FORMATS)}",
            got=repr(formats),
            remedy='pass for instance formats=("pdf", "png")',
        )
    name = Path(stem).name
    if not name or Path(name).suffix.lstrip(".") in (*FORMATS, "csv"):
        raise RunError(
            "cannot save the figure under this name",
            expected="a folder and a name without ending, such as out/profile",
            got=repr(os.fspath(stem)),
            remedy="leave the ending out; choose with formats=",
        )


def _image(figure: Figure, ending: str) -> Callable[[Path], None]:
    """A function that writes the figure in one format to the path that it is given."""

    def write(path: Path) -> None:
        figure.savefig(path, format=ending, dpi=DOTS_PER_INCH, metadata=dict(_METADATA[ending]))

    return write


def _write_all(targets: Mapping[Path, Callable[[Path], object]]) -> None:
    """Writes all files under temporary names beside their places, then renames them; or leaves all as it was."""
    mark = secrets.token_hex(4)  # two processes that write one figure must not share a temporary file
    temporary = {path: path.with_name(f".{path.name}.{mark}.tmp") for path in targets}
    try:
        for path, write in targets.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write(temporary[path])
        for path in targets:
            os.replace(temporary[path], path)
    except OSError as error:
        first = next(iter(targets))
        raise RunError(
            f"cannot write the figure {first.with_suffix('').name}",
            expected=f"a folder that can be written: {first.parent}",
            got=f"{type(error).__name__}: {error.strerror or error}",
            remedy="choose another folder, or free the place",
        ) from error
    finally:
        for path in temporary.values():
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

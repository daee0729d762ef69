"""The command line that all scripts of the gallery share: tables in, images out."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modeconn.errors import ModeconnError
from modeconn.plotting import save_figure

FIGURES = Path(__file__).resolve().parents[1]


def redraw(
    name: str,
    draw: Callable[..., Figure | Axes],
    *,
    tables: Sequence[str],
    description: str | None,
    arguments: Sequence[str] | None = None,
) -> int:
    """Draws one figure of the gallery; its first table is written beside the images.

    Args:
        name: The figure's file name without ending.
        draw: Takes the tables as frames and returns the figure.
        tables: File names in `figures/tables`, read where the command line names none.
        description: The script's docstring; its first line becomes the help.
        arguments: The command line, by default that of the process.

    Returns:
        The exit code: 0 done, 1 a table that cannot be drawn. Wrong usage exits with 2.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("tables", nargs="*", type=Path, help=f"tables like {', '.join(tables)}; all of them or none")
    parser.add_argument("--output-dir", type=Path, default=FIGURES / "gallery", help="folder of the images")
    given = parser.parse_args(arguments)
    paths = given.tables or [FIGURES / "tables" / table for table in tables]
    if len(paths) != len(tables):
        parser.error(f"{len(paths)} tables given: pass {len(tables)}, like {', '.join(tables)}")
    for path in paths:
        if not path.is_file():
            parser.error(f"no table at {path}: pass one that a run left")
    frames = [pd.read_csv(path) for path in paths]
    try:
        written = save_figure(draw(*frames), given.output_dir / name, table=frames[0])
    except ModeconnError as error:
        print(error, file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0

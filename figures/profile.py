"""Draws the gallery's profile: loss and score of every task between consecutive checkpoints of one run.

The table is the `profile.csv` of `modeconn demo`: its tasks stand in the order in which they were trained, and
its paths lead from each checkpoint to the next.
"""

import argparse
import sys
from pathlib import Path

import pandas as pd

from modeconn.errors import ModeconnError
from modeconn.plotting import plot_profiles, save_figure

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Draws the table named on the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", nargs="?", type=Path, default=HERE / "tables" / "profile.csv", help="a profile.csv")
    parser.add_argument("--output-dir", type=Path, default=HERE / "gallery", help="folder of the images")
    arguments = parser.parse_args()
    if not arguments.table.is_file():
        parser.error(f"no table at {arguments.table}: pass the profile.csv of a run")
    frame = pd.read_csv(arguments.table)
    try:
        figure = plot_profiles(frame, metric=("loss", "score"), mean_of=old_and_new(frame))
        written = save_figure(figure, arguments.output_dir / "profile", table=frame)
    except ModeconnError as error:
        print(error, file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0


def old_and_new(frame: pd.DataFrame) -> dict[str, list[str]]:
    """For each path the task trained just before it and the one that its end was trained on."""
    tasks = frame["task"].drop_duplicates().tolist()
    return {path: tasks[i : i + 2] for i, path in enumerate(frame["path"].drop_duplicates())}


if __name__ == "__main__":
    sys.exit(main())

"""What an evaluation leaves in its run folder: tables, and figures with their tables beside them."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from modeconn.evaluation.profile import Profile
    from modeconn.runs import RunFolder


def write_profile(run: "RunFolder", profile: "Profile", *, mean_of: Mapping[str, Sequence[str]] | None = None) -> None:
    """Write the profile's tables and figures: outputs.parquet and resolution.csv only where it has any.

    Args:
        run: The run folder, opened.
        profile: What was measured.
        mean_of: Path -> the tasks whose mean the figures show; all tasks by default.
    """
    from modeconn.plotting import plot_paths_compared, plot_profiles, save_figure

    run.record(checks=dict(profile.checks))
    run.write_csv(profile.frame, "profile.csv")
    run.write_parquet(profile.examples, "examples.parquet")
    if profile.outputs is not None:
        run.write_parquet(profile.outputs, "outputs.parquet")
    run.write_csv(both_barriers(profile), "barriers.csv")
    if profile.resolution is not None:
        run.write_csv(profile.resolution, "resolution.csv")
    with run.replacing("figures") as folder:
        folder.mkdir()
        figure = plot_profiles(profile.frame, metric=("loss", "score"), mean_of=mean_of)
        save_figure(figure, folder / "profile", table=profile.frame)
        if len(set(profile.frame["path"])) > 1 and mean_of is None:
            compared = plot_paths_compared(profile.frame)
            save_figure(compared, folder / "paths-compared", table=profile.frame)


def both_barriers(profile: "Profile") -> pd.DataFrame:
    """The barriers of loss and of error, one table."""
    return pd.concat([profile.barriers("loss"), profile.barriers("score")], ignore_index=True)


def barrier_summary(barriers: pd.DataFrame) -> pd.DataFrame:
    """The barrier table as it is printed: one row for each path and task.

    Interval and p-value ("no barrier", adjusted for all paths and tasks) are those of the loss over the chord.
    """
    keys = ["path", "space", "task"]
    chord, mean = (_of(barriers, "loss", baseline).set_index(keys) for baseline in ("chord", "mean"))
    table = pd.DataFrame(
        {
            "loss barrier (chord)": chord["barrier"],
            "at t": chord["t_at_max"],
            "95 % interval": [_interval(low, high) for low, high in zip(chord["low"], chord["high"], strict=True)],
            "p (Holm)": chord["p_holm"],
            "loss barrier (mean)": mean["barrier"],
            "error barrier (chord)": _of(barriers, "score", "chord").set_index(keys)["barrier"],
        }
    )
    return table.reset_index()


def _of(barriers: pd.DataFrame, metric: str, baseline: str) -> pd.DataFrame:
    """The rows of one metric and baseline."""
    return barriers.loc[(barriers["metric"] == metric) & (barriers["baseline"] == baseline)]


def _interval(low: float, high: float) -> str:
    """An interval in words; nothing where there is none."""
    return "" if pd.isna(low) or pd.isna(high) else f"{low:.3g} to {high:.3g}"


def ends_and_best(frame: pd.DataFrame, *, mean_of: Mapping[str, Sequence[str]] | None = None) -> pd.DataFrame:
    """Loss and score at both ends and at the position of the lowest mean loss, one row for each path and task.

    Args:
        frame: The profile's table.
        mean_of: Path -> the tasks in the mean; all by default.
    """
    rows = []
    for path, group in frame.groupby("path", sort=False):
        counted = (mean_of or {}).get(str(path), list(group["task"].unique()))
        mean = group[group["task"].isin(counted)].groupby("t")["loss"].mean()
        best = float(mean.idxmin())  # type: ignore[arg-type]
        for task, own in group.groupby("task", sort=False):
            at = own.set_index("t")
            rows.append(
                {
                    "path": path,
                    "space": own["space"].iloc[0],
                    "task": task,
                    "loss t=0": at.loc[0.0, "loss"],
                    "loss t=1": at.loc[1.0, "loss"],
                    "best t": best,
                    "loss there": at.loc[best, "loss"],
                    f"{own['metric'].iloc[0]} t=0": at.loc[0.0, "score"],
                    f"{own['metric'].iloc[0]} t=1": at.loc[1.0, "score"],
                    f"{own['metric'].iloc[0]} there": at.loc[best, "score"],
                }
            )
    return pd.DataFrame(rows)

"""What an evaluation leaves in its run folder: tables, and figures with their tables beside them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from modeconn.cli.profile_tables import ProfileTables

if TYPE_CHECKING:
    from modeconn.evaluation.profile import Profile
    from modeconn.runs import RunFolder


def write_profile(
    run: "RunFolder",
    profile: "Profile",
    tables: ProfileTables,
    *,
    mean_of: Mapping[str, Sequence[str]] | None = None,
    old_and_new: tuple[str, str] | None = None,
) -> None:
    """Write the profile's tables and figures: outputs.parquet, resolution.csv and products.csv only where it has any.

    Args:
        run: The run folder, opened.
        profile: What was measured.
        tables: What is written beside it.
        mean_of: Path -> the tasks whose mean the figures show; all tasks by default.
        old_and_new: The two tasks of the trade-off; none is drawn without.
    """
    run.record(checks=dict(profile.checks))
    if profile.mixtures:
        run.record(mixtures={name: dict(weights) for (_, name), weights in profile.mixtures.items()})
    run.write_csv(profile.frame, "profile.csv")
    run.write_parquet(profile.examples, "examples.parquet")
    if profile.outputs is not None:
        run.write_parquet(profile.outputs, "outputs.parquet")
    if profile.resolution is not None:
        run.write_csv(profile.resolution, "resolution.csv")
    if profile.products is not None:
        run.write_csv(profile.products, "products.csv")
    for name, table in tables.files.items():
        run.write_csv(table, name)
    with run.replacing("figures") as folder:
        folder.mkdir()
        draw_profile(profile, tables, folder, mean_of=mean_of, old_and_new=old_and_new)


def draw_profile(
    profile: "Profile",
    tables: ProfileTables,
    folder: Path,
    *,
    mean_of: Mapping[str, Sequence[str]] | None,
    old_and_new: tuple[str, str] | None,
) -> None:
    """Draw profile, barriers, lost and won examples; of several paths or two tasks, also what compares them.

    Args:
        profile: What was measured.
        tables: Its tables.
        folder: Where the figures go, each with its table beside it.
        mean_of: Path -> the tasks whose mean the figures show.
        old_and_new: The two tasks of the trade-off.
    """
    from modeconn import plotting

    frame = profile.frame
    figure = plotting.plot_profiles(frame, metric=("loss", "score"), mean_of=mean_of)
    plotting.save_figure(figure, folder / "profile", table=frame)
    paths = [str(path) for path in frame["path"].unique()]
    counted = {tuple(tasks) for tasks in (mean_of or {}).values()}
    if len(paths) > 1 and len(counted) <= 1:
        compared = plotting.plot_paths_compared(frame, tasks=counted.pop() if counted else None)
        plotting.save_figure(compared, folder / "paths-compared", table=frame)
    chord = tables.barriers.query("metric == 'loss' and baseline == 'chord'")
    if chord["low"].notna().to_numpy().any():
        plotting.save_figure(plotting.plot_barriers(chord), folder / "barriers", table=chord)
    if old_and_new is not None:
        old, new = old_and_new
        figure = plotting.plot_trade_off(frame, old=old, new=new, metric="score")
        plotting.save_figure(figure, folder / "trade-off", table=frame)
    for number, path in enumerate(paths):
        name = "examples" if len(paths) == 1 else f"examples-{number + 1}"
        rows = profile.examples.loc[profile.examples["path"] == path, ["path", "task", "t", "example", "score"]]
        plotting.save_figure(plotting.plot_examples_along_path(rows), folder / name, table=rows)


def barrier_summary(barriers: pd.DataFrame, *, confidence: float = 0.95) -> pd.DataFrame:
    """The barrier table as it is printed: one row for each path and task.

    Interval and p-value ("no barrier", adjusted for all paths and tasks) are those of the loss over the chord.

    Args:
        barriers: The table of all barriers.
        confidence: That of its intervals.
    """
    keys = ["path", "space", "task"]
    chord, mean = (_of(barriers, "loss", baseline).set_index(keys) for baseline in ("chord", "mean"))
    table = pd.DataFrame(
        {
            "loss barrier (chord)": chord["barrier"],
            "at t": chord["t_at_max"],
            f"{100 * confidence:g} % interval": [
                _interval(low, high) for low, high in zip(chord["low"], chord["high"], strict=True)
            ],
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

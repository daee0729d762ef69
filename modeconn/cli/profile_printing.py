"""What an evaluation prints: its plan, or its tables, and remarks on what was cut or left out."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.runs import RunFolder


def print_plan(plan: Mapping[str, str], *, path: str) -> None:
    """Print what an evaluation would do.

    Args:
        plan: Quantity -> value, from `plan_evaluation`.
        path: The path's name, and what else tells the plan from others.
    """
    import pandas as pd

    from modeconn.cli.tables import print_table

    print_table(pd.DataFrame(plan.items(), columns=["what", "how much"]), title=f"dry run: {path}")


def print_profile(folder: "RunFolder") -> list[str]:
    """Print the tables of a finished evaluation.

    Args:
        folder: Its run folder.

    Returns:
        Remarks on prompts that were cut, on barriers, and on what several looks mean for the intervals.
    """
    from modeconn.cli.profile_files import barrier_summary, ends_and_best
    from modeconn.cli.tables import print_table
    from modeconn.evaluation.barrier_table import remarks
    from modeconn.runs import read_csv

    frame = read_csv(folder.folder / "profile.csv")
    print_table(ends_and_best(frame, mean_of=_counted(frame, folder)), title=_setting(frame, folder))
    print()
    barriers = read_csv(folder.folder / "barriers.csv")
    print_table(barrier_summary(barriers, confidence=_confidence(folder)))
    resolution = folder.folder / "resolution.csv"
    if resolution.exists():
        print()
        print_table(read_csv(resolution), title="how well the positions resolve the mean loss")
    _print_products(folder)
    _print_looks(folder)
    _print_chosen(folder)
    _print_general(folder)
    return [*_on_cut_prompts(folder), *remarks(barriers), *_on_looks(folder)]


def _print_products(folder: "RunFolder") -> None:
    """Print what rounded products do to the barriers, if they were rounded."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv, read_record

    file = folder.folder / "products.csv"
    record = read_record(folder.folder)
    if file.exists() and record is not None:
        precision = record.settings["matmul_precision"]
        print()
        print_table(read_csv(file), title=f"products in {precision}: loss over the chord at t, beside float32 (nats)")


def _print_looks(folder: "RunFolder") -> None:
    """Print how many examples a wanted precision needed, if one was wanted."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    file = folder.folder / "looks.csv"
    if file.exists():
        last = read_csv(file).groupby(["path", "task"], sort=False).tail(1)
        print()
        shown = ["path", "task", "num_examples", "half_width", "look", "num_looks"]
        print_table(last.reindex(columns=shown), title="examples that the precision needed (half_width: nats)")


def _print_chosen(folder: "RunFolder") -> None:
    """Print the position that was chosen on another split, if one was."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    file = folder.folder / "chosen.csv"
    if file.exists():
        chosen = read_csv(file)
        print()
        shown = ["path", "task", "metric", "t", "quantity", "value", "low", "high", "p_value"]
        print_table(
            chosen.reindex(columns=shown), title=f"t chosen on another split, on the {chosen['split'].iloc[0]} split"
        )


def _counted(frame: "pd.DataFrame", folder: "RunFolder") -> dict[str, list[str]] | None:
    """Path -> the mixture that takes the place of the mean over tasks, if one was measured."""
    from modeconn.runs import read_record

    record = read_record(folder.folder)
    mixtures = record.facts.get("mixtures") if record else None
    return {str(path): list(mixtures) for path in frame["path"].unique()} if mixtures else None


def _setting(frame: "pd.DataFrame", folder: "RunFolder") -> str:
    """What the numbers hold for: split, spaces, and whose heads count where a policy said so."""
    spaces = ", ".join(frame["space"].drop_duplicates())
    policies = dict.fromkeys(checks["heads"] for checks in _checks(folder).values() if checks.get("heads"))
    heads = f"heads={', '.join(policies)}, " if policies else ""
    return f"{frame['split'].iloc[0]} split, space={spaces}, {heads}loss in nats"


def _checks(folder: "RunFolder") -> "Mapping[str, Mapping[str, Any]]":
    """Path -> what was checked before it was measured."""
    from modeconn.runs import read_record

    record = read_record(folder.folder)
    return record.facts.get("checks", {}) if record else {}


def _confidence(folder: "RunFolder") -> float:
    """That of the intervals, as the run was asked."""
    from modeconn.runs import read_record

    record = read_record(folder.folder)
    return float(record.settings.get("confidence", 0.95)) if record else 0.95


def _on_looks(folder: "RunFolder") -> list[str]:
    """A remark where the sample was chosen by looking at it."""
    if not (folder.folder / "looks.csv").exists():
        return []
    return [
        "the examples were chosen by looking: barriers.csv and bands.csv allow for it; loss_low to score_high in"
        " profile.csv do not (95 % at one position), and lost_examples.csv is of the examples that were used"
    ]


def _on_cut_prompts(folder: "RunFolder") -> list[str]:
    """One remark for each task of which prompts were cut."""
    return [
        f"{count} prompts of {task} were cut in the middle to fit (--max-length)"
        for checks in _checks(folder).values()
        for task, count in checks["truncated_examples"].items()
        if count
    ]


def _print_general(folder: "RunFolder") -> None:
    """Print the scores of the harness's benchmarks, if they were run."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    file = folder.folder / "general.csv"
    if file.exists():
        print()
        shown = ["path", "task", "metric", "t", "score", "score_low", "score_high", "num_examples"]
        print_table(read_csv(file).reindex(columns=shown), title="lm-evaluation-harness")

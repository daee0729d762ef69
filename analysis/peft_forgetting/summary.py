"""What the study says: forgetting and accuracy against trained parameters, and the geometry beside them.

    python -m analysis.peft_forgetting.summary [--results analysis/peft_forgetting/results]

Reads `scores.csv` and `pairs.csv`. Writes `measures.csv` (one row a setting and method: means over seeds and the
half-widths of their 95 % intervals by Student's t; what a pair of consecutive checkpoints has, averaged over a run's
pairs), `differences.csv` (forgetting and accuracy less those of LoRA r 8 with the same seed), `rank_trend.csv`
(Spearman's correlation of LoRA's rank with each, over the ranks of a seed) and the figure `forgetting-<setting>`:
forgetting and accuracy against the number of trained parameters. Prints the tables.
"""

import argparse
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from analysis.tables import over_runs
from modeconn.continual import ScoreMatrix
from modeconn.plotting import PAGE_WIDTH, paper_style, save_figure
from modeconn.plotting.style import new_figure

KEYS = ["setting", "variant"]
SCORES = ["average_accuracy", "learning_accuracy", "forgetting"]
PAIRS = ["distance", "new_norm", "cosine", "column_overlap", "row_overlap", "step_column_overlap", "barrier_old"]
REFERENCE = "lora-r8"
LORA = r"lora-r(\d+)"
BESIDE = 1.07  # where the others' markers stand, so that none hides LoRA of as many parameters


def runs_of(scores: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """One row a run: its measures, and the means over its pairs of checkpoints."""
    rows = [
        dict(zip([*KEYS, "seed"], key, strict=True))
        | {"num_trained": int(own["num_trained"].iloc[0]), "rate": own["rate"].iloc[0]}
        | ScoreMatrix.from_frame(own).summary()
        for key, own in scores.groupby([*KEYS, "seed"], sort=False)
    ]
    between = pairs.groupby([*KEYS, "seed"], sort=False)[PAIRS].mean().reset_index()
    return pd.DataFrame(rows).merge(between, on=[*KEYS, "seed"], how="left")


def differences(runs: pd.DataFrame) -> pd.DataFrame:
    """Every method less the reference of the same setting and seed."""
    index = ["setting", "seed"]
    base = runs[runs["variant"] == REFERENCE].set_index(index)[SCORES]
    parts = []
    for variant, own in runs[runs["variant"] != REFERENCE].groupby("variant", sort=False):
        paired = (own.set_index(index)[SCORES] - base).dropna().reset_index()
        parts.append(paired.assign(variant=variant))
    return over_runs(pd.concat(parts, ignore_index=True), KEYS, SCORES)


def rank_trend(runs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of LoRA's rank with forgetting and accuracy in every run of a seed."""
    own = runs.assign(rank=pd.to_numeric(runs["variant"].str.extract(f"^{LORA}$", expand=False))).dropna(subset="rank")
    rows = [
        {"setting": setting, "seed": seed, "variant": "LoRA's rank"}
        | {name: group["rank"].corr(group[name], method="spearman") for name in SCORES}
        for (setting, seed), group in own.groupby(["setting", "seed"], sort=False)  # type: ignore[misc]
    ]
    return over_runs(pd.DataFrame(rows), KEYS, SCORES)


def draw(measures: pd.DataFrame) -> tuple[Axes, Axes]:
    """Forgetting and accuracy against trained parameters, one marker a method with its interval."""
    with paper_style():
        figure = new_figure(PAGE_WIDTH, 2.6)
        axes = figure.subplots(1, 2, sharex=True)
        for ax, name, label in zip(
            axes, ("forgetting", "average_accuracy"), ("forgetting", "average accuracy"), strict=True
        ):
            for number, row in enumerate(measures.to_dict("records")):
                full, lora = row["variant"] == "full", row["variant"].startswith("lora-")
                ax.errorbar(
                    row["num_trained"] * (1 if full or lora else BESIDE), row[name],
                    yerr=row[f"{name}_half_width"], fmt="s" if full else "o" if lora else "^", markersize=4,
                    color="black" if full else f"C{(number - 1) % 10}", label=row["variant"], capsize=2, linewidth=1,
                )  # fmt: skip
            ax.set_xscale("log")
            ax.set_xlabel("trained parameters")
            ax.set_ylabel(label)
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6)
    return tuple(axes)


def main() -> None:
    """Make all tables and figures of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    folder: Path = parser.parse_args().results
    runs = runs_of(*(pd.read_csv(folder / name) for name in ("scores.csv", "pairs.csv")))
    facts = runs.groupby(KEYS, sort=False)[["num_trained", "rate"]].first().reset_index()
    measures = facts.merge(over_runs(runs, KEYS, [*SCORES, *PAIRS]), on=KEYS)
    tables = {"measures": measures, "differences": differences(runs), "rank_trend": rank_trend(runs)}
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        print(f"\n{name}\n{table.round(3).to_string(index=False)}")
    for setting, own in measures.groupby("setting", sort=False):
        save_figure(draw(own)[0], folder / f"forgetting-{setting}", table=own)


if __name__ == "__main__":
    main()

"""What the study says: measures with intervals, differences on the same runs, and what predicts forgetting.

    python -m analysis.ilora.summary [--results analysis/ilora/results]

Reads `scores.csv` and `pairs.csv`. Writes `measures.csv` (one row a setting and variant: the mean over runs, and the
half-width of its 95 % interval by Student's t), `differences.csv` (the same of differences from sequential training and
from replay on the same order and seed), `predictors.csv` (see `analysis/predictors.py`) and a figure `stability-...`
for each setting of which a variant has several runs, and prints the tables.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from analysis.predictors import by_setting
from analysis.tables import over_runs
from modeconn.continual import ScoreMatrix
from modeconn.plotting import plot_stability, save_figure

RUN = ["setting", "order", "seed"]
MEASURES = ["average_accuracy", "average_incremental_accuracy", "learning_accuracy", "backward_transfer", "forgetting"]
REFERENCES = ["sequential", "replay"]


def run_measures(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a run: variant, setting, order, seed, and what `ScoreMatrix` says."""
    rows = [
        dict(zip(["variant", *RUN], key, strict=True)) | ScoreMatrix.from_frame(own).summary()
        for key, own in scores.groupby(["variant", *RUN], sort=False)
    ]
    return pd.DataFrame(rows)


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Every variant less a reference in the same setting, order and seed."""
    parts = []
    for reference in REFERENCES:
        base = rows[rows["variant"] == reference].set_index(RUN)[MEASURES]
        for variant, own in rows[rows["variant"] != reference].groupby("variant", sort=False):
            paired = (own.set_index(RUN)[MEASURES] - base).dropna().reset_index()
            parts.append(paired.assign(variant=variant, reference=reference))
    return over_runs(pd.concat(parts, ignore_index=True), ["setting", "variant", "reference"], MEASURES)


def main() -> None:
    """Make all tables and figures of what is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    folder: Path = parser.parse_args().results
    scores, pairs = (pd.read_csv(folder / name) for name in ("scores.csv", "pairs.csv"))
    rows = run_measures(scores)
    made: dict[str, Callable[[], pd.DataFrame]] = {
        "measures": lambda: over_runs(rows, ["setting", "variant"], MEASURES),
        "differences": lambda: differences(rows),
        "predictors": lambda: by_setting(pairs),
    }
    for name, make in made.items():
        table = make()
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
        print(f"\n{name}\n{table.round(3).to_string(index=False)}")
    for setting, own in rows.groupby("setting", sort=False):
        if own.groupby("variant").size().max() == 1:
            continue  # axes over differences of single runs would show noise
        drawn = own.rename(columns={"variant": "method"}).assign(adapter="lora")
        save_figure(plot_stability(drawn), folder / f"stability-{setting}", table=drawn)


if __name__ == "__main__":
    main()

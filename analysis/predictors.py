"""Does geometry predict forgetting? Rank correlations of what lies between two checkpoints with what the old task lost.

    python -m analysis.predictors analysis/peft_forgetting/results/pairs.csv [more tables] --output-dir OUT

The tables are those of `analysis/pairs.py`: one row for each pair of consecutive checkpoints of a run. Written and
printed is `predictors.csv`, one row for each table's setting, outcome (score_lost, loss_gained) and measure: Spearman's
rank correlation over all pairs, and the same within the variants (ranks are taken inside each variant and pooled, so
that differences between methods do not count). Intervals of 95 % are bootstraps over whole runs: pairs of one run are
not independent. A measure that is constant has none.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

OUTCOMES = ("score_lost", "loss_gained")
NAMES = {"setting", "order", "seed", "variant", "number", "old", "new", *OUTCOMES}  # every other column is a measure
LEVEL = 0.95


def predictors(pairs: pd.DataFrame, *, num_resamples: int = 1000) -> pd.DataFrame:
    """Correlations of every measure with both outcomes.

    Args:
        pairs: One row a pair of checkpoints, of one setting.
        num_resamples: Of the runs.

    Returns:
        One row an outcome and measure: outcome, measure, pairs, spearman, low, high, and the same within variants.
    """
    rows = []
    for outcome in OUTCOMES:
        for measure in [name for name in pairs.columns if name not in NAMES]:
            own = pairs.dropna(subset=[measure, outcome])
            found = {"outcome": outcome, "measure": measure, "pairs": len(own)}
            for suffix, keys in (("", []), ("_within", ["variant"])):
                ranks = _ranks(own, [measure, outcome], keys)
                found |= dict(
                    zip(
                        (f"{name}{suffix}" for name in ("spearman", "low", "high")),
                        _interval(ranks, _runs(own), num_resamples),
                        strict=True,
                    )
                )
            rows.append(found)
    return pd.DataFrame(rows)


def by_setting(pairs: pd.DataFrame) -> pd.DataFrame:
    """The same for each setting, whose name stands in the first column."""
    parts = [
        predictors(own.reset_index(drop=True)).assign(setting=setting)
        for setting, own in pairs.groupby("setting", sort=False)
    ]
    table = pd.concat(parts, ignore_index=True)
    return table[["setting", *(name for name in table.columns if name != "setting")]]


def _ranks(pairs: pd.DataFrame, columns: Sequence[str], keys: Sequence[str]) -> np.ndarray:
    """Ranks of two columns inside each group, as shares of it and centred, `[N, 2]`."""
    groups = [pairs[key] for key in keys] or [np.zeros(len(pairs))]
    ranks = pairs.groupby(groups)[list(columns)].rank(pct=True)
    return (ranks - ranks.groupby(groups).transform("mean")).to_numpy()


def _runs(pairs: pd.DataFrame) -> np.ndarray:
    """The number of the run that each row belongs to, `[N]`."""
    keys = [name for name in ("order", "seed", "variant") if name in pairs.columns]
    return pairs.groupby(keys, sort=False).ngroup().to_numpy()


def _interval(ranks: np.ndarray, runs: np.ndarray, num_resamples: int) -> tuple[float, float, float]:
    """The correlation and its bootstrap interval over runs.

    The sums of a run enter a resample as often as the run is drawn.
    """
    count = int(runs.max()) + 1 if len(runs) else 0
    if count < 3:
        return (float("nan"),) * 3
    terms = np.column_stack([np.ones(len(ranks)), ranks, ranks**2, ranks.prod(axis=1)])  # 1, x, y, x^2, y^2, x y
    sums = np.zeros((count, terms.shape[1]))
    np.add.at(sums, runs, terms)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=num_resamples)
    found = _correlation(np.vstack([sums.sum(0), drawn @ sums]))
    if np.isnan(found[1:]).all():
        return float(found[0]), float("nan"), float("nan")
    low, high = np.nanquantile(found[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(found[0]), float(low), float(high)


def _correlation(sums: np.ndarray) -> np.ndarray:
    """Pearson's correlations from sums `[S, 6]` of 1, x, y, x^2, y^2 and x y; NaN of what is constant."""
    n, x, y, xx, yy, xy = sums.T
    spread = (xx - x * x / n) * (yy - y * y / n)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread > 1e-12, (xy - x * y / n) / np.sqrt(np.maximum(spread, 1e-300)), np.nan)


def main() -> None:
    """Tables of all files, and of every setting in them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", nargs="+", type=Path)
    parser.add_argument("--output-dir", type=Path, required=True)
    arguments = parser.parse_args()
    table = pd.concat([by_setting(pd.read_csv(file)) for file in arguments.tables], ignore_index=True)
    arguments.output_dir.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.output_dir / "predictors.csv", index=False, float_format="%.4g")
    print(table.round(2).to_string(index=False))


if __name__ == "__main__":
    main()

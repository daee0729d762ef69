"""What the studies share: what lies between checkpoints, correlations with forgetting, tables that grow."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from method_runs import SEQUENCE, short_train
from scipy import stats
from tiny import make_base

import modeconn as mc
from modeconn.continual.methods import Sequential

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def analysis() -> Iterator[SimpleNamespace]:
    """The modules, which are scripts of the repository and no part of the package."""
    sys.path.insert(0, str(ROOT))
    try:
        from analysis import pairs, predictors, tables

        yield SimpleNamespace(pairs=pairs, predictors=predictors, tables=tables)
    finally:
        sys.path.remove(str(ROOT))


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_pairs_are_measured_against_the_base(tmp_path: Path, analysis: SimpleNamespace, kind: str) -> None:
    base = make_base(tmp_path / "base", "llama")
    run = short_train(tmp_path / "run", base, Sequential(), adapter=kind)
    (row,) = analysis.pairs.pair_rows(run, SEQUENCE, base)
    scores = run.scores[run.scores["task"] == "first"].set_index(["after_task", "metric"])["score"]
    assert row["score_lost"] == pytest.approx(scores[1, "accuracy"] - scores[2, "accuracy"])
    assert row["loss_gained"] == pytest.approx(scores[2, "loss"] - scores[1, "loss"])
    weights = mc.FullModel.open(base)
    old, new = (mc.Adapter.from_pretrained(folder).on(weights) for folder in run.checkpoints)
    if kind == "lora":  # of a full fine-tune vectors are left out
        assert row["old_norm"] == pytest.approx(old.norm(), rel=1e-6)
        assert row["distance"] == pytest.approx((new - old).norm(), rel=1e-6)
        assert row["cosine"] == pytest.approx(old.inner(new) / old.norm() / new.norm(), rel=1e-5)
    assert row["old_norm"] > 0
    assert abs(row["step_cosine"]) <= 1
    assert {"barrier_old", "barrier_new", "midpoint_old", "cka_last", "cka_mean"} <= row.keys()


def test_a_run_with_one_checkpoint_for_all_tasks_has_no_pairs(
    bases: Callable[[str], Path], analysis: SimpleNamespace
) -> None:
    run = mc.TrainRun((Path("after-all"),), pd.DataFrame())
    assert list(analysis.pairs.pair_rows(run, SEQUENCE, bases("llama"))) == []


@pytest.fixture
def table() -> pd.DataFrame:
    """Pairs of 12 runs of two variants, which differ in the measure and in what is lost."""
    source = np.random.default_rng(0)
    rows = pd.DataFrame({"seed": np.repeat(range(12), 10), "variant": np.repeat(["a", "b"], 60)})
    rows["measure"] = source.normal(size=120) + 5 * (rows["variant"] == "b")
    rows["score_lost"] = 5 * (rows["variant"] == "b") + source.normal(size=120)
    rows["loss_gained"] = rows["measure"] + source.normal(size=120)
    return rows.assign(constant=1.0)


def test_the_correlation_is_spearmans(table: pd.DataFrame, analysis: SimpleNamespace) -> None:
    found = analysis.predictors.predictors(table).set_index(["outcome", "measure"])
    for outcome in ("score_lost", "loss_gained"):
        row = found.loc[outcome, "measure"]
        assert row["spearman"] == pytest.approx(stats.spearmanr(table["measure"], table[outcome])[0])
        assert row["low"] < row["spearman"] < row["high"]
        assert np.isnan(found.loc[outcome, "constant"]["spearman"])


def test_differences_between_variants_do_not_count_within_them(table: pd.DataFrame, analysis: SimpleNamespace) -> None:
    found = analysis.predictors.predictors(table).set_index(["outcome", "measure"])
    lost, gained = found.loc["score_lost", "measure"], found.loc["loss_gained", "measure"]
    assert lost["spearman"] > 0.6
    assert lost["low_within"] < 0 < lost["high_within"]
    own = [part for _, part in table.groupby("variant")]
    alone = np.mean([stats.spearmanr(part["measure"], part["loss_gained"])[0] for part in own])
    assert gained["spearman_within"] == pytest.approx(alone, abs=1e-9)  # parts of one size


def test_tables_grow_and_know_what_they_hold(tmp_path: Path, analysis: SimpleNamespace) -> None:
    file = tmp_path / "table.csv"
    assert analysis.tables.finished(file, ["name", "seed"]) == set()
    for seed in (0, 1):
        analysis.tables.append(pd.DataFrame([{"name": "a", "seed": seed, "value": seed / 3}]), file)
    analysis.tables.append(pd.DataFrame(), file)
    assert analysis.tables.finished(file, ["name", "seed"]) == {("a", 0), ("a", 1)}
    (row,) = analysis.tables.over_runs(pd.read_csv(file), ["name"], ["value"]).to_dict("records")
    assert row["runs"] == 2
    assert row["value"] == pytest.approx(1 / 6, rel=1e-5)
    interval = stats.t.interval(0.95, 1, loc=1 / 6, scale=np.std([0, 1 / 3], ddof=1) / 2**0.5)
    assert row["value_half_width"] == pytest.approx((interval[1] - interval[0]) / 2, rel=1e-5)

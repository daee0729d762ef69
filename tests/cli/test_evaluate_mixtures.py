"""`modeconn evaluate --mixture`: the weighted mean of tasks, measured, drawn and chosen by."""

from pathlib import Path

import pandas as pd
import pytest

import modeconn as mc
from modeconn.cli.main import main
from modeconn.cli.mixture_setting import mixture_name, mixture_weights
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")
NAME = "0.75 first + 0.25 second"
MIXED = ["--mixture", "first=3", "second=1"]


def test_a_mixture_stands_in_every_table_and_is_shown_again(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*line, *MIXED, "--output-dir", str(out)]) == 0
    printed = capsys.readouterr().out
    assert NAME in printed
    frame = read_csv(out / "profile.csv")
    loss = frame.pivot(index="t", columns="task", values="loss")
    assert loss[NAME].to_numpy() == pytest.approx((0.75 * loss["first"] + 0.25 * loss["second"]).to_numpy())
    expected = mc.Profile(frame[frame["task"] != NAME], pd.read_parquet(out / "examples.parquet"))
    barriers = expected.mixture({"first": 3, "second": 1}, name=NAME).barriers()
    own = read_csv(out / "barriers.csv").query("task == @NAME and metric == 'loss' and baseline == 'chord'")
    found = barriers.query("task == @NAME and baseline == 'chord'")
    for name in ("barrier", "low", "high", "p_value"):
        assert own[name].item() == pytest.approx(found[name].item(), rel=1e-6, abs=1e-9)
    assert NAME in set(read_csv(out / "bands.csv")["task"])
    assert NAME not in set(pd.read_parquet(out / "examples.parquet")["task"])
    record = read_record(out)
    assert record is not None
    assert record.facts["mixtures"] == {NAME: {"first": 0.75, "second": 0.25}}
    assert main([*line, *MIXED, "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out == printed


def test_the_best_t_that_is_printed_is_the_mixtures(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ["--mixture", "first=1e9", "second=1"]
    assert main([*line, *only, "--num-points", "5", "--output-dir", str(tmp_path / "out")]) == 0
    frame = read_csv(tmp_path / "out" / "profile.csv").query("task == 'first'").set_index("t")
    (row,) = [line for line in capsys.readouterr().out.splitlines() if " first " in line and "weights  first" in line][
        :1
    ]
    assert f"{frame['loss'].idxmin():g}" in row.split()


def test_a_t_is_chosen_by_the_mixture_and_by_loss(with_eval: list[str], tmp_path: Path) -> None:
    by_loss = ["--choose-on", "eval", "--choose-by", "loss", "--num-points", "5"]
    out = tmp_path / "out"
    assert main([*with_eval, *by_loss, *MIXED, "--output-dir", str(out)]) == 0
    chosen = read_csv(out / "chosen.csv")
    assert set(chosen["metric"]) == {"loss"}
    assert set(chosen["task"]) == {"first", "second", "mean of tasks"}
    assert main([*with_eval, "--split", "eval", "--num-points", "5", "--output-dir", str(tmp_path / "on-eval")]) == 0
    loss = read_csv(tmp_path / "on-eval" / "profile.csv").pivot(index="t", columns="task", values="loss")
    assert chosen["t"].iloc[0] == (0.75 * loss["first"] + 0.25 * loss["second"]).idxmin()


def test_paths_are_compared_by_the_mixture(line: list[str], tmp_path: Path) -> None:
    ends = [line[line.index(flag) + 1] for flag in ("--start", "--end")]
    start, end = (mc.Adapter.from_pretrained(one) for one in ends)
    mc.save_path(mc.LinearPath(end, start, name="back"), tmp_path / "back")
    out = tmp_path / "out"
    assert main([*line, "--path", str(tmp_path / "back"), *MIXED, "--output-dir", str(out)]) == 0
    assert (out / "figures" / "paths-compared.svg").read_text().count(NAME) >= 1


def test_what_is_typed_is_read() -> None:
    assert mixture_weights(["a=b=2", "c=.5"]) == {"a=b": 2.0, "c": 0.5}
    assert mixture_name({"a": 1.0, "b": 2.0}) == "0.333 a + 0.667 b"


@pytest.mark.parametrize("given", [["first"], ["first=x"], ["first=0"], ["first=nan"], ["first=1", "first=2"], ["=1"]])
def test_mixtures_that_cannot_be_read(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], given: list[str]
) -> None:
    assert main([*line, "--mixture", *given, "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "a mixture of tasks cannot be read" in told
    assert f"got: {' '.join(given)}" in told
    assert not (tmp_path / "out").exists()

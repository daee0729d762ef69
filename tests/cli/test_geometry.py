"""The command that says where updates lie."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from prompt_adapters import make_prompt

import modeconn as mc
from modeconn.cli.main import main
from modeconn.runs import read_csv, read_record

pytestmark = pytest.mark.usefixtures("svg_only")
FIGURES = ("spectra", "layers", "ranks", "interference")


@pytest.fixture
def points(adapters: Callable[..., Path]) -> list[str]:
    """Three adapters of one base."""
    return [str(adapters("llama", seed)) for seed in (1, 2, 3)]


@pytest.fixture
def geometry(points: list[str]) -> list[str]:
    """The arguments of a measurement, its output folder left out."""
    return ["geometry", "--adapters", *points, "--quiet"]


def refused(arguments: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The error of a command that must end with code 1 and leave nothing."""
    assert main([*arguments, "--output-dir", str(out)]) == 1
    told = capsys.readouterr().err
    assert [f"\n  {part}: " in told for part in ("expected", "got", "remedy")] == [True] * 3, told
    assert not out.exists()
    return told


@pytest.mark.usefixtures("all_formats")
def test_it_leaves_a_complete_run_folder(geometry: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert main([*geometry, "--output-dir", str(out)]) == 0
    first = capsys.readouterr()
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    tables = {"geometry.csv", "overlaps.csv", "points.csv", "pairs.csv", "drift.csv", "spectra.parquet", "reading.txt"}
    figures = {f"figures/{name}.{ending}" for name in FIGURES for ending in ("pdf", "svg", "png", "csv")}
    assert files == {"run.json"} | tables | figures
    assert len(read_csv(out / "geometry.csv")) == 3 * 4
    assert len(read_csv(out / "overlaps.csv")) == 3 * 4
    assert len(pd.read_parquet(out / "spectra.parquet")) == 3 * 4 * 4
    record = read_record(out)
    assert record is not None
    assert {"adapter llama-1", "adapter llama-2", "adapter llama-3"} == record.hashes.keys()
    assert "llama-1 and llama-2: cosine" in first.out
    assert "note: norms relative to the base's weights need --base-model" in first.err
    assert main([*geometry, "--output-dir", str(out)]) == 0
    again = capsys.readouterr()
    assert again.out == first.out
    assert "finished before, shown again" in again.err


def test_a_full_measurement_of_one_point_makes_no_pair(
    adapters: Callable[..., Path], bases: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """DoRA's update is a function of the base; the head of a classifier is none."""
    dora = ["geometry", "--adapters", str(adapters("bert", 1, use_dora=True))]
    assert "no base, and bert-1 (LORA)" in refused(dora, tmp_path / "out", capsys)
    base = ["--base-model", str(bases("bert"))]
    assert main([*dora, *base, "--principal", "3", "--increments", "--output-dir", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "saved modules are no updates and are left out: classifier.bias, classifier.weight" in told.err
    assert "step to bert-1 changes 4 matrices" in told.out
    assert "by the base's singular directions: outputs" in told.out
    names = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert names == {"spectra", "layers", "ranks", "principal"}
    found = read_csv(tmp_path / "out" / "geometry.csv")
    assert not found["parameter"].str.contains("classifier").any()
    assert (found["relative_norm"] > 0).all()
    assert not (tmp_path / "out" / "drift.csv").exists()


def test_fitted_curves_have_a_length_and_a_bend(
    geometry: list[str], points: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A curve with its bend on the line is as long as the line; one with a bend beside it is longer."""
    start, aside, end = (mc.Adapter.from_pretrained(point) for point in points)
    middle = mc.LinearPath(start, end)(0.5)
    line = mc.save_path(mc.LinearPath(start, end, name="line"), tmp_path / "line")
    folders = [str(line)] + [
        str(mc.save_path(mc.BezierCurve([start, bend, end], name=name), tmp_path / name))
        for name, bend in (("straight", middle), ("bent", aside))
    ]
    out = tmp_path / "out"
    assert main([*geometry, "--path", *folders, "--output-dir", str(out)]) == 0
    found = read_csv(out / "paths.csv").set_index("path")
    distance = (end - start).norm()
    assert found["distance"].to_numpy() == pytest.approx([distance] * 3, rel=1e-6)
    assert found.loc["straight", "length"] == pytest.approx(distance, rel=1e-6)
    curve, t = mc.BezierCurve([start, aside, end]), np.linspace(0, 1, 65)
    steps = [(curve(b) - curve(a)).norm() for a, b in pairwise(t)]
    assert found.loc["bent", "length"] == pytest.approx(sum(steps), rel=1e-3)
    assert found.loc["bent", "turn"] > 10 > 1e-3 > found.loc["straight", "turn"]
    told = capsys.readouterr().out
    assert f"line (space=weights) is {distance:.3g} long, 1 times the {distance:.3g} between its ends" in told
    assert f"straight (space=weights) is {distance:.3g} long, 1 times the {distance:.3g} between its ends" in told
    assert "degrees, most sharply at t = " in told
    assert "bent point 1" in read_record(out).hashes
    assert "paths: L2 length" in told


def test_a_folder_without_a_path_is_refused_before_anything_is_written(
    geometry: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "path.json" in refused([*geometry, "--path", str(tmp_path)], tmp_path / "out", capsys)


def test_what_cannot_be_measured_is_told(
    geometry: list[str], bases: Callable[[str], Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert "principal=4 and no base" in refused([*geometry, "--principal", "4"], out, capsys)
    assert "directions=0" in refused([*geometry, "--directions", "0"], out, capsys)
    assert "does not fit the base model" in refused([*geometry, "--base-model", str(bases("gpt2"))], out, capsys)
    prompt = make_prompt(tmp_path / "prompt", bases("llama"), "llama", "PROMPT_TUNING", seed=1)
    assert "no weight update whose geometry" in refused(["geometry", "--adapters", str(prompt)], out, capsys)
    assert main([*geometry, "--output-dir", geometry[2]]) == 1
    assert "inputs in it" in capsys.readouterr().err

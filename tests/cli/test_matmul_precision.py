"""`modeconn evaluate --matmul-precision`: rounded products, and what they do to the barriers."""

from pathlib import Path

import pytest
from numpy.testing import assert_allclose

from modeconn.cli.main import main
from modeconn.models import fast_linear
from modeconn.runs import read_csv

pytestmark = pytest.mark.usefixtures("svg_only")


def test_the_table_holds_both_barriers_of_one_position(
    line: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fast_linear, "_FEWEST", 1)
    plain, rounded = (
        [*line, "--num-points", "4", "--output-dir", str(tmp_path / name)] for name in ("plain", "rounded")
    )
    rounded += ["--matmul-precision", "bfloat16"]
    assert main(plain) == 0
    capsys.readouterr()
    assert main(rounded) == 0
    printed = capsys.readouterr().out
    assert "products in bfloat16: loss over the chord at t, beside float32 (nats)" in printed
    for row in read_csv(tmp_path / "rounded" / "products.csv").itertuples():
        found = {}
        for name in ("plain", "rounded"):
            own = read_csv(tmp_path / name / "profile.csv").query("task == @row.task").set_index("t")["loss"]
            above = own - (1 - own.index) * own[0.0] - own.index * own[1.0]
            found[name] = above[row.t]
            assert name == "plain" or above[row.t] == above.iloc[1:-1].max()
        assert_allclose([row.barrier, row.barrier_float32], [found["rounded"], found["plain"]], rtol=1e-6, atol=1e-9)
        assert row.barrier != row.barrier_float32
        assert 0 < row.mean_moved <= row.example_moved < 1e-2
    assert not (tmp_path / "plain" / "products.csv").exists()
    assert main(rounded) == 0
    assert capsys.readouterr().out == printed


def test_a_wanted_precision_excludes_rounded_products(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = ["--precision", "0.1", "--matmul-precision", "bfloat16"]
    assert main([*short, *both, "--output-dir", str(tmp_path / "out")]) == 1
    assert "a precision in nats is not reached with rounded products" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

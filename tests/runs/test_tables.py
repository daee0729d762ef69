"""CSV tables give back each float bit by bit, and only an empty cell is missing."""

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from modeconn.runs.tables import read_csv, write_csv


@given(values=arrays.arrays(np.float64, st.integers(1, 20), elements=st.floats(allow_nan=False)))
def test_floats_read_back_bit_equal(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    write_csv(pd.DataFrame({"loss": values}), path)
    assert read_csv(path)["loss"].to_numpy(np.float64).tobytes() == values.tobytes()


def test_single_precision_reads_back_bit_equal(tmp_path):
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    write_csv(pd.DataFrame({"loss": values}), tmp_path / "t.csv")
    assert (read_csv(tmp_path / "t.csv")["loss"].astype(np.float32) == values).all()


def test_words_stay_words_and_missing_stays_missing(tmp_path):
    frame = pd.DataFrame({"task": ["NA", "null", 'a "b", c', "two\nlines"], "low": [1.5, np.nan, np.nan, 0.0]})
    write_csv(frame, tmp_path / "t.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), frame)


def test_lines_end_as_on_unix(tmp_path):
    write_csv(pd.DataFrame({"a": [1, 2]}), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_bytes() == b"a\n1\n2\n"

"""Parts of a run that a resumed evaluation takes over, and those that it makes again."""

from pathlib import Path

import pandas as pd
import pytest

from modeconn.evaluation.store import RunPointStore
from modeconn.runs import RunFolder

RECORDS = pd.DataFrame({"task": ["one", "one"], "example": [0, 1], "loss_sum": [0.1, 0.2]})


def same(found: pd.DataFrame | None) -> None:
    assert found is not None
    pd.testing.assert_frame_equal(found, RECORDS, check_exact=True)


def test_records_come_back_as_they_were_kept(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", command="evaluate", settings={}) as run:
        store = RunPointStore(run)
        assert store.load("here") is None
        store.save("here", RECORDS)
        same(store.load("here"))
        assert store.load("there") is None


@pytest.mark.parametrize("left", [0, 1, 20, -3])
def test_a_part_that_a_fault_has_cut_is_measured_again(tmp_path: Path, left: int) -> None:
    with RunFolder.open(tmp_path / "run", command="evaluate", settings={}) as run:
        store = RunPointStore(run)
        store.save("here", RECORDS)
        (file,) = (run.folder / ".run" / "partial").iterdir()
        file.write_bytes(file.read_bytes()[:left])
        assert store.load("here") is None
        store.save("here", RECORDS)
        same(store.load("here"))

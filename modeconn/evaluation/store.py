"""Finished points of an evaluation, kept in its run folder until the run is finished."""

import hashlib

import pandas as pd

from modeconn.runs import RunFolder


class RunPointStore:
    """Keeps the records of every point as a part of a run.

    Args:
        run: The run folder, opened.

    Attributes:
        processes: Those of the run, which share the points.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run, self.processes = run, run.processes

    def load(self, key: str) -> pd.DataFrame | None:
        """The records kept under a key, or None; what cannot be read, as after a fault of the disk, counts for none."""
        file = self._run.partial(_file_name(key))
        try:
            return pd.read_parquet(file) if file.exists() else None
        except (OSError, ValueError):  # pyarrow's errors are among these
            return None

    def save(self, key: str, records: pd.DataFrame) -> None:
        """Keep records under a key; they appear whole or not at all."""
        self._run.write_parquet(records, self._run.partial(_file_name(key)))


def _file_name(key: str) -> str:
    """A short file name for any key."""
    return f"point-{hashlib.sha256(key.encode()).hexdigest()[:16]}.parquet"

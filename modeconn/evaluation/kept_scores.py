"""Finished points of a measurement by the harness, kept so that an interrupted one goes on."""

import hashlib
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.records import PointStore
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.quantised import quantization_of

Rows = list[dict[str, Any]]
_READ = (".yaml", ".yml", ".py")  # what says how a task is put; its data are not read for a name


def asked_of(benchmarks: Sequence[str], folder: Path | None, num_examples: int | None, batch_size: int) -> str:
    """A name for all that is asked of a point: equal names, equal questions, as far as no data have changed.

    Args:
        benchmarks: Tasks, groups or tags of the harness.
        folder: With YAML files of tasks.
        num_examples: The first so many of each task.
        batch_size: Requests that go through the model together.
    """
    asked = hashlib.sha256(repr((list(benchmarks), num_examples, batch_size, version("lm-eval"))).encode())
    files = sorted(file for file in folder.rglob("*") if file.suffix in _READ) if folder else []
    for file in files:
        asked.update(repr((file.name, file.read_bytes())).encode())
    return asked.hexdigest()


class KeptScores:
    """What the harness found at points, in the store of a run.

    Args:
        store: Keeps tables; None keeps nothing.
        model: The model.
        asked: What is asked of every point, from `asked_of`.
    """

    def __init__(self, store: PointStore | None, model: AdapterModel, asked: str) -> None:
        self._store = store
        quantised = quantization_of(model.module) or ""
        self._shared = repr((model.fingerprint, str(model.dtype), model.device.type, quantised, asked))

    def load(self, point: Adapter) -> tuple[Rows, Rows] | None:
        """The rows of scores and of samples at a point, or None."""
        if self._store is None:
            return None
        scores, samples = (self._store.load(self._key(point, what)) for what in ("scores", "samples"))
        return None if scores is None or samples is None else (_rows(scores), _rows(samples))

    def save(self, point: Adapter, scores: Rows, samples: Rows) -> None:
        """Keep the rows of a point."""
        if self._store is not None:
            self._store.save(self._key(point, "scores"), pd.DataFrame(scores))
            self._store.save(self._key(point, "samples"), pd.DataFrame(samples))

    def _key(self, point: Adapter, what: str) -> str:
        """The name of a table of a point."""
        return f"harness {what} {self._shared} {point.fingerprint}"


def _rows(table: pd.DataFrame) -> Rows:
    """A table's rows as the harness's were, lists as lists and nothing as None."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in table.to_dict(orient="records")]


def _plain(value: Any) -> Any:  # noqa: ANN401
    """A value as it was before a file held it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return None if pd.api.types.is_scalar(value) and pd.isna(value) else value

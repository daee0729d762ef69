"""General ability: benchmarks of the lm-evaluation-harness at points of a path, on the model in memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.harness import (
    check_benchmarks,
    generators_restored,
    load_benchmarks,
    require_harness,
    run_benchmarks,
)
from modeconn.evaluation.harness_tables import sample_rows, score_rows
from modeconn.evaluation.kept_scores import KeptScores, asked_of
from modeconn.evaluation.path_sweep import Progress
from modeconn.evaluation.records import PointStore
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.family import Classifier
from modeconn.paths.path import Path

SPLIT = "harness"  # the harness chooses the split of each task itself
GENERAL_COLUMNS = (
    "path", "space", "task", "split", "t", "score", "score_low", "score_high", "metric", "num_examples", "distance",
    "stderr", "higher_is_better", "num_fewshot", "version",
)  # fmt: skip
SAMPLE_COLUMNS = (
    "path", "task", "t", "example", "metric", "score", "target", "output", "log_likelihoods", "prompt_hash",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class GeneralScores:
    """What the harness found at points.

    Attributes:
        frame: One row for each path, task, position and metric, the group of tasks among the tasks: the columns that
            profile.csv has as well (path, space, task, split, t, score, score_low, score_high, metric, num_examples,
            distance), and stderr as the harness gives it, higher_is_better, num_fewshot and the task's version. The
            split is "harness". A metric that is taken of filtered answers is called as the harness calls it, such as
            "exact_match,get-answer". Intervals are pointwise 95 %: Wilson's where each example has 0 or 1, else 1.96
            standard errors; missing below 8 examples.
        samples: One row for each path, task, position, example and metric: path, task, t, example, metric, score,
            target, output (the text that was written, filtered), log_likelihoods (of each choice, nats), prompt_hash.
    """

    frame: pd.DataFrame
    samples: pd.DataFrame

    def __repr__(self) -> str:
        tasks, points = self.frame["task"].nunique(), len(self.frame[["path", "t"]].drop_duplicates())
        return f"GeneralScores(tasks={tasks}, points={points}, samples={len(self.samples)})"


@dataclass(frozen=True)
class _Place:
    """Where something is measured: a point, and how the tables call it."""

    point: Adapter
    path: str
    space: str
    t: float
    distance: float

    @property
    def keys(self) -> dict[str, Any]:
        """What every row of a table begins with."""
        return {"path": self.path, "t": self.t}

    @property
    def words(self) -> str:
        """The place for messages."""
        return self.path if np.isnan(self.t) else f"{self.path}, t={self.t:g}"


def general_scores(
    points: Path | Sequence[Adapter],
    model: AdapterModel,
    benchmarks: Sequence[str],
    *,
    t: ArrayLike | None = None,
    num_examples: int | None = None,
    include_path: str | FilePath | None = None,
    batch_size: int = 8,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> GeneralScores:
    """Evaluate points with the lm-evaluation-harness (Gao 2024, doi 10.5281/zenodo.12608602); needs lm-eval.

    The harness reads the model that is in memory; it is afterwards what it was, also after an error. Every point is
    asked the same: the examples that stand before a question are drawn anew from one seed.

    Args:
        points: A path, or checkpoints with different names.
        model: The model; no classifier.
        benchmarks: Tasks, groups or tags of the harness: "mmlu", "bbh", "piqa".
        t: Positions on the path, increasing in [0, 1]; the ends and the middle by default.
        num_examples: The first so many of each task; None takes all.
        include_path: A folder with YAML files of tasks. Where it has all that is asked for, nothing else is read.
        batch_size: Requests that go through the model together.
        store: Keeps finished points, so that an interrupted measurement goes on. Data are taken to be what they were.
        progress: Called as `progress(done, total, what)` before every point and at the end.

    Returns:
        The scores and their samples. Of checkpoints, `path` is the name, `space` is empty, `t` and `distance` are NaN.

    Raises:
        EvaluationError: If the model is a classifier, a point has no weight update, a setting is out of range, a
            benchmark is unknown or cannot be loaded, lm-eval is not installed, or a log-likelihood is NaN.
        ModelError: If a point does not fit the model.

    Example:
        Of a line, its model and a folder with YAML files::

            scores = general_scores(line, model, ["mmlu", "piqa"], t=[0, 0.5, 1], include_path="benchmarks")
            scores.frame.pivot(index="t", columns=["task", "metric"], values="score")
    """
    check_writes(model)
    _check_asked(benchmarks, num_examples, batch_size)
    folder = _checked_folder(include_path)
    given = points.points if isinstance(points, Path) else points
    _check_points(given, model)
    positions = _checked_positions(points, t)
    require_harness()
    kept = KeptScores(store, model, asked_of(benchmarks, folder, num_examples, batch_size))
    scores: list[dict[str, Any]] = []
    samples: list[dict[str, Any]] = []
    total, name = len(positions) or len(given), points.name if isinstance(points, Path) else ""
    loaded = None
    with generators_restored(model.device):
        for done, place in enumerate(_places(points, model, positions)):
            if progress:
                progress(done, total, name or place.path)
            known = kept.load(place.point)
            if known is None:
                loaded = loaded or load_benchmarks(benchmarks, folder)
                with model.at(place.point) as module:
                    found = run_benchmarks(loaded, model, module, num_examples=num_examples, batch_size=batch_size)
                known = score_rows(found), sample_rows(found, place.words)
                kept.save(place.point, *known)
            measured = {"space": place.space, "split": SPLIT, "distance": place.distance}
            scores += [place.keys | measured | row for row in known[0]]
            samples += [place.keys | row for row in known[1]]
    if progress:
        progress(total, total, name)
    frame = pd.DataFrame(scores, columns=list(GENERAL_COLUMNS)).astype({"higher_is_better": "boolean"})
    return GeneralScores(frame, pd.DataFrame(samples, columns=list(SAMPLE_COLUMNS)))


def _places(points: Path | Sequence[Adapter], model: AdapterModel, positions: Sequence[float]) -> Iterator[_Place]:
    """The points one after the other; of a path, each is computed when it is its turn."""
    if isinstance(points, Path):
        path = points.on(model)
        for t in positions:
            yield _Place(path(t), path.name, path.space, t, path.distance(t))
    else:
        for point in points:
            yield _Place(point.within(model), point.name, "", np.nan, np.nan)


def check_general(
    benchmarks: Sequence[str],
    *,
    t: ArrayLike | None = None,
    num_examples: int | None = None,
    include_path: str | FilePath | None = None,
) -> None:
    """Raise if `general_scores` could not be asked this of a path; neither a model nor data are read.

    Args:
        benchmarks: Tasks, groups or tags of the harness.
        t: Positions on the path.
        num_examples: The first so many of each task.
        include_path: A folder with YAML files of tasks.

    Raises:
        EvaluationError: If a setting is out of range, a benchmark is unknown, or lm-eval is not installed.
    """
    _check_asked(benchmarks, num_examples, 1)
    folder = _checked_folder(include_path)
    _positions_on_path(t)
    check_benchmarks(benchmarks, folder)


def check_writes(model: AdapterModel) -> None:
    """Raise unless the model writes text.

    Raises:
        EvaluationError: If it is a classifier.
    """
    if isinstance(model.family, Classifier):
        raise EvaluationError(
            "general ability cannot be measured",
            expected="a language model: the harness reads the likelihoods of texts, and what the model writes",
            got="a classifier",
            remedy="measure checkpoints of a causal or an encoder-decoder model",
        )


def _check_asked(benchmarks: Sequence[str], num_examples: int | None, batch_size: int) -> None:
    """Raise unless there are benchmarks, and the numbers are positive."""
    if isinstance(benchmarks, str) or not benchmarks or len(set(benchmarks)) < len(benchmarks):
        got = repr(benchmarks) if isinstance(benchmarks, str) else ", ".join(benchmarks) or "none"
        raise EvaluationError(
            "the benchmarks cannot be told apart" if benchmarks else "there is no benchmark",
            expected="a list of names of the harness's tasks or groups, each once",
            got=got,
            remedy='give a list such as ["mmlu", "piqa"]',
        )
    for name, value in (("num_examples", num_examples), ("batch_size", batch_size)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise EvaluationError(
                f"{name} cannot be used",
                expected="a whole number, 1 or more",
                got=f"{name}={value!r}",
                remedy=f"give {name} a positive value, or leave it out",
            )


def _checked_folder(include_path: str | FilePath | None) -> FilePath | None:
    """The folder with YAML files."""
    if include_path is None:
        return None
    folder = FilePath(include_path)
    if not folder.is_dir() or not any(folder.rglob("*.y*ml")):
        raise EvaluationError(
            f"there are no benchmarks in {folder}",
            expected="a folder with YAML files of tasks",
            got="a folder without any" if folder.is_dir() else "no folder",
            remedy="check include_path (--lm-eval-tasks), or leave it out for the harness's own tasks",
        )
    return folder


def _check_points(points: Sequence[Adapter], model: AdapterModel) -> None:
    """Raise unless there are points, each with weights that the model can take."""
    if not points:
        raise EvaluationError(
            "there is nothing to measure",
            expected="a path, or one or more checkpoints",
            got="no checkpoint",
            remedy="give Adapter.from_pretrained(folder) for each",
        )
    without = [point.name for point in points if not point.config.kind.has_update]
    if without:
        raise EvaluationError(
            "the harness cannot run every checkpoint",
            expected="checkpoints that change weights",
            got=f"prompts, prefixes or gates: {listed(without)}",
            remedy="measure them on tasks of your own with evaluate_path",
        )
    for point in points:
        model.check(point)


def _checked_positions(points: Path | Sequence[Adapter], t: ArrayLike | None) -> list[float]:
    """The positions on a path; none for checkpoints."""
    if not isinstance(points, Path):
        twice = [name for name, count in Counter(point.name for point in points).items() if count > 1]
        if t is None and not twice:
            return []
        raise EvaluationError(
            "the checkpoints cannot be told apart" if twice else "positions are those of a path",
            expected="checkpoints of different names" if twice else "checkpoints alone, or a path and t",
            got=f"more than once: {listed(twice)}" if twice else "checkpoints and t",
            remedy="rename a folder" if twice else "leave t out, or give LinearPath(start, end)",
        )
    return _positions_on_path(t)


def _positions_on_path(t: ArrayLike | None) -> list[float]:
    """The positions, increasing from 0 to 1."""
    positions = np.asarray((0.0, 0.5, 1.0) if t is None else t, dtype=float)
    right = positions.ndim == 1 and len(positions) > 0 and bool((np.diff(positions) > 0).all())
    if not right or not ((positions >= 0) & (positions <= 1)).all():
        raise EvaluationError(
            "the positions on the path cannot be used",
            expected="one t or more in increasing order, from 0 to 1",
            got=f"t={positions.tolist()}",
            remedy="sort the positions, leave out repeats, and stay between the ends",
        )
    return positions.tolist()

"""As many examples as a wanted precision needs: growing samples, with intervals that allow for several looks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from modeconn.errors import EvaluationError
from modeconn.evaluation.band_table import band_table
from modeconn.evaluation.bands import Above
from modeconn.evaluation.barrier_table import BOTH, barrier_table, with_holm
from modeconn.evaluation.definitions import Definition, check_definition
from modeconn.evaluation.evaluate import PointStore, Progress, check_tasks, evaluate_path
from modeconn.evaluation.gate import LossesNotFinite
from modeconn.evaluation.growing_sample import GrowingSample, in_whole_split, of_task
from modeconn.evaluation.maximum_interval import FEW_EFFECTIVE
from modeconn.evaluation.paired import Metric, check_confidence, check_metric
from modeconn.evaluation.profile import Profile
from modeconn.evaluation.stopping import confidence_of_a_look, look_sizes
from modeconn.models.point_model import PointModel
from modeconn.paths.path import Path
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task


@dataclass(frozen=True)
class PreciseProfile:
    """A profile of as many examples as its precision needed.

    Attributes:
        profile: The profile; tasks may have different numbers of examples. Its own `barriers()` and `bands()`, and the
            pointwise intervals of its table, know nothing of the looks and are too short.
        looks: One row for each task and look: path, task, look, num_looks (planned), num_examples, confidence, barrier,
            low, high, num_effective, half_width, stopped.
        confidence: Of the intervals, whichever look they come from.
        num_resamples: Resamples of the examples for one look.
        seed: Of the order of the examples and of the resampling.
    """

    profile: Profile
    looks: pd.DataFrame
    confidence: float
    num_resamples: int
    seed: int

    def barriers(self, metric: Metric = "loss", *, baselines: Sequence[Definition] = BOTH) -> pd.DataFrame:
        """The barriers with intervals and p-values that allow for having looked several times.

        Args:
            metric: "loss", or "score" for the barrier of the error `1 - score`.
            baselines: The definitions, see `Profile.barriers`. The looks allow for one of them at a time.

        Returns:
            The columns of barriers.csv.

        Raises:
            EvaluationError: If the metric or a definition is unknown.
        """
        tables = []
        for task in self.profile.frame["task"].unique():
            num_looks = self._num_looks(task)
            table = barrier_table(*self._records(task), metric=metric, baselines=baselines, **self._settings(num_looks))
            p_value = (table["p_value"] * num_looks).clip(upper=1.0)
            tables.append(table.assign(p_value=p_value, confidence=self.confidence))  # not that of a look
        return with_holm(pd.concat(tables, ignore_index=True))

    def bands(self, metric: Metric = "loss", *, above: Above = "nothing") -> pd.DataFrame:
        """Bands of whole profiles that allow for having looked several times, as `Profile.bands` gives them.

        Args:
            metric: "loss", or "score" for the error `1 - score`.
            above: "nothing", or what is subtracted: "chord" or "mean".

        Returns:
            The columns of bands.csv; the confidence is that of a look.

        Raises:
            EvaluationError: If the metric or the baseline is unknown.
        """
        tables = [
            band_table(*self._records(task), metric=metric, above=above, **self._settings(self._num_looks(task)))
            for task in self.profile.frame["task"].unique()
        ]
        return pd.concat(tables, ignore_index=True)

    def _num_looks(self, task: str) -> int:
        """How many looks at a task were planned."""
        return int(of_task(self.looks, task)["num_looks"].iloc[0])

    def _records(self, task: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """A task's means and per-example records."""
        return of_task(self.profile.frame, task), of_task(self.profile.examples, task)

    def _settings(self, num_looks: int) -> dict[str, Any]:
        """The settings of intervals of one of several looks."""
        spent = confidence_of_a_look(self.confidence, num_looks)
        return {"confidence": spent, "num_resamples": self.num_resamples * num_looks, "seed": self.seed}


def evaluate_to_precision(
    path: Path,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    precision: float,
    metric: Metric = "loss",
    baseline: Definition = "chord",
    confidence: float = 0.95,
    num_first: int = 200,
    num_resamples: int = 2000,
    seed: int = 0,
    num_points: int = 21,
    t: ArrayLike | None = None,
    split: str = "test",
    settings: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> PreciseProfile:
    """Evaluate tasks along a path on growing random samples, until each barrier is known to a precision.

    The sample is doubled from look to look; an example is evaluated once, at every position. A task is done when half
    the width of its barrier's interval is at most `precision` and enough examples carry it, or with its last example.
    With K looks planned, the intervals of every look have confidence `1 - (1 - confidence) / K`: whatever the rule
    that stops, the chance that the reported one misses is at most `1 - confidence`.

    Args:
        path: The path.
        model: The model.
        tasks: The tasks; their names must differ.
        precision: Half the width of the interval that is wanted, in nats (in shares for the error).
        metric: Which barrier it is wanted for: "loss", or "score" for the error.
        baseline: Which barrier: "chord", "mean", "convexity", "average", see `barrier_interval`.
        confidence: That of the intervals.
        num_first: Examples of a task at the first look.
        num_resamples: Resamples of the examples for one look; with K looks, K times as many are drawn.
        seed: Of the order of the examples and of the resampling.
        num_points: Evenly spaced positions, ends included.
        t: The positions themselves instead, increasing from 0 to 1.
        split: Which split of every task.
        settings: How examples become tokens.
        check: Whether to compare the ends with plain PEFT, at the first look.
        store: Keeps finished points.
        progress: Called as `progress(done, total, what)` after every position, anew in every look.

    Returns:
        The profile, and what was seen at every look.

    Raises:
        EvaluationError: If the precision is not positive, `num_first` is below 8, or as `evaluate_path` raises it.
        ModelError: If the path's points do not fit the model.
        TaskError: If a task lacks the split or cannot be encoded.

    Example:
        Of a path, a model and tasks, to 0.01 nats::

            found = evaluate_to_precision(path, model, tasks, precision=0.01)
            found.looks[["task", "num_examples", "half_width"]]
            found.barriers()
    """
    _check_precision(precision)
    check_metric(metric)
    check_definition(baseline)
    check_confidence(confidence, num_resamples)
    check_tasks(tasks)
    options: dict[str, Any] = {"num_points": num_points, "t": t, "split": split, "settings": settings}
    options |= {"store": store, "progress": progress}
    growing = []
    for number, task in enumerate(tasks):
        # A model may have tasks of its own kind, which know no more than it does.
        size = len(task.split(split)) if isinstance(task, Task) else model.encode(task, split, settings).num_examples
        order = np.random.default_rng([seed, number]).permutation(size)
        growing.append(GrowingSample(task, split, order, look_sizes(size, num_first)))
    looks, unfinished = [], growing
    while unfinished:
        parts = [one.next_part() for one in unfinished]
        try:
            profile = evaluate_path(path, model, parts, check=check and not looks, **options)
        except LossesNotFinite as error:
            raise in_whole_split(error, unfinished) from None
        rest = []
        for one in unfinished:
            one.profiles.append(profile)
            row = _look(one, metric, baseline, confidence, num_resamples, seed)
            last = row["look"] == row["num_looks"]
            # The width itself is not to be trusted where few examples carry it.
            row["stopped"] = last or (row["half_width"] <= precision and not row["num_effective"] < FEW_EFFECTIVE)
            looks.append(row)
            rest += [] if row["stopped"] else [one]
        unfinished = rest
    return PreciseProfile(_whole(growing), pd.DataFrame(looks), confidence, num_resamples, seed)


def _look(
    one: GrowingSample, metric: Metric, baseline: Definition, confidence: float, num_resamples: int, seed: int
) -> dict[str, Any]:
    """What is known of a task's barrier after its last look."""
    num_looks = len(one.sizes)
    spent = confidence_of_a_look(confidence, num_looks)
    so_far = one.so_far()
    settings: dict[str, Any] = {"confidence": spent, "num_resamples": num_resamples * num_looks, "seed": seed}
    found = so_far.barriers(metric, baselines=(baseline,), **settings).iloc[0]
    row = {"path": found["path"], "task": found["task"], "look": len(one.profiles), "num_looks": num_looks}
    row |= {"num_examples": found["num_examples"], "confidence": spent}
    row |= {name: found[name] for name in ("barrier", "low", "high", "num_effective")}
    return row | {"half_width": (found["high"] - found["low"]) / 2}


def _whole(growing: Sequence[GrowingSample]) -> Profile:
    """The profiles of all tasks as one, positions in order; checks are those of the first look."""
    tasks = [one.so_far() for one in growing]
    outputs = [one.outputs for one in tasks if one.outputs is not None]
    checks = {name: dict(own) for name, own in growing[0].profiles[0].checks.items()}
    for own in checks.values():
        own["truncated_examples"] = {one.task.name: one.num_truncated for one in growing}
    return Profile(
        pd.concat([one.frame for one in tasks]).sort_values("t", kind="stable", ignore_index=True),
        pd.concat([one.examples for one in tasks]).sort_values("t", kind="stable", ignore_index=True),
        checks,
        outputs=pd.concat(outputs).sort_values("t", kind="stable", ignore_index=True) if outputs else None,
    )


def _check_precision(precision: float) -> None:
    """Raise unless the precision can be reached."""
    if not 0 < precision < np.inf:
        raise EvaluationError(
            "no precision to evaluate to",
            expected="half the width of the interval that is wanted, above 0",
            got=f"precision={precision:g}",
            remedy="use precision=0.01 for a barrier to 0.01 nats, or evaluate_path for all examples",
        )

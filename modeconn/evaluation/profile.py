"""A profile: what the tasks' metrics are along a path, as tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pandas as pd

from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.band_table import band_table
from modeconn.evaluation.bands import Above
from modeconn.evaluation.barrier_table import BARRIER_COLUMNS as BARRIER_COLUMNS
from modeconn.evaluation.barrier_table import barrier_table
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.intervals import proportion_interval, ratio_interval
from modeconn.evaluation.paired import Metric as Metric

PROFILE_COLUMNS = (
    "path", "space", "task", "split", "t", "loss", "loss_low", "loss_high", "score", "score_low", "score_high",
    "metric", "num_examples", "num_tokens", "distance",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Profile:
    """Metrics along one or several paths.

    Attributes:
        frame: One row for each path, task and position; the columns are those of profile.csv. `loss` is in nats per
            scored token (per example for a classifier): summed losses divided once by summed counts.
        examples: One row for each path, task, position and example: path, task, t, example, loss_sum, num_tokens,
            score.
        checks: What was checked before the sweep: agreement with PEFT at the ends, repeatability, cut prompts.
        resolution: One row for each path and task that was resolved to a tolerance: path, task, resolved (whether the
            error is below the tolerance or the noise floor), tolerance, noise_floor and error_estimate (nats),
            num_evaluations, num_pieces (between the path's joints) and degree. None where positions were given.
        curves: (path, task) -> the mean loss as a function of t, where it was resolved; see `curve`.
    """

    frame: pd.DataFrame
    examples: pd.DataFrame
    checks: Mapping[str, Any] = field(default_factory=dict)
    resolution: pd.DataFrame | None = None
    curves: Mapping[tuple[str, str], Interpolant] = field(default_factory=dict)

    @classmethod
    def from_examples(
        cls, examples: pd.DataFrame, *, space: str, split: str, metrics: Mapping[str, str],
        distances: Mapping[float, float], checks: Mapping[str, Any] | None = None,
    ) -> "Profile":  # fmt: skip
        """Means and pointwise 95 % intervals from per-example records of one path.

        Args:
            examples: Per-example records.
            space: The coordinates of the path.
            split: The split that was evaluated.
            metrics: Task -> what its score means.
            distances: Position -> L2 distance from the start.
            checks: What was checked.
        """
        rows = []
        for key, group in examples.groupby(["path", "task", "t"], sort=False):
            path, task, t = cast(tuple[str, str, float], key)
            losses, tokens = group["loss_sum"].to_numpy(), group["num_tokens"].to_numpy()
            scores = group["score"].to_numpy()
            loss_low, loss_high = ratio_interval(losses, tokens)
            score_low, score_high = proportion_interval(scores)
            rows.append((
                path, space, task, split, t, losses.sum() / tokens.sum(), loss_low, loss_high, scores.mean(),
                score_low, score_high, metrics[task], len(group), tokens.sum(), distances[t],
            ))  # fmt: skip
        return cls(pd.DataFrame(rows, columns=list(PROFILE_COLUMNS)), examples, checks or {})

    @classmethod
    def concat(cls, profiles: Sequence["Profile"]) -> "Profile":
        """The profiles of several paths as one; checks are kept by path.

        Raises:
            EvaluationError: If two profiles have a path of one name.
        """
        names = Counter(name for profile in profiles for name in profile.frame["path"].unique())
        twice = [str(name) for name, count in names.items() if count > 1]
        if twice:
            raise EvaluationError(
                "the paths of the profiles cannot be told apart",
                expected="a name of its own for every path",
                got=f"more than once: {listed(twice)}",
                remedy="name the paths: LinearPath(start, end, name=...)",
            )
        checks: dict[str, Any] = {}
        curves: dict[tuple[str, str], Interpolant] = {}
        for profile in profiles:
            checks |= profile.checks
            curves |= profile.curves
        resolutions = [profile.resolution for profile in profiles if profile.resolution is not None]
        return cls(
            pd.concat([profile.frame for profile in profiles], ignore_index=True),
            pd.concat([profile.examples for profile in profiles], ignore_index=True),
            checks,
            pd.concat(resolutions, ignore_index=True) if resolutions else None,
            curves,
        )

    def curve(self, task: str, *, path: str | None = None) -> Interpolant:
        """The mean loss of a task as a function of t: values, derivatives, maximum and integral between the positions.

        Args:
            task: The task's name.
            path: The path's name, where the profile has several.

        Raises:
            EvaluationError: If the profile was not resolved, or not one path and task fit.
        """
        found = [key for key in self.curves if key[1] == task and path in (None, key[0])]
        if len(found) != 1:
            known = listed(f"{task} on {path}" for path, task in self.curves)
            raise EvaluationError(
                f"no single curve of {task!r}" + (f" on {path!r}" if path else ""),
                expected="one task of one path that was resolved to a tolerance",
                got=known if self.curves else "a profile at given positions, which says nothing between them",
                remedy="name the task, and the path with path=..."
                if self.curves
                else "evaluate_path(tolerance=0.0025)",
            )
        return self.curves[found[0]]

    def barriers(
        self, metric: Metric = "loss", *, confidence: float = 0.95, num_resamples: int = 2000, seed: int = 0
    ) -> pd.DataFrame:
        """The barrier of every path and task against both baselines; the columns are those of barriers.csv.

        The loss of a resolved profile has its maximum where its curve has it, between the positions too; a score is a
        step function, and has it at a position. Intervals and tests are those of `barrier_interval`, over examples.

        Args:
            metric: "loss", or "score" for the barrier of the error `1 - score`.
            confidence: That of the intervals.
            num_resamples: Resamples of the examples.
            seed: Of the resampling.

        Returns:
            path, space, task, metric, baseline, barrier, low, high, t_at_max, num_points, num_examples,
            estimate_corrected (the height without the bias of a maximum), p_value (of "no barrier"), p_holm (adjusted
            over the paths and tasks of one baseline), num_effective (how many examples carry the variance). `low` and
            `high` and what follows are missing below 8 examples.

        Raises:
            EvaluationError: If the metric is unknown, the positions do not cover the path, or a setting is out of
                range.
        """
        return barrier_table(
            self.frame, self.examples, metric=metric, curves=self.curves, confidence=confidence,
            num_resamples=num_resamples, seed=seed,
        )  # fmt: skip

    def bands(
        self, metric: Metric = "loss", *, above: Above = "nothing", confidence: float = 0.95,
        num_resamples: int = 2000, seed: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """Bands that hold a whole profile at once, where `loss_low` and `loss_high` hold one position only.

        Args:
            metric: "loss", or "score" for the error `1 - score`.
            above: "nothing", or what is subtracted: "chord" or "mean".
            confidence: That a band holds its profile at all positions.
            num_resamples: Resamples of the examples.
            seed: Of the resampling.

        Returns:
            path, space, task, metric, above, t, value, low, high, critical (standard errors to either side); without
            the paths and tasks that have fewer than 8 examples.

        Raises:
            EvaluationError: If the metric or the baseline is unknown, or a setting is out of range.
        """
        return band_table(
            self.frame, self.examples, metric=metric, above=above, confidence=confidence,
            num_resamples=num_resamples, seed=seed,
        )  # fmt: skip

    def __repr__(self) -> str:
        tasks, positions = self.frame["task"].nunique(), self.frame["t"].nunique()
        return f"Profile(paths={self.frame['path'].nunique()}, tasks={tasks}, positions={positions})"

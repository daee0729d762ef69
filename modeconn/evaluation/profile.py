"""A profile: what the tasks' metrics are along a path, as tables."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pandas as pd

from modeconn.errors import EvaluationError, listed
from modeconn.evaluation.band_table import band_table
from modeconn.evaluation.bands import Above
from modeconn.evaluation.barrier import Baseline
from modeconn.evaluation.barrier_table import BARRIER_COLUMNS as BARRIER_COLUMNS
from modeconn.evaluation.barrier_table import BOTH, barrier_table
from modeconn.evaluation.definitions import Definition
from modeconn.evaluation.example_table import example_table
from modeconn.evaluation.interpolant import Interpolant
from modeconn.evaluation.intervals import proportion_interval, ratio_interval
from modeconn.evaluation.mixtures import expanded, mixed_curve, mixed_rows
from modeconn.evaluation.outputs import without_outputs
from modeconn.evaluation.paired import Metric as Metric
from modeconn.evaluation.paired_records import check_records
from modeconn.tasks.task import Task

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
            num_evaluations, num_pieces (between the path's joints), degree, and the mean loss over t and over the
            path's length in mean_over_t and mean_over_length. None where positions were given.
        curves: (path, task) -> the mean loss as a function of t, where it was resolved; see `curve`.
        outputs: One row for each path, task, position and example whose answer was written: path, task, t, example,
            output, ended (by the model, not by the limit), score. None where no task is scored by written answers.
        mixtures: (path, name) -> the weights of the tasks that a row of the table is the mean of; see `mixture`.
        products: What rounded matrix products do to the loss barriers; the columns are those of `rounded_products`.
            None where nothing is rounded.
    """

    frame: pd.DataFrame
    examples: pd.DataFrame
    checks: Mapping[str, Any] = field(default_factory=dict)
    resolution: pd.DataFrame | None = None
    curves: Mapping[tuple[str, str], Interpolant] = field(default_factory=dict)
    outputs: pd.DataFrame | None = None
    mixtures: Mapping[tuple[str, str], Mapping[str, float]] = field(default_factory=dict)
    products: pd.DataFrame | None = None

    @classmethod
    def from_examples(
        cls, examples: pd.DataFrame, *, space: str, split: str, metrics: Mapping[str, str],
        distances: Mapping[float, float], checks: Mapping[str, Any] | None = None,
    ) -> "Profile":  # fmt: skip
        """Means and pointwise 95 % intervals from per-example records of one path.

        Args:
            examples: Per-example records, with what was written.
            space: The coordinates of the path.
            split: The split that was evaluated.
            metrics: Task -> what its score means.
            distances: Position -> L2 distance from the start.
            checks: What was checked.

        Raises:
            EvaluationError: If an example has a loss or score that is NaN or infinite.
        """
        check_records(examples)
        examples, outputs = without_outputs(examples)
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
        frame = pd.DataFrame(rows, columns=list(PROFILE_COLUMNS))
        return cls(frame, examples, checks or {}, outputs=outputs)

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
        mixtures: dict[tuple[str, str], Mapping[str, float]] = {}
        for profile in profiles:
            checks |= profile.checks
            curves |= profile.curves
            mixtures |= profile.mixtures
        resolutions = [profile.resolution for profile in profiles if profile.resolution is not None]
        outputs = [profile.outputs for profile in profiles if profile.outputs is not None]
        products = [profile.products for profile in profiles if profile.products is not None]
        return cls(
            pd.concat([profile.frame for profile in profiles], ignore_index=True),
            pd.concat([profile.examples for profile in profiles], ignore_index=True),
            checks,
            pd.concat(resolutions, ignore_index=True) if resolutions else None,
            curves,
            pd.concat(outputs, ignore_index=True) if outputs else None,
            mixtures,
            pd.concat(products, ignore_index=True) if products else None,
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

    def mixture(self, weights: Mapping[str, float] | None = None, *, name: str = "mixture") -> "Profile":
        """The profile with one task more on every path: the weighted mean of others.

        Loss and score are means of the tasks' own. Tasks have examples of their own, so that variances add up, and
        barriers and bands of the mixture resample every task's examples apart.

        Args:
            weights: Task, or other mixture, -> positive weight; they are divided by their sum. None weighs all
                measured tasks alike.
            name: What the tables call it.

        Raises:
            EvaluationError: If a task is not there on every path, a weight is not positive, the name is taken, or the
                tasks were measured on different splits or positions.

        Example:
            Of a profile of two tasks::

                profile.mixture({"old": 2, "new": 1}, name="mostly old").barriers()
        """
        found: dict[str, Mapping[str, float]] = {}
        for path, own in self.frame.groupby("path", sort=False)["task"]:
            known = {task: given for (there, task), given in self.mixtures.items() if there == path}
            found[str(path)] = expanded(weights, [str(task) for task in own.unique()], known, name)
        curves = dict(self.curves)
        for path, own in found.items():
            curve = mixed_curve({task: one for (there, task), one in self.curves.items() if there == path}, own)
            curves |= {(path, name): curve} if curve else {}
        rows = mixed_rows(self.frame, found, name)
        mixtures = {**self.mixtures, **{(path, name): own for path, own in found.items()}}
        return replace(
            self, frame=pd.concat([self.frame, rows], ignore_index=True), curves=curves, mixtures=mixtures
        )  # fmt: skip

    def barriers(
        self, metric: Metric = "loss", *, baselines: Sequence[Definition] = BOTH, confidence: float = 0.95,
        num_resamples: int = 2000, seed: int = 0,
    ) -> pd.DataFrame:  # fmt: skip
        """The barrier of every path and task by one or several definitions; the columns are those of barriers.csv.

        The loss of a resolved profile has its maximum where its curve has it, between the positions too; a score is a
        step function, and has it at a position. Intervals and tests are those of `barrier_interval`, over examples.

        Args:
            metric: "loss", or "score" for the barrier of the error `1 - score`.
            baselines: "chord" (Entezari 2021, arXiv 2110.06296); "mean" of the ends (Ainsworth 2022, 2209.04836);
                "instability", which is the same number under Frankle's name (2020, 1912.05671; there of the error, and
                stable below 0.02); "convexity", the largest chord barrier of any part of the path (Juneja 2022,
                2205.12411); "average", the mean over t of what lies above the chord, which may be negative.
            confidence: That of the intervals.
            num_resamples: Resamples of the examples.
            seed: Of the resampling.

        Returns:
            path, space, task, metric, baseline, barrier, low, high, t_at_max, num_points, num_examples,
            estimate_corrected (the height without the bias of a maximum), p_value (of "no barrier"), p_holm (adjusted
            over the paths and tasks of one baseline), num_effective (how many examples carry the variance), t_from and
            t_to (the part of the path that has the convexity gap; else 0 and 1), confidence (of low and high). What
            needs examples is missing below 8 of them.

        Raises:
            EvaluationError: If metric or a baseline is unknown, the positions do not cover the path, an example has a
                value that is not finite, or a setting is out of range.
        """
        return barrier_table(
            self.frame, self.examples, metric=metric, baselines=baselines, curves=self.curves, mixtures=self.mixtures,
            confidence=confidence, num_resamples=num_resamples, seed=seed,
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
            path, space, task, metric, above, t, value, low, high, critical (standard errors to either side),
            confidence; without the paths and tasks that have fewer than 8 examples.

        Raises:
            EvaluationError: If the metric or the baseline is unknown, or a setting is out of range.
        """
        return band_table(
            self.frame, self.examples, metric=metric, above=above, mixtures=self.mixtures, confidence=confidence,
            num_resamples=num_resamples, seed=seed,
        )  # fmt: skip

    def example_barriers(
        self, metric: Metric = "loss", *, baseline: Baseline = "chord", right_from: float = 0.5,
        texts: Iterable[Task] = (),
    ) -> pd.DataFrame:  # fmt: skip
        """The barrier of every single example, and what becomes of it along the path.

        An example's barrier is that of its own loss per token above the chord, or the mean, of its own ends.

        Args:
            metric: "loss", or "score" for the barrier of the example's error.
            baseline: "chord" or "mean".
            right_from: The score from which an example counts as right; 1 for scores that give part of the credit.
            texts: `Task` objects, whose prompts and answers are added.

        Returns:
            path, space, task, metric, baseline, example, barrier, t_at_max, loss_start, loss_end, score_start,
            score_end, t_changed (the first position that is right where the start is wrong, or wrong where it is
            right), num_changes (between right and wrong, along the positions) and status: "kept" is right everywhere;
            "lost on the way" is right at both ends, wrong between; "lost at the end" is right at the start, wrong at
            the end; "gained" is wrong at the start, right at the end; "found on the way" is wrong at both ends, right
            between; "never" is right nowhere. With texts, prompt and answer.

        Raises:
            EvaluationError: If a setting is unknown, an example has a value that is not finite, or the texts are not
                those of the profile.
        """
        return example_table(
            self.frame, self.examples, metric=metric, baseline=baseline, right_from=right_from, texts=texts
        )

    def __repr__(self) -> str:
        tasks, positions = self.frame["task"].nunique(), self.frame["t"].nunique()
        return f"Profile(paths={self.frame['path'].nunique()}, tasks={tasks}, positions={positions})"

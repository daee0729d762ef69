"""Fitting a simplex: free corners move to where the loss inside is low and the volume large."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import FitError
from modeconn.fitting.bends import Bend, Bends
from modeconn.fitting.objective import Objective, check_factors
from modeconn.fitting.result import SimplexFit
from modeconn.fitting.run import Backward, FitRun, Progress, optimizer_of
from modeconn.fitting.schedule import generator_of
from modeconn.fitting.settings import SimplexFitSettings
from modeconn.fitting.state import FitStore
from modeconn.fitting.volume import Volume
from modeconn.models.point_model import PointModel
from modeconn.paths.simplex import Simplex


def fit_simplex(
    simplex: Simplex,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    settings: SimplexFitSettings | None = None,
    store: FitStore | None = None,
    progress: Progress | None = None,
    **overrides: Any,  # noqa: ANN401  (fields of SimplexFitSettings)
) -> SimplexFit:
    """Move corners of a simplex to where the tasks' loss inside is low and the volume large.

    Minimises `E_u sum_i w_i L_i(simplex(u)) - volume_weight * log V` with u uniform in the simplex and V its volume
    in the coordinates of its space, by stochastic gradients (Benton 2021, arXiv 2102.13042). One corner after the
    other, each begun with `scattered`, makes a simplex grow from one checkpoint; a corner between several checkpoints
    joins them. The simplex that is returned is the one of the lowest objective on the validation split.

    Args:
        simplex: Where to start; its corners lie in no fewer dimensions than they can.
        model: The model.
        tasks: What the loss is made of; `task_weights` says in which shares.
        settings: How to fit, and which corners move.
        store: Keeps the state, so that an interrupted fit goes on where it was, with the same bits on a CPU.
        progress: Called as `progress(done, total, what)` after every step.
        overrides: Fields of `SimplexFitSettings` that take the place of those in `settings`.

    Returns:
        The fitted simplex, its history and settings.

    Raises:
        FitError: If a free corner is not one of the simplex's, the simplex is flat, corners are no factors, the
            settings do not fit the tasks, or the store holds another fit.
        FitStopped: If a loss or a gradient is not finite; its `fit` is the best simplex until then.
        ModelError: If a corner does not fit the model.
        TaskError: If a task lacks the training or the validation split.
        EvaluationError: If the tasks' names are not unique, or a loss before the first step is not finite.

    Example:
        Of an adapter `a` of a model, and tasks with the splits train and eval::

            fit = fit_simplex(Simplex([a, scattered(a, seed=0)]), model, tasks, num_steps=300)
            fit = fit_simplex(Simplex([*fit.simplex.points, scattered(a, seed=1)]), model, tasks, num_steps=300)
            evaluate_simplex(fit.simplex, model, tasks).summary()  # on the test split
    """
    settings = replace(settings or SimplexFitSettings(), **overrides)
    free = _free_corners(simplex, settings)
    for point in simplex.points:
        model.check(point)
    check_factors(simplex.chain)
    return _SimplexRun(simplex, free, Objective(simplex.chain, model, tasks, settings), settings, store).run(progress)


def scattered(point: Adapter, *, share: float = 0.1, seed: int = 0, name: str | None = None) -> Adapter:
    """A point beside another, with which a free corner begins: normal noise on its factors and saved modules.

    Args:
        point: A point whose updates are low-rank.
        share: The noise's standard deviation, as a part of the root mean square of each tensor.
        seed: Seed of the noise.
        name: How tables call the new point.

    Raises:
        FitError: If the share is not positive, or an update of the point has no factors.
    """
    if not share > 0:
        raise FitError(
            f"no point is scattered around {point.name}",
            expected="a share above 0",
            got=f"share={share:g}",
            remedy="give another share, such as 0.1",
        )
    bend, generator = Bend.of(point, torch.device("cpu")), generator_of(seed, 5)
    moved = [
        one.detach() + share * one.detach().square().mean().sqrt() * torch.randn(one.shape, generator=generator)
        for one in bend.tensors
    ]
    beside = name or f"{point.name} + noise {seed}"
    return bend.with_tensors(moved).point(point, name=beside, keep_layout=point.own is not None)


class _SimplexRun(FitRun[SimplexFit]):
    """A fit of corners at random points of the simplex."""

    settings: SimplexFitSettings

    def __init__(
        self,
        simplex: Simplex,
        free: Sequence[int],
        objective: Objective,
        settings: SimplexFitSettings,
        store: FitStore | None,
    ) -> None:
        super().__init__(simplex.chain, objective, settings, store)
        self._simplex, device = simplex, objective.model.device
        chain = simplex.chain.on(objective.model)
        self._bends = Bends(chain, device, free=free)
        corners: list[Bend | Adapter] = list(chain.points)
        for k, bend in zip(free, self._bends.bends, strict=True):
            corners[k] = bend
        self._volume = Volume(corners, space=chain.space, device=device)
        self._free = tuple(free)
        if self._volume.is_flat:
            raise _flat(simplex)
        self._optimizer = optimizer_of(self.tensors, settings)

    @property
    def tensors(self) -> list[torch.Tensor]:
        """Those of the free corners."""
        return self._bends.tensors

    def _load(self, values: Sequence[torch.Tensor]) -> None:
        """Set the free corners."""
        self._bends.load(values)

    def _uniform(self, count: int, *numbers: int) -> torch.Tensor:
        """Uniform points of the simplex that depend on the seed and some numbers, `[count, n]`."""
        return self._simplex.sample(count, generator=generator_of(self.settings.seed, *numbers))

    def _backward(self, step: int) -> Backward:
        """The gradients of one batch, or several, at every point of the step, and those of the volume."""
        per_point, batches = self.settings.gradient_accumulation_steps, self.objective.batches_per_step
        drawn = self._uniform(self.settings.positions_per_step, 1, step).tolist()
        total = 0.0
        for number, row in enumerate(row for row in drawn for _ in range(per_point)):
            at = partial(self._bends.combined, row)
            loss = self.objective.loss(at, step * batches + number, self.tensors, of=batches)
            self._check_finite(loss, "the loss", where=_told([row]), step=step)
            total += loss
        log_volume = self._volume.log()
        if self.settings.volume_weight > 0:
            (-self.settings.volume_weight * log_volume).backward()
        return Backward({"loss": total, "log_volume": log_volume.item()}, _told(drawn))

    def _measure(self) -> dict[str, float]:
        """The mean loss at uniform points, the same at every validation, less what the volume is worth."""
        chain, rows = self._bends.curve(), self._uniform(self.settings.eval_points, 4)
        losses = [
            self.objective.validation.mean_loss(
                chain.point(row, "a point"), _told([row.tolist()]), step=self.state.step
            )
            for row in rows
        ]
        with torch.no_grad():
            log_volume = self._volume.log().item()
        mean, weight = float(np.mean(losses)), self.settings.volume_weight
        objective = mean - weight * log_volume if weight > 0 else mean
        found = {"mean_loss": mean, "worst_loss": max(losses), "worst_of": len(losses), "log_volume": log_volume}
        return {**found, "objective": objective}

    def _made(self, history: pd.DataFrame, *, stopped_early: bool) -> SimplexFit:
        """The simplex with the corners that did not move as they were given."""
        points, moved = list(self._simplex.points), self._bends.curve().points
        for k in self._free:
            points[k] = replace(moved[k], name=f"{points[k].name} fitted")
        simplex = self._simplex.with_points(points)
        return SimplexFit(simplex, history, self.settings, self.state.best_step, stopped_early)

    @property
    def _validation_steps(self) -> int:
        """As the settings say."""
        return self.settings.eval_steps


def _told(rows: Sequence[Sequence[float]]) -> str:
    """Barycentric weights in words."""
    return "weights " + "; ".join(", ".join(f"{weight:.3f}" for weight in row) for row in rows)


def _free_corners(simplex: Simplex, settings: SimplexFitSettings) -> list[int]:
    """The numbers of the corners that move, from 0.

    Raises:
        FitError: If one is not a corner's, or is named twice.
    """
    size = len(simplex.points)
    free = sorted({corner % size for corner in settings.free_corners if -size <= corner < size})
    if len(free) < len(settings.free_corners):
        raise FitError(
            f"the free corners are not corners of the simplex {simplex.name!r}",
            expected=f"numbers from 0 to {size - 1}, or from -{size} to -1, each corner once",
            got=", ".join(map(str, settings.free_corners)),
            remedy="name the corners that are to move: free_corners=(-1,) moves the last",
        )
    return free


def _flat(simplex: Simplex) -> FitError:
    """The error for a simplex without a volume, from which no gradient of the volume leads away."""
    return FitError(
        f"the simplex {simplex.name!r} has no volume",
        expected=f"{len(simplex.points)} corners that lie in no fewer than {len(simplex.points) - 1} dimensions",
        got="a corner in the span of the others",
        remedy="begin a free corner beside them: scattered(point, seed=0)",
    )

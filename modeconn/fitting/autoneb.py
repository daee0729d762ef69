"""AutoNEB: a chain of pivots that settles on the lowest way between two points."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from modeconn.fitting.elastic import insertions, orthogonal, redistributed, tangents
from modeconn.fitting.objective import Objective, check_curve
from modeconn.fitting.pivots import Coordinates
from modeconn.fitting.result import CurveFit
from modeconn.fitting.run import Backward, CurveFitRun, Progress, optimizer_of
from modeconn.fitting.settings import AutoNebSettings
from modeconn.fitting.state import FitStore
from modeconn.fitting.validation import highest
from modeconn.models.point_model import PointModel
from modeconn.paths.chain import PolygonalChain


def fit_autoneb(
    chain: PolygonalChain,
    model: PointModel,
    tasks: Sequence[Any],
    *,
    settings: AutoNebSettings | None = None,
    store: FitStore | None = None,
    progress: Progress | None = None,
    **overrides: Any,  # noqa: ANN401  (fields of AutoNebSettings)
) -> CurveFit:
    """Let a chain settle on the lowest way between its ends, and find the saddle.

    The nudged elastic band of Draxler 2018 (arXiv 1803.00885): every pivot follows its gradient without the part along
    the chain, and after every step the pivots are put back to their parts of the chain's length, as by stiff springs.
    At the end of a cycle the loss is measured on all segments of the validation split, and a pivot is inserted where
    it rises above its segment by more than a fifth of the chain's range. Distances and gradients are those of the
    points' factors, in coordinates that all points have in common (see `Coordinates.of`), so that pivots can be put
    back without a decomposition: all have the rank of the chain's distinct factors together, and keep it (pivots of a
    lower rank than both ends' get a higher one). Losses are those of the chain in its own space.

    Args:
        chain: Where to start; `PolygonalChain.between(start, end, num_bends=3)` starts on the line.
        model: The model.
        tasks: What the loss is made of.
        settings: How to fit.
        store: Keeps the state, so that an interrupted fit goes on where it was, with the same bits on a CPU.
        progress: Called as `progress(done, total, what)` after every step.
        overrides: Fields of `AutoNebSettings` that take the place of those in `settings`.

    Returns:
        The chain of the lowest saddle on the validation split, its history and settings. The saddle is the worst of all
        measured positions; of chains that are nowhere above the higher end, the one of the lowest mean over length.

    Raises:
        FitError: If the chain has no pivot, both ends are one point, a point has no factors, the settings do not fit
            the tasks, or the store holds another fit.
        FitStopped: If a loss or a gradient is not finite; its `fit` is the best chain until then.
        ModelError: If a point does not fit the model.
        TaskError: If a task lacks the training or the validation split.
        EvaluationError: If the tasks' names are not unique, or a loss before the first step is not finite.
    """
    settings = replace(settings or AutoNebSettings(), **overrides)
    check_curve(chain, model)
    return _NebRun(chain, Objective(chain, model, tasks, settings), settings, store).run(progress)


class _NebRun(CurveFitRun):
    """A fit of the pivots of a chain."""

    settings: AutoNebSettings

    def __init__(
        self, chain: PolygonalChain, objective: Objective, settings: AutoNebSettings, store: FitStore | None
    ) -> None:
        super().__init__(chain, objective, settings, store)
        self._chain = chain.on(objective.model)
        self._coordinates, points = Coordinates.of(self._chain, objective.model.device)
        self._ends = points[:1], points[-1:]  # [1, P] each
        self.state.shares = [1 / (len(points) - 1)] * (len(points) - 1)
        self._place(redistributed(points, self.state.shares)[1:-1])

    @property
    def tensors(self) -> list[torch.Tensor]:
        """One vector a pivot."""
        return self._pivots

    @property
    def _points(self) -> torch.Tensor:
        """Ends and pivots, `[K, P]`."""
        return torch.cat([self._ends[0], *(pivot.detach()[None] for pivot in self._pivots), self._ends[1]])

    def _place(self, vectors: Sequence[torch.Tensor] | torch.Tensor) -> None:
        """Pivots at other places, or in another number; their optimiser begins anew."""
        self._pivots = [vector.detach().to(self._ends[0].device, copy=True).requires_grad_() for vector in vectors]
        self._optimizer = optimizer_of(self._pivots, self.settings)

    def _load(self, values: Sequence[torch.Tensor]) -> None:
        """Set the pivots, whatever their number was."""
        self._place(values)

    def _curve(self) -> PolygonalChain:
        """The chain through the pivots."""
        given = self._chain.points
        like = given[1]
        moved = [
            self._coordinates.adapter(pivot, like, name=f"pivot {number}")
            for number, pivot in enumerate(self._pivots, start=1)
        ]
        return self._chain.with_points([given[0], *moved, given[-1]])

    def _backward(self, step: int) -> Backward:
        """The gradients of all pivots on the same batches, without their parts along the chain."""
        losses = [
            self._loss(vector, step, k) for k, vector in enumerate([self._ends[0][0], *self._pivots, self._ends[1][0]])
        ]
        along = tangents(self._points, losses)
        gradients = torch.stack([pivot.grad for pivot in self._pivots])  # type: ignore[misc]  # backward has set them
        for pivot, gradient in zip(self._pivots, orthogonal(gradients, along), strict=True):
            pivot.grad = gradient
        inner = losses[1:-1]
        worst = max(range(len(inner)), key=inner.__getitem__)
        places = [(number + 1) / (len(inner) + 1) for number in range(len(inner))]
        told = ", ".join(f"{t:.4f}" for t in places)
        return Backward({"t": places[worst], "loss": sum(inner) / len(inner)}, f"t={told}")

    def _loss(self, vector: torch.Tensor, step: int, number: int) -> float:
        """The loss of a step's batches at a point of the chain; of a pivot its gradient as well."""
        count = self.settings.gradient_accumulation_steps
        total = 0.0
        for batch in range(step * count, (step + 1) * count):
            at = partial(self._coordinates.trainable, vector)
            loss = self.objective.loss(at, batch, [vector] if vector.requires_grad else [], of=count)
            t = number / (len(self._pivots) + 1)
            self._check_finite(loss, "the loss", where=f"t={t:.4f}", step=step)
            total += loss
        return total

    def _after_step(self) -> None:
        """Springs: every pivot back to its part of the chain's length."""
        placed = redistributed(self._points, self.state.shares)
        for pivot, vector in zip(self._pivots, placed[1:-1], strict=True):
            pivot.data.copy_(vector)

    @property
    def _validation_steps(self) -> int:
        """A cycle."""
        return self.settings.num_steps // self.settings.num_cycles

    def _measure(self) -> dict[str, float]:
        """The positions on all segments; `_after_validation` needs their losses.

        The objective is the saddle, the worst inside the chain. Where that is not above both ends there is none, and
        the worst would be the position next to the higher end on every chain: there the mean over length counts, which
        is below that end.
        """
        segments, inside = len(self._pivots) + 1, self.settings.segment_points + 1
        positions = [place / (segments * inside) for place in range(segments * inside + 1)]
        losses = torch.from_numpy(self.objective.validation.losses(self._curve(), positions, step=self.state.step))
        self._measured = losses.unfold(0, inside + 1, inside)  # [S, M], ends shared
        found = highest(positions[1:-1], losses[1:-1].numpy())
        means = (self._measured[:, :-1] + self._measured[:, 1:]).mean(dim=1) / 2  # [S], by the trapezoid rule
        mean = float(torch.tensor(self.state.shares, dtype=means.dtype) @ means)
        is_saddle = found["worst_loss"] > float(losses[[0, -1]].max())
        objective = found["worst_loss"] if is_saddle else mean
        return {**found, "mean_loss": mean, "objective": objective, "num_pivots": len(self._pivots)}

    def _after_validation(self) -> None:
        """New pivots where the loss on a segment stands out; every cycle begins with a new optimiser."""
        room = self.settings.max_pivots - len(self._pivots)
        found = insertions(self._measured, insert_above=self.settings.insert_above)
        shares = []
        for segment, share in enumerate(self.state.shares):
            part = found.get(segment)
            if part is None or room <= 0:
                shares.append(share)
            else:
                shares += [part * share, (1 - part) * share]
                room -= 1
        self.state.shares = shares
        self._place(redistributed(self._points, shares)[1:-1])

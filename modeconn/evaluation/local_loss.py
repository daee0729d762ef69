"""The mean loss of a task around a point, as a function of the adapter's own tensors: values, gradients, curvature."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError, listed
from modeconn.models.point_model import PointModel
from modeconn.models.trainable import Branch, Trainable, placed_trainable
from modeconn.tasks.encoding import EncodingSettings


@dataclass(frozen=True, eq=False)
class LocalLoss:
    """`L(theta + shift)`, in nats per scored token (per example for classifiers), at a point theta, `[P]`.

    The coordinates are the tensors that are trained: A and B of every module, in the gauge and the scaling that they
    have in the file, then saved modules. In another gauge of the same function gradients and curvatures are others.

    Attributes:
        model: The model.
        split: What is asked of it.
        rows: Batches of the split's rows.
        num_tokens: What the summed losses are divided by.
        centre: theta, `[P]`, on the model's device.
        shapes: Of each tensor, in the order of the coordinates.
        modules: Parameter name -> the scaling s of its `s B A`; two tensors each, B before A.
        saved: Names of the tensors that stand in a parameter's place.
    """

    model: PointModel
    split: Any
    rows: Sequence[Sequence[int]]
    num_tokens: int
    centre: torch.Tensor
    shapes: Sequence[torch.Size]
    modules: dict[str, float]
    saved: tuple[str, ...]

    @classmethod
    def at(
        cls,
        point: Adapter,
        model: PointModel,
        task: Any,  # noqa: ANN401
        *,
        split: str = "test",
        settings: EncodingSettings | None = None,
        max_examples: int = 0,
        batch_size: int = 16,
    ) -> "LocalLoss":
        """The loss around a point.

        Args:
            point: The point; LoRA and its kin, or a bare module's.
            model: The model, in float32 or wider where curvatures are to be exact.
            task: The task; of a task with labels the loss of the right answer.
            split: Which of its splits.
            settings: How examples become tokens.
            max_examples: How many rows at most, spread over the split; 0 takes all.
            batch_size: Rows that go through the model together.

        Raises:
            EvaluationError: If an update of the point has no factors, so that its tensors are no coordinates here.
            ModelError: If it does not fit the model.
            TaskError: If the task has no such split.
        """
        model.check(point)
        check_coordinates(point)
        asked = replace(settings or EncodingSettings(), all_choices=False, generate=False)
        encoded = model.encode(task, split, asked)
        order = _spread(list(encoded.order), max_examples)
        tokens = model.row_tokens(encoded)
        modules = {name: _scaling(point, name) for name in sorted(point.updates)}
        pairs = [factor for name, unit in modules.items() for factor in point.updates[name].factors(unit=unit)]
        tensors = [*pairs, *(point.saved[name] for name in sorted(point.saved))]
        wide = torch.float64 if model.dtype == torch.float64 else torch.float32
        return cls(
            model,
            encoded,
            [order[start : start + batch_size] for start in range(0, len(order), batch_size)],
            int(sum(tokens[row] for row in order)),
            torch.cat([tensor.reshape(-1) for tensor in tensors]).to(model.device, wide),
            [tensor.shape for tensor in tensors],
            modules,
            tuple(sorted(point.saved)),
        )

    @property
    def num_parameters(self) -> int:
        """P."""
        return len(self.centre)

    def value(self, shift: torch.Tensor | None = None) -> float:
        """The loss at a shift `[P]` from the point; at the point itself without one."""
        with torch.no_grad():
            return sum(float(loss) for loss in self._losses(self._place(shift)))

    def gradient(self, shift: torch.Tensor | None = None) -> tuple[float, torch.Tensor]:
        """The loss, and its gradient, `[P]` float64 on the CPU."""
        place = self._place(shift).requires_grad_()
        total, slope = 0.0, torch.zeros(self.num_parameters, dtype=torch.float64)
        for loss in self._losses(place):
            (found,) = torch.autograd.grad(loss, place)
            total, slope = total + float(loss.detach()), slope + found.double().cpu()
        return total, slope

    def product(self, direction: torch.Tensor) -> torch.Tensor:
        """The Hessian times a direction, `[P] -> [P]`, float64 on the CPU; the Hessian itself is never formed.

        Each batch costs about four forward passes: the gradient of the gradient's inner product with the direction.
        """
        place = self._place(None).requires_grad_()
        along = direction.to(place)
        total = torch.zeros(self.num_parameters, dtype=torch.float64)
        for loss in self._losses(place):
            (slope,) = torch.autograd.grad(loss, place, create_graph=True)
            if slope.requires_grad:  # not so of a loss that is linear
                (found,) = torch.autograd.grad(slope @ along, place, materialize_grads=True)
                total += found.double().cpu()
        return total

    def _place(self, shift: torch.Tensor | None) -> torch.Tensor:
        """The coordinates at a shift, a tensor of its own."""
        return self.centre.clone() if shift is None else self.centre + shift.to(self.centre)

    def _losses(self, place: torch.Tensor) -> Iterator[torch.Tensor]:
        """The share of each batch in the mean loss, `[]`, differentiable."""
        for rows in self.rows:
            batch = self.model.collate([(self.split, row) for row in rows])
            with self._placed(place):
                yield self.model.batch_losses(batch).sum() / self.num_tokens

    @contextmanager
    def _placed(self, place: torch.Tensor) -> Iterator[None]:
        """The model at a place, with attention in parts that have second derivatives."""
        pieces = place.split([shape.numel() for shape in self.shapes])
        tensors = iter([piece.view(shape) for piece, shape in zip(pieces, self.shapes, strict=True)])
        branches = {}
        for name, scaling in self.modules.items():
            up, down = next(tensors), next(tensors)
            branches[name] = Branch(up, scaling * down)
        saved = {name: next(tensors) for name in self.saved}
        trainable = Trainable(None, branches, saved)
        with placed_trainable(self.model.module, trainable), sdpa_kernel(SDPBackend.MATH):
            yield


def check_coordinates(point: Adapter) -> None:
    """Raise unless a point's tensors are coordinates in which a loss can be differentiated.

    Raises:
        EvaluationError: If an update has no factors, or there is none.
    """
    without = [name for name, update in point.updates.items() if not update.low_rank]
    if without or not (point.updates or point.saved):
        raise EvaluationError(
            f"the loss around {point.name} cannot be differentiated in its own coordinates",
            expected="pairs of LoRA factors, or tensors that stand in a parameter's place",
            got=f"no factors of {listed(without)}" if without else f"no update ({point.config.kind.name})",
            remedy="take the nearest LoRA point: truncated(point.on(model), rank)[0]",
        )


def _spread(rows: list[int], most: int) -> list[int]:
    """So many of the rows at most, at even distances: they lie in the order of their lengths."""
    if not 0 < most < len(rows):
        return rows
    return [rows[number * len(rows) // most] for number in range(most)]


def _scaling(point: Adapter, name: str) -> float:
    """The scaling of an unchanged adapter's update; 1 for a combination, which is one pair of factors."""
    update = point.updates[name]
    return update.low_rank[0].scaling if len(update.parts) == 1 and update.coefficients == (1.0,) else 1.0

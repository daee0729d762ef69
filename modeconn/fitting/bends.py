"""The bends of a curve as parameters, and points of the curve through which gradients reach them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import Heads
from modeconn.adapters.kinds.kind import PREFIX
from modeconn.adapters.kinds.lora import combined_config, lora_tensors
from modeconn.adapters.update import LowRank, Update
from modeconn.errors import FitError, listed
from modeconn.models.trainable import Branch, Trainable
from modeconn.paths.path import Path

Factors = Mapping[str, tuple[torch.Tensor, torch.Tensor]]  # parameter -> up [rows, r], down [r, columns]


@dataclass(frozen=True, eq=False)
class Bend:
    """A free control point: factors and saved modules that are trained.

    Attributes:
        factors: Parameter name -> `up` and `down` in units of the scaling, leaves of the graph.
        saved: Parameter name -> the tensor in its place.
        scalings: Parameter name -> the factor s of `s up @ down`.
        tables: Names of the parameters that are embedding tables.
    """

    factors: Factors
    saved: Mapping[str, torch.Tensor]
    scalings: Mapping[str, float]
    tables: frozenset[str] = field(default=frozenset())

    @classmethod
    def of(
        cls, point: Adapter, device: torch.device, dtype: torch.dtype = torch.float32, *, heads: Heads | None = None
    ) -> "Bend":
        """A copy of a point's factors, to be trained; its saved modules too, unless a policy says whose they are.

        Raises:
            FitError: If an update of the point has no factors.
        """
        trained = point.saved if heads is None else {}
        unfit = [name for name, update in point.updates.items() if not update.low_rank]
        if unfit or not (point.updates or trained):
            raise FitError(
                f"{point.name} cannot be a bend of a fitted curve",
                expected="a point whose updates are low-rank",
                got=f"no factors of {listed(unfit)}" if unfit else f"no update ({point.config.kind.name})",
                remedy="give the curve bends of LoRA: BezierCurve([start, truncated(point.on(model), rank)[0], end])",
            )
        scalings = {name: unit_of(update) for name, update in sorted(point.updates.items())}
        factors = {
            name: _leaves(*point.updates[name].factors(unit=unit), device=device, dtype=dtype)
            for name, unit in scalings.items()
        }
        saved = {name: _leaves(value, device=device, dtype=dtype)[0] for name, value in sorted(trained.items())}
        tables = frozenset(name for name, update in point.updates.items() if update.lookup)
        return cls(factors, saved, scalings, tables)  # type: ignore[arg-type]  # pairs

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What is trained, in a fixed order."""
        return [tensor for pair in self.factors.values() for tensor in pair] + list(self.saved.values())

    def with_tensors(self, values: Sequence[torch.Tensor]) -> "Bend":
        """The same bend with other numbers, in the order of `tensors`."""
        left = iter(values)
        factors = {name: (next(left), next(left)) for name in self.factors}
        return replace(self, factors=factors, saved={name: next(left) for name in self.saved})

    def point(self, like: Adapter, *, name: str, keep_layout: bool) -> Adapter:
        """The bend as an adapter of its own.

        Args:
            like: Gives the base model, the task, what is known of the head, and saved modules that are not trained.
            name: How tables call it.
            keep_layout: Whether its tensors have the names and the scaling of those of `like`, as points that are
                combined in factors space must have; else it is plain LoRA of its own rank.
        """
        updates = {
            parameter: Update.of(
                LowRank(_kept(up), _kept(down), self.scalings[parameter], lookup=parameter in self.tables)
            )
            for parameter, (up, down) in self.factors.items()
        }
        saved = {**like.saved, **{parameter: _kept(value) for parameter, value in self.saved.items()}}
        config = like.config
        if updates and not keep_layout:
            config = replace(config, raw=combined_config(config, updates))
        tensors = lora_tensors(updates, saved, config)
        named = like.own if keep_layout and like.own is not None else {}  # a module's parameters have no prefix
        own = {bare if (bare := key.removeprefix(PREFIX)) in named else key: value for key, value in tensors.items()}
        changed = {"config": config, "updates": updates, "saved": saved, "own": own, "name": name}
        return replace(like, **changed, source=None, weight_sum=1.0)


class Bends:
    """The free control points of a path while they are fitted; the others never change.

    Args:
        curve: The path.
        device: Where the model is.
        dtype: In what the bends are trained.
        free: The numbers of the control points that move; all but the ends by default.

    Raises:
        FitError: If there is no bend, or one has no factors.
    """

    def __init__(
        self,
        curve: Path,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        free: Sequence[int] | None = None,
    ) -> None:
        self._free = tuple(range(1, len(curve.points) - 1)) if free is None else tuple(free)
        if not self._free:
            raise FitError(
                f"{curve.name} has nothing to fit",
                expected="a curve with at least one bend between its ends",
                got=f"{len(curve.points)} control points",
                remedy="use BezierCurve.between(start, end, num_bends=1)",
            )
        self._curve, in_weights = curve, curve.space == "weights"
        self.bends = [Bend.of(curve.points[k], device, dtype, heads=curve.heads) for k in self._free]
        fixed = {k: point for k, point in enumerate(curve.points) if k not in self._free}
        self._own = {} if in_weights else {k: _on_device(point, device, dtype) for k, point in fixed.items()}
        self._fixed = {k: _moved(point.updates, device) for k, point in fixed.items()} if in_weights else {}
        self._heads = {k: _saved_on_device(point, device, dtype) for k, point in fixed.items()}

    @property
    def tensors(self) -> list[torch.Tensor]:
        """What is trained, in a fixed order."""
        return [tensor for bend in self.bends for tensor in bend.tensors]

    def load(self, values: Sequence[torch.Tensor]) -> None:
        """Set what is trained."""
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor.data.copy_(value)

    def curve(self) -> Path:
        """The curve through the bends as they are now."""
        points = list(self._curve.points)
        for number, (bend, k) in enumerate(zip(self.bends, self._free, strict=True), start=1):
            keep = self._curve.space != "weights"
            points[k] = bend.point(points[k], name=f"bend {number}", keep_layout=keep)
        return self._curve.with_points(points)

    def at(self, t: float) -> Trainable:
        """The curve's point at t as a function of the bends (see `combined`)."""
        return self.combined(self._curve.coefficients(torch.tensor([t], dtype=torch.float64))[0].tolist())

    def combined(self, row: Sequence[float]) -> Trainable:
        """A combination of the control points, K coefficients, as a function of the bends.

        In weights space the fixed points are folded into the weights, and the bends' factors run beside them, scaled
        by their coefficients; in factors space the control points' own factors are added up first. The gradient of a
        bend is `c(t)` times that of the point (Garipov 2018).
        """
        saved = self._saved(row)
        if self._curve.space == "weights":
            return Trainable(self._folded(row), self._side_by_side([row[k] for k in self._free]), saved)
        control = {**self._own, **{k: bend.factors for k, bend in zip(self._free, self.bends, strict=True)}}
        branches = {}
        for name, scaling in self.bends[0].scalings.items():
            up, down = (_weighted(row, [control[k][name][side] for k in range(len(row))]) for side in (0, 1))
            branches[name] = Branch(up, scaling * down)
        return Trainable(None, branches, saved)

    def _folded(self, row: Sequence[float]) -> Adapter | None:
        """What the fixed points add to the weights at a point; None for nothing."""
        fixed = [(row[k], found) for k, found in self._fixed.items()]
        updates = {}
        for name in {name: None for _, found in fixed for name in found}:
            present = [(weight, found[name]) for weight, found in fixed if name in found]
            combined = Update.combine([weight for weight, _ in present], [update for _, update in present])
            if combined.parts:
                updates[name] = combined
        # Not by `combine`: the curve has checked its points, and a config of its own costs as much as the rest.
        return replace(self._curve.start, updates=updates, saved={}, own=None) if updates else None

    def _side_by_side(self, coefficients: Sequence[float]) -> dict[str, Branch]:
        """The bends' factors next to each other, `[B_1 B_2] [c_1 A_1 ; c_2 A_2]`."""
        pairs: dict[str, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for weight, bend in zip(coefficients, self.bends, strict=True):
            for name, (up, down) in bend.factors.items():
                pairs.setdefault(name, []).append((up, weight * bend.scalings[name] * down))
        return {
            name: Branch(*found[0])  # as it is: joining one pair would copy it
            if len(found) == 1
            else Branch(torch.cat([up for up, _ in found], dim=1), torch.cat([down for _, down in found], dim=0))
            for name, found in pairs.items()
        }

    def _saved(self, row: Sequence[float]) -> Mapping[str, torch.Tensor]:
        """The saved modules at a point; the start's all along where a policy says whose they are."""
        if self._curve.heads is not None:
            return self._heads[0]
        control = {**self._heads, **{k: bend.saved for k, bend in zip(self._free, self.bends, strict=True)}}
        return {name: _weighted(row, [control[k][name] for k in range(len(row))]) for name in control[0]}


def unit_of(update: Update) -> float:
    """The scaling of an unchanged adapter's update; 1 for a combination."""
    return update.low_rank[0].scaling if len(update.parts) == 1 and update.coefficients == (1.0,) else 1.0


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    """A copy that does not move any more."""
    return tensor.detach().to("cpu", torch.float32, copy=True)


def _leaves(*values: torch.Tensor, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """Copies that gradients reach."""
    return tuple(value.detach().to(device, dtype, copy=True).requires_grad_() for value in values)


def _moved(updates: Mapping[str, Update], device: torch.device) -> dict[str, Update]:
    """Updates whose factors lie on a device, so that no step carries them there; others as they are."""
    return {
        name: Update(
            update.coefficients,
            tuple(replace(part, up=part.up.to(device), down=part.down.to(device)) for part in update.low_rank),
        )
        if update.low_rank
        else update
        for name, update in updates.items()
    }


def _on_device(point: Adapter, device: torch.device, dtype: torch.dtype) -> Factors:
    """A point's factors on a device, in units of its scalings."""
    pairs = {name: update.factors(unit=unit_of(update)) for name, update in point.updates.items()}
    return {name: (up.to(device, dtype), down.to(device, dtype)) for name, (up, down) in pairs.items()}


def _saved_on_device(point: Adapter, device: torch.device, dtype: torch.dtype) -> Mapping[str, torch.Tensor]:
    """A point's saved modules on a device."""
    return {name: value.to(device, dtype) for name, value in point.saved.items()}


def _weighted(row: Sequence[float], tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """`sum_k c_k x_k`."""
    total = row[0] * tensors[0]
    for weight, tensor in zip(row[1:], tensors[1:], strict=True):
        total = total + weight * tensor
    return total

"""What a point adds to one parameter of the base model: parts of any kind, combined but never expanded needlessly."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from modeconn.adapters.part import ANY, BaseWeights, Dense, LowRank, Part
from modeconn.errors import AdapterError

__all__ = ["ANY", "FACTORS_OF_BASE", "BaseWeights", "Dense", "LowRank", "Part", "Update", "agree", "needs_base"]

# What to do about an update whose factors only the base gives.
FACTORS_OF_BASE = (
    "bind the point to its base first, point.on(model), which gives factors to PiSSA, OLoRA, VeRA, WeGeFT, HRA and MiSS"
)


@dataclass(frozen=True, eq=False)
class Update:
    """A linear combination of changes of one parameter: `sum_k coefficients[k] * parts[k]`.

    Attributes:
        coefficients: One number a part.
        parts: The changes that are combined, each at most once.

    Example:
        >>> part = LowRank(torch.ones(3, 1), torch.ones(1, 2), scaling=2.0)
        >>> update = Update.of(part)
        >>> combined = Update.combine([0.25, 0.5], [update, update])
        >>> combined.coefficients, combined.rank, combined.dense().tolist()
        ((0.75,), 1, [[1.5, 1.5], [1.5, 1.5], [1.5, 1.5]])
    """

    coefficients: tuple[float, ...]
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, *parts: Part) -> "Update":
        """Parts with coefficient 1."""
        return cls((1.0,) * len(parts), parts)

    @classmethod
    def combine(cls, coefficients: Iterable[float], updates: Iterable["Update"]) -> "Update":
        """The combination of combinations; equal parts are merged, parts with coefficient 0 dropped."""
        weights: dict[int, float] = {}
        parts: dict[int, Part] = {}
        for outer, update in zip(coefficients, updates, strict=True):
            for inner, part in zip(update.coefficients, update.parts, strict=True):
                weights[id(part)] = weights.get(id(part), 0.0) + outer * inner
                parts[id(part)] = part
        kept = [key for key, weight in weights.items() if weight != 0.0]
        return cls(tuple(weights[key] for key in kept), tuple(parts[key] for key in kept))

    @property
    def low_rank(self) -> tuple[LowRank, ...]:
        """The parts if all are low-rank, else nothing."""
        factored = tuple(part.factored for part in self.parts)
        return tuple(part for part in factored if part is not None) if None not in factored else ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first part, in its orientation."""
        return self.parts[0].shape

    def stored_shape(self, *, transposed: bool) -> tuple[int, ...]:
        """Shape of the change as a model stores the parameter: matrices as `[in, out]` if `transposed`."""
        turned = transposed and not self.stored
        return (*self.shape[:-2], self.shape[-1], self.shape[-2]) if turned else self.shape

    @property
    def stored(self) -> bool:
        """Whether the first part lies as the model stores the parameter."""
        return self.parts[0].stored

    @property
    def needs_base(self) -> bool:
        """Whether the change is a function of the base's weight; a difference of full fine-tunes is not."""
        replaced = sum(weight for weight, part in zip(self.coefficients, self.parts, strict=True) if part.replaces)
        others = any(part.needs_base and not part.replaces for part in self.parts)
        return others or not math.isclose(replaced, 0.0, abs_tol=1e-12)

    @property
    def replaces(self) -> bool:
        """Whether the parameter itself is an affine combination of full fine-tunes' weights, without the base's."""
        return all(part.replaces for part in self.parts) and math.isclose(sum(self.coefficients), 1.0, abs_tol=1e-12)

    @property
    def rank(self) -> int:
        """A bound of the update's rank: the sum of the parts' ranks, the full rank where a part has no factors.

        0 where only the base knows the shape.
        """
        if self.low_rank:
            return sum(part.down.shape[0] for part in self.low_rank)
        return max(min(self.shape[-2:]), 0) if len(self.shape) > 1 else 1

    @property
    def lookup(self) -> bool:
        """True for the factors of an embedding table."""
        return any(part.lookup for part in self.low_rank)

    @property
    def is_zero(self) -> bool:
        """Whether all parts are known to change nothing."""
        return all(part.is_zero for part in self.parts)

    def factors(self, *, unit: float = 1.0, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
        """One exact pair by concatenation, `[B_0 B_1] [c_0 s_0 A_0 ; c_1 s_1 A_1]`.

        Args:
            unit: What `up @ down` is to be multiplied by to give the update; with a part's own scaling, its
                factors come back bit for bit.
            dtype: In what the product with the coefficients is rounded.

        Returns:
            `up` of shape `[rows, R]` and `down` of shape `[R, columns]`, R the sum of the ranks.

        Raises:
            AdapterError: If a part has no factors.
        """
        if not self.low_rank:
            raise AdapterError(
                "an update has no factors",
                expected="low-rank parts only",
                got=", ".join(sorted({type(part).__name__ for part in self.parts})),
                remedy=self._way_without_factors(),
            )
        up = torch.cat([part.up.to(dtype) for part in self.low_rank], dim=1)  # [rows, R]
        scaled = [
            part.down.to(dtype) * (weight * part.scaling / unit)
            for weight, part in zip(self.coefficients, self.low_rank, strict=True)
        ]
        return up, torch.cat(scaled, dim=0)  # [rows, R], [R, columns]

    def _way_without_factors(self) -> str:
        """What can be done about an update that no LoRA file holds as it is."""
        if len(self.shape) < 2:
            return "write a full model: export_merged(point, folder), on the command line modeconn export --merged"
        nearest = (
            "take the nearest LoRA adapter: truncated(point, rank), on the command line modeconn export --rank; or"
            " write a full model with --merged"
        )
        return f"{FACTORS_OF_BASE} (modeconn export does so); otherwise {nearest}" if self.needs_base else nearest

    def dense(self, base: torch.Tensor | None = None, *, transposed: bool = False) -> torch.Tensor:
        """The change itself, as the model stores the parameter.

        Args:
            base: The base's parameter as the model stores it; gives the dtype (float32 without).
            transposed: Whether the model stores it as `[in, out]`.

        Raises:
            AdapterError: If a part needs the base and none is given.
        """
        if self.low_rank:  # one product
            up, down = self.factors(dtype=torch.float32 if base is None else base.dtype)
            up, down = (up, down) if base is None else (up.to(base.device), down.to(base.device))
            return (up @ down).T if transposed and not self.stored else up @ down
        if base is None and self.needs_base:
            raise needs_base(", ".join(sorted({type(part).__name__ for part in self.parts if part.needs_base})))
        total = None
        for weight, part in zip(self.coefficients, self.parts, strict=True):
            turned = transposed and not part.stored
            delta = part.delta(base.mT if turned and base is not None else base)
            delta = delta.mT if turned else delta
            total = weight * delta if total is None else total.add_(delta, alpha=weight)
        assert total is not None  # an update has a part
        return total

    def replacement(self, like: torch.Tensor) -> torch.Tensor:
        """The parameter itself, `sum_k c_k W_k`, of full fine-tunes (see `replaces`); one of them comes bit for bit.

        Args:
            like: Gives the dtype, to which the sum is rounded once, and the device.
        """
        wholes = [whole for part in self.parts if (whole := part.whole()) is not None]
        if len(wholes) == 1:
            return wholes[0].to(like.device, like.dtype, copy=True)
        precise = torch.promote_types(like.dtype, torch.float32)
        total = torch.zeros((), dtype=precise, device=like.device)
        for coefficient, whole in zip(self.coefficients, wholes, strict=True):
            total = whole.to(like.device, precise).mul(coefficient).add_(total)
        return total.to(like.dtype)

    def within(self, base: BaseWeights, parameter: str) -> "Update":
        """The same change of a base's parameter, in parts that know what they need of the others.

        Optional parts are left out where the base has no such parameter; no part may be left.
        """
        there = base.has(parameter)
        kept = [(c, part) for c, part in zip(self.coefficients, self.parts, strict=True) if there or not part.optional]
        found = Update(tuple(c for c, _ in kept), tuple(part.within(base, parameter) for _, part in kept))
        return self if found.parts == self.parts else found  # parts are equal if they are one object

    def on(self, base: torch.Tensor, *, transposed: bool = False) -> "Update":
        """The same change in parts that no longer need the base's parameter, given as the model stores it."""
        if not self.needs_base:
            return self
        parts = tuple(part.on(base.mT if transposed and not part.stored else base) for part in self.parts)
        return Update(self.coefficients, parts)

    def inner(self, other: "Update") -> float:
        """The Frobenius inner product of two updates, in float64; from the factors where there are factors.

        `<U D, V E> = tr((U^T V)(E D^T))`: the cost is that of r x r matrices.

        Raises:
            AdapterError: If a part needs the base (see `on`).
        """
        if not (self.low_rank and other.low_rank):
            first, second = self._double(), other._double()
            if first.shape != second.shape:  # one in storage order, `[in, out]`, of a matrix
                second = second.mT
            return float((first * second).sum())
        # Scaled in float64 as well: two near points cancel, and what float32 rounds away is then all that is left.
        up, down = self.factors(dtype=torch.float64)
        other_up, other_down = other.factors(dtype=torch.float64)
        return float(((up.T @ other_up) * (down @ other_down.T)).sum())

    def _double(self) -> torch.Tensor:
        """The change in float64 without a base."""
        if self.low_rank:
            up, down = self.factors(dtype=torch.float64)
            return up @ down
        return self.dense().double()

    def digest(self) -> str:
        """SHA-256 in hex of the change: of its concatenated factors, else of coefficients and parts."""
        if self.low_rank:
            up, down = self.factors()
            return LowRank(up, down, 1.0, lookup=self.lookup).digest()
        pairs = sorted(zip((part.digest() for part in self.parts), self.coefficients, strict=True))
        return hashlib.sha256(repr(pairs).encode()).hexdigest()


def agree(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether two shapes can be one; sizes that only the base knows fit any."""
    return len(shape) == len(other) and all(
        one == two or ANY in (one, two) for one, two in zip(shape, other, strict=True)
    )


def needs_base(what: str) -> AdapterError:
    """The error for an update that cannot be known without the base model."""
    return AdapterError(
        f"the weight update of {what} is a function of the base model's weights",
        expected="the base model",
        got="none",
        remedy="bind the point first: point.on(model); commands take --base-model",
    )

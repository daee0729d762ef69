"""What a checkpoint adds to one parameter of the base model: parts of any kind, combined but never expanded needlessly."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Protocol

import torch

from modeconn.errors import AdapterError


class BaseWeights(Protocol):
    """The base model's parameters, where a part is made from them."""

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter as the model stores it."""
        ...

    def transposed(self, parameter: str) -> bool:
        """Whether the model stores the parameter as `[in, out]`, as GPT-2's Conv1D does."""
        ...


@dataclass(frozen=True, eq=False)
class Part(ABC):
    """One checkpoint's change of one parameter.

    A kind of adapter is a subclass: what the fields are, and how they make `dW`. Tensors are float32.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the change, in the part's orientation."""

    @property
    def stored(self) -> bool:
        """True if the orientation is that in which the model stores the parameter, whatever that is.

        False for matrices in the orientation of `torch.nn.Linear`, `[out, in]`.
        """
        return False

    @property
    def needs_base(self) -> bool:
        """Whether the change is a function of the base's weight."""
        return False

    @property
    def replaces(self) -> bool:
        """Whether the part is a whole weight of a full fine-tune, `W_1 - W_0`, rather than a change of its own."""
        return False

    @property
    def is_zero(self) -> bool:
        """Whether the part is known to change nothing."""
        return False

    @abstractmethod
    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The change itself, dense, in the part's orientation.

        Args:
            base: The base's weight in the part's orientation; it gives the dtype of the computation (float32 without).
        """

    def on(self, base: torch.Tensor) -> "Part":
        """A part of the same change that no longer needs the base; one that may be held small says so.

        Args:
            base: The base's weight in the part's orientation.
        """
        return Dense(self.delta(base.float()).float(), in_storage=self.stored) if self.needs_base else self

    def digest(self) -> str:
        """SHA-256 in hex of the kind and of the fields' values."""
        found = hashlib.sha256(type(self).__name__.encode())
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, torch.Tensor):
                found.update(f"{field.name} {tuple(value.shape)}".encode())
                found.update(value.detach().reshape(-1).contiguous().cpu().view(torch.uint8).numpy().tobytes())
            else:
                found.update(f"{field.name} {value.digest() if isinstance(value, Part) else value!r}".encode())
        return found.hexdigest()


@dataclass(frozen=True, eq=False)
class LowRank(Part):
    """A low-rank update of a parameter, `scaling * up @ down`.

    LoRA (Hu 2021, arXiv 2106.09685): `dW = s B A` with `up = B`, `down = A`. For an embedding the table is
    updated by `s (B A)^T`, so there `up = A^T`, `down = B^T`.

    Attributes:
        up: `[rows, r]`, float32.
        down: `[r, columns]`, float32.
        scaling: The factor s, no unit.
        lookup: True for an embedding table, `[num_embeddings, dim]`; False for a matrix in the orientation of
            `torch.nn.Linear`, `[out, in]`.
    """

    up: torch.Tensor
    down: torch.Tensor
    scaling: float
    lookup: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """`[rows, columns]`."""
        return self.up.shape[0], self.down.shape[1]

    @property
    def stored(self) -> bool:
        """True for embedding tables."""
        return self.lookup

    @property
    def is_zero(self) -> bool:
        """Whether one of the factors is zero."""
        return not (self.up.any() and self.down.any())

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s up @ down`."""
        up, down = _as(base, self.up, self.down)
        return self.scaling * (up @ down)


@dataclass(frozen=True, eq=False)
class Dense(Part):
    """A change that is held as it is: of a bias, a norm, or of a kind whose update has no factors.

    Attributes:
        value: The change, float32.
        in_storage: Whether it lies as the model stores the parameter.
    """

    value: torch.Tensor
    in_storage: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the value."""
        return tuple(self.value.shape)

    @property
    def stored(self) -> bool:
        """As given; vectors have one orientation."""
        return self.in_storage or self.value.ndim == 1

    @property
    def is_zero(self) -> bool:
        """Whether every number is 0."""
        return not self.value.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The value."""
        return _as(base, self.value)[0]


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
        factored = tuple(part for part in self.parts if isinstance(part, LowRank))
        return factored if len(factored) == len(self.parts) else ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the first part, in its orientation."""
        return self.parts[0].shape

    @property
    def stored(self) -> bool:
        """Whether the first part lies as the model stores the parameter."""
        return self.parts[0].stored

    @property
    def needs_base(self) -> bool:
        """Whether the change is a function of the base's weight."""
        return any(part.needs_base for part in self.parts)

    @property
    def rank(self) -> int:
        """A bound of the update's rank: the sum of the parts' ranks, the full rank where a part has no factors."""
        if self.low_rank:
            return sum(part.down.shape[0] for part in self.low_rank)
        return min(self.shape) if len(self.shape) > 1 else 1

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
                remedy="use its dense form, or approximate it by a truncated SVD",
            )
        up = torch.cat([part.up.to(dtype) for part in self.low_rank], dim=1)  # [rows, R]
        scaled = [
            part.down.to(dtype) * (weight * part.scaling / unit)
            for weight, part in zip(self.coefficients, self.low_rank, strict=True)
        ]
        return up, torch.cat(scaled, dim=0)  # [rows, R], [R, columns]

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
        total = None
        for weight, part in zip(self.coefficients, self.parts, strict=True):
            turned = transposed and not part.stored
            if part.needs_base and base is None:
                raise needs_base(type(part).__name__)
            delta = part.delta(base.T if turned and base is not None else base)
            delta = delta.T if turned else delta
            total = weight * delta if total is None else total.add_(delta, alpha=weight)
        assert total is not None  # an update has a part
        return total

    def on(self, base: torch.Tensor, *, transposed: bool = False) -> "Update":
        """The same change in parts that no longer need the base's parameter, given as the model stores it."""
        if not self.needs_base:
            return self
        parts = tuple(part.on(base.T if transposed and not part.stored else base) for part in self.parts)
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
                second = second.T
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

    @property
    def coefficients_sum_to_one(self) -> bool:
        """Whether the change is an affine combination of its parts."""
        return math.isclose(sum(self.coefficients), 1.0, abs_tol=1e-12)


def needs_base(what: str) -> AdapterError:
    """The error for an update that cannot be known without the base model."""
    return AdapterError(
        f"the weight update of {what} is a function of the base model's weights",
        expected="the base model",
        got="none",
        remedy="bind the point first: point.on(model); commands take --base-model",
    )


def _as(base: torch.Tensor | None, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Tensors in the base's dtype and on its device, where there is a base."""
    return values if base is None else tuple(value.to(base.device, base.dtype) for value in values)

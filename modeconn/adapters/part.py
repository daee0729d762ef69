"""What one checkpoint does to one parameter of the base model: low-rank factors, a dense change, or a kind's own."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Protocol

import torch

from modeconn.errors import AdapterError

ANY = -1  # a size that only the base knows


class BaseWeights(Protocol):
    """The base model's parameters, where a part is made from them."""

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter as the model stores it."""
        ...

    def transposed(self, parameter: str) -> bool:
        """Whether the model stores the parameter as `[in, out]`, as GPT-2's Conv1D does."""
        ...

    def has(self, parameter: str) -> bool:
        """Whether there is such a parameter."""
        ...


def linear_shape(base: BaseWeights, parameter: str) -> tuple[int, int]:
    """The shape of a base's matrix in the orientation of `torch.nn.Linear`, `(out, in)`.

    Raises:
        AdapterError: If the parameter is no matrix.
    """
    shape = tuple(base.weight(parameter).shape)
    if len(shape) != 2:
        raise AdapterError(
            f"an adapter changes {parameter} as a matrix",
            expected="a weight [out, in] in the base model",
            got=f"a weight {list(shape)}",
            remedy="give the base that the adapter was trained on; convolutions are not supported for its kind",
        )
    return (shape[1], shape[0]) if base.transposed(parameter) else (shape[0], shape[1])


@dataclass(frozen=True, eq=False)
class Part(ABC):
    """One checkpoint's change of one parameter.

    A kind of adapter is a subclass: what the fields are, and how they make `dW`. Tensors are float32.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of the change, in the part's orientation; `ANY` where only the base knows a size."""

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
    def moves_ties(self) -> bool:
        """Whether parameters that the base ties to this one move with it."""
        return self.replaces

    @property
    def rounds(self) -> bool:
        """Whether PEFT too puts the changed parameter, rounded to the base's dtype, in the base's place."""
        return self.replaces

    @property
    def makes_parameter(self) -> bool:
        """Whether the parameter counts as 0 in a module that could have it and has not: a bias that is added."""
        return False

    @property
    def is_zero(self) -> bool:
        """Whether the part is known to change nothing."""
        return False

    @property
    def optional(self) -> bool:
        """Whether the change is left out where the base has no such parameter: a bias that is scaled if it exists."""
        return False

    @property
    def factored(self) -> "LowRank | None":
        """The change as one pair of low-rank factors, where the kind has one."""
        return None

    def whole(self) -> torch.Tensor | None:
        """The weight that a part of a full fine-tune puts in the base's place, in its own dtype; else None."""
        return None

    @abstractmethod
    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The change itself, dense, in the part's orientation.

        Args:
            base: The base's weight in the part's orientation; it gives the dtype of the computation (float32 without).
        """

    def within(self, base: BaseWeights, parameter: str) -> "Part":  # noqa: ARG002
        """The same part as a change of a base's parameter, with what it needs to know of all the base's parameters."""
        return self

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
            whole = getattr(self, field.name)
            for value in whole if isinstance(whole, tuple) else (whole,):
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

    @property
    def factored(self) -> "LowRank":
        """The part itself."""
        return self

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


def _as(base: torch.Tensor | None, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Tensors in the base's dtype and on its device, where there is a base."""
    return values if base is None else tuple(value.to(base.device, base.dtype) for value in values)

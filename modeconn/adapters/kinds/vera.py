"""VeRA: random matrices that all modules share, scaled by trained vectors."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.diagonal import Diagonal
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.shared import Pair, Recipe, take_shared
from modeconn.adapters.kinds.values import is_bias, is_rank
from modeconn.adapters.part import ANY, BaseWeights, Part, linear_shape
from modeconn.adapters.update import needs_base

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_ROWS = ".vera_lambda_b"


@dataclass(frozen=True)
class Drawing(Recipe):
    """How VeRA's matrices are drawn."""

    def draw(self, rows: int, columns: int) -> Pair:
        """A `[r, columns]` and B `[rows, r]`, float32."""
        return drawn(self.seed, self.rank, rows, columns)


def drawn(seed: int, rank: int, rows: int, columns: int) -> Pair:
    """A and B as PEFT draws them: uniform, with the bounds of Kaiming's initialisation for ReLU.

    Args:
        seed: `projection_prng_key`.
        rank: r.
        rows: The largest number of outputs of a module.
        columns: The largest number of inputs of a module.

    Returns:
        A `[r, columns]` and B `[rows, r]`, float32.
    """
    generator = torch.Generator().manual_seed(seed)
    sizes = ((rank, columns), (rows, rank))
    # The order of the roots decides the last bit of the bound.
    bounds = [math.sqrt(3.0) * (math.sqrt(2.0) / math.sqrt(fan)) for _, fan in sizes]
    down, up = (
        torch.empty(size).uniform_(-bound, bound, generator=generator)
        for size, bound in zip(sizes, bounds, strict=True)
    )
    return down, up


@dataclass(frozen=True, eq=False)
class Vera(OfBase):
    """A corner of two shared matrices, scaled.

    VeRA (Kopiczko 2023, arXiv 2310.11454): `dW = diag(b) B diag(d) A`. The file does not say how many inputs the
    module has: only the base knows the corner.

    Attributes:
        rows: b, `[out]`.
        middle: d, `[r]`.
        shared: A `[r, >= in]` and B `[>= out, r]`, or nothing.
        recipe: How they are drawn, where the file does not hold them.
    """

    rows: torch.Tensor
    middle: torch.Tensor
    down: torch.Tensor | None = None
    up: torch.Tensor | None = None
    recipe: Recipe | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, of which only the base knows `in`."""
        return len(self.rows), ANY

    @property
    def is_zero(self) -> bool:
        """Whether one of the vectors is zero."""
        return not (self.rows.any() and self.middle.any())

    def within(self, base: BaseWeights, parameter: str) -> Part:
        """The corner itself, as factors that need no base."""
        shared = self.recipe.within(base) if self.recipe is not None else None
        return self._corner(shared, linear_shape(base, parameter)[1]) if base.has(parameter) else self

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`diag(b) B diag(d) A`, in the base's dtype."""
        if base is None or self.recipe is not None:
            raise needs_base("VeRA")
        return self._corner(None, base.shape[1]).delta(base)

    def _corner(self, shared: Pair | None, columns: int) -> Diagonal:
        """The part for a module with as many inputs."""
        down, up = (self.down, self.up) if shared is None else shared
        assert down is not None  # the reader gives both matrices, or a recipe
        assert up is not None
        return Diagonal(up[: len(self.rows)], self.middle, down[:, :columns], self.rows)


def read_vera(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a VeRA file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """
    unread = Unread(tensors, config)
    rank = int(config.raw.get("r", 256))
    if config.raw.get("save_projection", True):
        down = take_shared(unread, "vera_A", rank, ndim=2, axis=0)
        up, recipe = take_shared(unread, "vera_B", rank, ndim=2, axis=1), None
    else:
        down = up = None
        recipe = Drawing(config.raw.get("projection_prng_key", 0), rank, tuple(unread.modules(_ROWS)))

    def part(unread: Unread, module: str) -> Vera:
        found = {name: unread.take(module, f".{name}") for name in ("vera_lambda_b", "vera_lambda_d")}
        rows, middle = found.values()
        if rows.ndim != 1 or tuple(middle.shape) != (rank,):
            raise misfit(config, module, f"vera_lambda_b [out] and vera_lambda_d [r] with r = {rank}", found)
        if up is not None and len(rows) > len(up):
            raise misfit(config, module, f"vera_lambda_b of at most {len(up)}, the rows of vera_B", found)
        return Vera(rows, middle, down, up, recipe)

    return read_per_module(unread, (_ROWS,), part, "vera_lambda_b and vera_lambda_d of each module, vera_A and vera_B")


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What decides the matrices that are not among the tensors."""
    saved = config.raw.get("save_projection", True)
    return {} if saved else {"projection_prng_key": config.raw.get("projection_prng_key", 0)}


VERA = Kind(
    "VERA",
    read_vera,
    frozenset(
        {
            "bias",
            "d_initial",
            "fan_in_fan_out",
            "init_weights",
            "projection_prng_key",
            "r",
            "save_projection",
            "vera_dropout",
        }
    ),
    fits={
        "bias": is_bias,
        "r": is_rank,
        "projection_prng_key": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "save_projection": lambda value: isinstance(value, bool),
    },
    scalings=_scalings,
)

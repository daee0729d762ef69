"""RandLoRA: random matrices of full rank that all modules share, scaled by trained numbers."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import PREFIX, Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfSize
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.shared import Pair, Recipe, take_shared
from modeconn.adapters.kinds.values import is_bias, is_flag, is_number, is_rank
from modeconn.adapters.part import BaseWeights, Part
from modeconn.adapters.update import needs_base
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_LAMBDA, _GAMMA = ".randlora_lambda", ".randlora_gamma"


@dataclass(frozen=True)
class Drawing(Recipe):
    """How RandLoRA's matrices are drawn.

    Attributes:
        sparsity: "", "sparse" or "very_sparse".
    """

    sparsity: str = ""

    def draw(self, rows: int, columns: int) -> Pair:
        """A `[r, 1, min]` and B `[max, min / r, r]` of the two sizes, float32."""
        short, long = sorted((rows, columns))
        return drawn(self.seed, self.rank, short, long, sparsity=self.sparsity)


def drawn(seed: int, rank: int, short: int, long: int, *, sparsity: str = "") -> Pair:
    """A and B as PEFT draws them: uniform in bfloat16, or of -1, 0 and 1; then with a standard deviation of 1.

    Args:
        seed: `projection_prng_key`.
        rank: r.
        short: The smaller of the largest number of outputs and the largest number of inputs.
        long: The larger.
        sparsity: "", "sparse" (a sixth of each sign) or "very_sparse".

    Returns:
        A `[r, 1, short]` and B `[long, short / r, r]`, float32.
    """
    generator = torch.Generator().manual_seed(seed)
    count = math.ceil(short / rank)
    if sparsity:
        share = 1 / (2 * (3 if sparsity == "sparse" else math.sqrt(short)))
        raw = [torch.rand(shape, generator=generator) for shape in ((rank, 1, short), (long, count, rank))]
        pair = [(one > 1 - share).float() - (one < share).float() for one in raw]
    else:
        # PEFT draws in bfloat16 but on a GPU without it, whose adapters cannot be drawn again elsewhere.
        down = _uniform((rank, 1, short), generator)
        pair = [down, torch.cat([_uniform((long, 1, rank), generator) for _ in range(count)], dim=1)]
    down, up = ((one / one.std()).float() for one in pair)
    return down, up


def _uniform(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """A matrix with the bounds of Kaiming's initialisation for a slope of sqrt(5), in bfloat16."""
    empty = torch.empty(shape, dtype=torch.bfloat16)
    return torch.nn.init.kaiming_uniform_(empty, a=math.sqrt(5), generator=generator)


@dataclass(frozen=True, eq=False)
class Scaled(OfSize):
    """A sum of products of random matrices, each scaled.

    RandLoRA (Albert 2025, arXiv 2502.00987): `dW = s sum_n B_n diag(l_n) A diag(g_n)`, turned where the module has more
    inputs than outputs; as PEFT flattens A, its rows `(r, n)` meet the columns `(n, r)` of B.

    Attributes:
        rows: l, `[r, n]`.
        columns: g, `[n, min(out, in)]`.
        scaling: The factor s, no unit.
        shared: A `[r, 1, >= min(out, in)]` and B `[>= max(out, in), >= n, r]`, or nothing.
        recipe: How they are drawn, where the file does not hold them.
    """

    rows: torch.Tensor
    columns: torch.Tensor
    scaling: float
    shared: Pair = ()  # type: ignore[assignment]  # none where there is a recipe
    recipe: Recipe | None = None

    @property
    def is_zero(self) -> bool:
        """Whether one of the scales is zero."""
        return not (self.rows.any() and self.columns.any())

    def within(self, base: BaseWeights, parameter: str) -> Part:
        """The same part with the shared matrices."""
        if self.recipe is None or not base.has(parameter):
            return self
        return Scaled(self.rows, self.columns, self.scaling, self.recipe.within(base))

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """The sum.

        Raises:
            AdapterError: If the sizes do not fit the base.
        """
        if base is None or not self.shared:
            raise needs_base("RandLoRA")
        (short, long), (down, up) = sorted(base.shape), self.shared
        count = len(self.columns)
        if self.columns.shape[1] != short or len(up) < long or down.shape[2] < short or up.shape[1] < count:
            raise AdapterError(
                "an update of RandLoRA does not fit the base model",
                expected=f"a weight with a smaller side of {self.columns.shape[1]} and a larger of at most {len(up)}",
                got=f"a weight {list(base.shape)}",
                remedy="give the base that the adapter was trained on",
            )
        rows, columns, down, up = (one.to(base.device, base.dtype) for one in (self.rows, self.columns, down, up))
        right = (rows[:, :, None] * down[:, :, :short] * columns).flatten(0, 1)  # [r n, short]
        product = up[:long, :count].flatten(1) @ right  # [long, n r] [r n, short]
        return self.scaling * (product if base.shape[1] == short else product.T)


def read_randlora(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a RandLoRA file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """
    raw, unread = config.raw, Unread(tensors, config)
    rank = raw.get("r", 32)
    shared: Pair = ()  # type: ignore[assignment]
    recipe = None
    if raw.get("save_projection", True):
        shared = _take_shared(unread, "A", rank), _take_shared(unread, "B", rank)
    else:
        sparsity = next((name for name in ("very_sparse", "sparse") if raw.get(name)), "")
        modules = tuple(unread.modules(_LAMBDA))
        recipe = Drawing(raw.get("projection_prng_key", 0), rank, modules, sparsity=sparsity)

    def part(unread: Unread, module: str) -> Scaled:
        found = {name[1:]: unread.take(module, name) for name in (_LAMBDA, _GAMMA)}
        rows, columns = found.values()
        fits = rows.ndim == columns.ndim == 2 and len(rows) == rank and rows.shape[1] == len(columns)
        if not fits or len(columns) != math.ceil(columns.shape[1] / rank):
            expected = f"randlora_lambda [r, n] and randlora_gamma [n, m] with r = {rank} and n = m / r, rounded up"
            raise misfit(config, module, expected, found)
        return Scaled(rows, columns, raw.get("randlora_alpha", 640) / rank, shared, recipe)

    expected = "randlora_lambda and randlora_gamma of each module, randlora_A and randlora_B"
    return read_per_module(unread, (_LAMBDA,), part, expected)


def _take_shared(unread: Unread, letter: str, rank: int) -> torch.Tensor:
    """One of the shared matrices, of which PEFT writes a copy beside each module; one that differs is left over."""
    matrix = take_shared(unread, f"randlora_{letter}", rank, ndim=3, axis=0 if letter == "A" else 2)
    for module in unread.modules(f".randlora_{letter}"):
        if torch.equal(unread.rest[f"{PREFIX}{module}.randlora_{letter}"], matrix):
            unread.take(module, f".randlora_{letter}")
    return matrix


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the update."""
    raw = config.raw
    drawn_by = {"projection_prng_key": 0, "sparse": False, "very_sparse": False}
    drawn_anew = {} if raw.get("save_projection", True) else {key: raw.get(key, one) for key, one in drawn_by.items()}
    return {"randlora_alpha / r": raw.get("randlora_alpha", 640) / raw.get("r", 32), **drawn_anew}


RANDLORA = Kind(
    "RANDLORA",
    read_randlora,
    frozenset(
        {
            "bias",
            "fan_in_fan_out",
            "init_weights",
            "projection_prng_key",
            "r",
            "randlora_alpha",
            "randlora_dropout",
            "save_projection",
            "sparse",
            "very_sparse",
        }
    ),
    fits={
        "bias": is_bias,
        "projection_prng_key": lambda value: isinstance(value, int) and not isinstance(value, bool),
        "r": is_rank,
        "randlora_alpha": is_number,
        "save_projection": lambda value: isinstance(value, bool),
        "sparse": is_flag,
        "very_sparse": is_flag,
    },
    scalings=_scalings,
)

"""LoRETTA: low-rank updates, and bottleneck adapters, whose matrices are tensor-trains."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from modeconn.adapters import methods
from modeconn.adapters.kinds.factored import Factored
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_number, is_rank
from modeconn.adapters.methods.tensor_train import matrix
from modeconn.adapters.methods.updates import ALPHA, DOWN, RANK, UP, rep_pair
from modeconn.adapters.part import LowRank
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

Cores = tuple[torch.Tensor, ...]
_Made = TypeVar("_Made")
_ADP = ".loretta_adp_"
_BOTTLENECK, _SCALING = 64, 1.0


@dataclass(frozen=True, eq=False)
class TensorTrains(Factored):
    """An update whose two factors are tensor-trains.

    LoRETTA rep (Yang 2024, arXiv 2402.11417): `dW = s B A`; the cores hold `A^T` and `B^T`.

    Attributes:
        down: The cores of `A^T [in, r]`.
        up: The cores of `B^T [r, out]`.
        rank: r.
        scaling: The factor s, no unit.
    """

    down: Cores
    up: Cores
    rank: int
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return self.factored.shape

    @property
    def is_zero(self) -> bool:
        """Whether a core is zero."""
        return not all(core.any() for core in (*self.down, *self.up))

    def pair(self) -> LowRank:
        """B and A, contracted."""
        down, up = ([core.double() for core in cores] for cores in (self.down, self.up))
        return LowRank(*rep_pair(down, up, self.rank), self.scaling)


def read_loretta_rep(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a LoRETTA rep file's tensors; every one is used.

    Raises:
        AdapterError: If a core is missing, left over, or does not fit the others or the rank.
    """
    rank = int(config.raw.get("r", RANK))

    def part(unread: Unread, module: str) -> TensorTrains:
        found = TensorTrains(_take_cores(unread, module, DOWN), _take_cores(unread, module, UP), rank, _scaling(config))
        in_context(config, module, found.pair)
        return found

    return read_per_module(
        Unread(tensors, config), (f"{DOWN}0",), part, "the cores loretta_rep_down and loretta_rep_up"
    )


def read_loretta_adp(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a LoRETTA adp file's tensors: a bottleneck after a module, which no change of a weight can stand for.

    Raises:
        AdapterError: If a tensor is missing, left over, or does not fit the others or the bottleneck.
    """
    unread = Unread(tensors, config)
    width = int(config.raw.get("bottleneck", _BOTTLENECK))
    modules = unread.modules(f"{_ADP}down_bias")
    for module in modules:
        down, up = (_take_cores(unread, module, f"{_ADP}{side}.") for side in ("down", "up"))
        biases = {name: unread.take(module, f"{_ADP}{name}") for name in ("down_bias", "up_bias")}
        if tuple(biases["down_bias"].shape) != (width,) or biases["up_bias"].ndim != 1:
            raise misfit(config, module, f"down_bias [{width}], the bottleneck, and up_bias [out]", biases)
        outputs = len(biases["up_bias"])
        in_context(config, module, lambda down=down, n=outputs: matrix(down, n, width))
        in_context(config, module, lambda up=up, n=outputs: matrix(up, width, n))
    expected = "cores and biases of loretta_adp of each module, and the modules_to_save"
    parts = unread.finish_without_updates(unread.take_saved(), expected)
    if not modules:
        raise AdapterError(
            f"{config.origin} holds no adapter of a module",
            expected=expected,
            got=f"saved modules only: {listed(parts.saved)}",
            remedy="save the adapter with PEFT's save_pretrained",
        )
    return parts


def in_context(config: "AdapterConfig", module: str, make: Callable[[], _Made]) -> _Made:
    """What a contraction gives; an error says of which module and file the cores are.

    Raises:
        AdapterError: If the cores do not fit.
    """
    try:
        return make()
    except AdapterError as error:
        raise AdapterError(
            f"{error.failed}: {module} in {config.origin}",
            expected=error.expected,
            got=error.got,
            remedy=error.remedy,
        ) from error


def _take_cores(unread: Unread, module: str, stem: str) -> Cores:
    """The tensors `stem0`, `stem1`, ...; at least one."""
    cores = [unread.take(module, f"{stem}0")]
    while unread.has(module, f"{stem}{len(cores)}"):
        cores.append(unread.take(module, f"{stem}{len(cores)}"))
    return tuple(cores)


def _scaling(config: "AdapterConfig") -> float:
    """The factor s of LoRETTA rep, `alpha / r`."""
    return config.raw.get("alpha", ALPHA) / config.raw.get("r", RANK)


def _rep_scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the cores decides the update."""
    return {"alpha": config.raw.get("alpha", ALPHA), "r": config.raw.get("r", RANK)}


def _adp_scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the function."""
    return {"scaling": config.raw.get("scaling", _SCALING)}


def _adds_nothing(tensors: Tensors) -> bool:
    """Whether every bottleneck adds zero: a core of `Up` is zero, and its bias."""
    modules = {name.partition(_ADP)[0] for name in tensors if _ADP in name}

    def silent(module: str) -> bool:
        cores = [value for name, value in tensors.items() if name.startswith(f"{module}{_ADP}up.")]
        return not tensors[f"{module}{_ADP}up_bias"].any() and not all(core.any() for core in cores)

    return all(map(silent, modules))


# How the cores were shaped and started: the tensors tell the rest.
_SHARED = frozenset({"start", "tensor_rank", "tensor_shapes"})
LORETTA_REP = Kind(
    "LORETTA_REP",
    read_loretta_rep,
    _SHARED | {"alpha", "dropout", "r"},
    fits={"alpha": is_number, "r": is_rank},
    scalings=_rep_scalings,
    register=lambda: methods.register_methods(),
)
LORETTA_ADP = Kind(
    "LORETTA_ADP",
    read_loretta_adp,
    _SHARED | {"bottleneck", "scaling"},
    fits={"bottleneck": is_rank, "scaling": is_number},
    scalings=_adp_scalings,
    has_update=False,
    is_zero=_adds_nothing,
    register=lambda: methods.register_methods(),
    remedy="use the adapter_config.json that PEFT's save_pretrained wrote",
)

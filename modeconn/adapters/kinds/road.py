"""RoAd: outputs that are rotated in pairs and scaled, as a change of weights and biases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase, OfBias
from modeconn.adapters.kinds.per_module import finished, misfit
from modeconn.adapters.kinds.values import is_rank
from modeconn.adapters.part import ANY
from modeconn.adapters.update import Update, needs_base

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_ANGLES, _LENGTHS = ".road_theta", ".road_alpha"
_PER_OUTPUT = {"road_1": 0.5, "road_2": 1, "road_4": 2}  # how many angles


@dataclass(frozen=True, eq=False)
class Turned(OfBase):
    """Outputs that are rotated in pairs and scaled.

    RoAd (Liao 2024, arXiv 2409.00119): `R (W x + b)`, hence `dW = (R - I) W`. Within each group of outputs the i-th of
    the first half and the i-th of the second are a pair: `y_i = c_i x_i - s_i x_j` and `y_j = c_j x_j + s_j x_i`.

    Attributes:
        cosines: c, `[out]`.
        sines: s, `[out]`.
        group: How many outputs a group has.
    """

    cosines: torch.Tensor
    sines: torch.Tensor
    group: int

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, the second of which only the base knows."""
        return len(self.cosines), ANY

    @property
    def is_zero(self) -> bool:
        """Whether nothing is rotated or scaled."""
        return bool((self.cosines == 1).all()) and not self.sines.any()

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`(R - I) W`."""
        if base is None:
            raise needs_base("RoAd")
        rows = base.reshape(len(base), -1)  # [out, in], of a bias [out, 1]
        halves = rows.reshape(-1, 2, self.group // 2, rows.shape[1])
        turned = torch.stack([-halves[:, 1], halves[:, 0]], dim=1).reshape(rows.shape)
        cosines, sines = (value.to(base)[:, None] for value in (self.cosines, self.sines))
        return ((cosines - 1) * rows + sines * turned).reshape(base.shape)


@dataclass(frozen=True, eq=False)
class TurnedBias(OfBias, Turned):
    """The bias of a module whose outputs are rotated, where it has one: `db = (R - I) b`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out]`."""
        return tuple(self.cosines.shape)


def read_road(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a RoAd file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape that does not fit the settings.
    """
    variant, group = config.raw.get("variant", "road_1"), config.raw.get("group_size", 64)
    unread = Unread(tensors, config)
    updates = {}
    for module in unread.modules(_ANGLES):
        found = {name[1:]: unread.take(module, name) for name in (_ANGLES, _LENGTHS)}
        angles, lengths = found.values()
        if angles.ndim != 1 or angles.shape != lengths.shape or group % 2 or angles.numel() % _angles(variant, group):
            expected = (
                f"road_theta [n] and road_alpha [n], n a multiple of {_angles(variant, group)} as {variant} has it"
            )
            raise misfit(config, module, f"{expected} with an even group_size of {group}", found)
        turned = _columns(angles, lengths, variant, group)
        updates[f"{module}.weight"] = Update.of(Turned(*turned, group))
        updates[f"{module}.bias"] = Update.of(TurnedBias(*turned, group))
    return finished(unread, updates, "road_theta and road_alpha of each module")


def _angles(variant: str, group: int) -> int:
    """How many angles a group has."""
    return int(_PER_OUTPUT[variant] * group)


def _columns(
    angles: torch.Tensor, lengths: torch.Tensor, variant: str, group: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors of the outputs themselves and of their partners, `[out]` each, in float64.

    A pair has one angle and one length (road_1), one for each output (road_2), or one for each number (road_4).
    """
    angles, lengths = angles.double(), lengths.double()
    if variant == "road_1":
        angles, lengths = (one.reshape(-1, 1, group // 2).expand(-1, 2, -1).reshape(-1) for one in (angles, lengths))
    if variant != "road_4":
        return lengths * angles.cos(), lengths * angles.sin()
    angles, lengths = (one.reshape(-1, 2, group) for one in (angles, lengths))
    own, others = lengths[:, 0] * angles[:, 0].cos(), lengths[:, 1] * angles[:, 1].sin()
    return own.reshape(-1), others.reshape(-1)


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the rotations."""
    return {"variant": config.raw.get("variant", "road_1"), "group_size": config.raw.get("group_size", 64)}


ROAD = Kind(
    "ROAD",
    read_road,
    frozenset({"group_size", "init_weights", "variant"}),
    fits={"group_size": is_rank, "variant": lambda value: isinstance(value, str) and value in _PER_OUTPUT},
    scalings=_scalings,
)

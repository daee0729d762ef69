"""WeGeFT: updates that the base model's own weights generate."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from modeconn.adapters import methods
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.kinds.per_module import finished, misfit
from modeconn.adapters.kinds.values import is_flag, is_number, is_rank
from modeconn.adapters.methods.updates import ALPHA, PHI, PSI, RANK, wegeft_pair
from modeconn.adapters.part import ANY, LowRank, Part
from modeconn.adapters.update import Update, needs_base
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig


@dataclass(frozen=True, eq=False)
class Generated(OfBase):
    """An update that is low-rank once the base's weight is known.

    WeGeFT (Savadikar 2023, arXiv 2312.00700): `dW = s (W phi^T) psi` in input form, `s phi (psi W)` in output form.

    Attributes:
        phi: `[r, in]`, in output form `[out, r]`.
        psi: `[r, in]`, in output form `[r, out]`.
        form: "input" or "output".
        scaling: The factor s, no unit.
    """

    phi: torch.Tensor
    psi: torch.Tensor
    form: str
    scaling: float

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`, one of which only the base knows."""
        width = self.psi.shape[1]
        return (ANY, width) if self.form == "input" else (width, ANY)

    @property
    def is_zero(self) -> bool:
        """Whether phi or psi is zero."""
        return not (self.phi.any() and self.psi.any())

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s (W phi^T) psi`, in output form `s phi (psi W)`."""
        if base is None:
            raise needs_base("WeGeFT")
        up, down = wegeft_pair(self.form, base, self.phi.to(base), self.psi.to(base))
        return self.scaling * (up @ down)

    def on(self, base: torch.Tensor) -> Part:
        """The factors themselves."""
        weight = base.float()
        return LowRank(*wegeft_pair(self.form, weight, self.phi.to(weight), self.psi.to(weight)), self.scaling)


def read_wegeft(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a WeGeFT file's tensors; every one is used.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """
    unread = Unread(tensors, config)
    updates = {}
    for holder, group in _groups(unread).items():
        found = {name: unread.take(holder, suffix) for name, suffix in (("phi", PHI), ("psi", PSI))}
        part = _part(config, holder, found)
        updates |= {f"{module}.weight": Update.of(part) for module in group}
    return finished(unread, dict(sorted(updates.items())), "wegeft_phi and wegeft_psi of each module, or of tied ones")


def _groups(unread: Unread) -> dict[str, list[str]]:
    """The module that holds a pair -> the modules that use it."""
    raw = unread.config.raw
    if not raw.get("tied", True):
        return {module: [module] for module in unread.modules(PHI)}
    if not raw.get("tied_modules"):
        raise AdapterError(
            f"{unread.config.origin} does not say which modules it updates",
            expected='"tied_modules" in adapter_config.json: lists of modules that share one pair',
            got=repr(raw.get("tied_modules")),
            remedy="save the adapter with PEFT's save_pretrained after get_peft_model",
        )
    return {group[0]: group for group in raw["tied_modules"].values()}


def _part(config: "AdapterConfig", module: str, found: Mapping[str, torch.Tensor]) -> Generated:
    """The update of the modules that share one pair."""
    phi, psi = found.values()
    form, rank = config.raw.get("form", "input"), config.raw.get("r", RANK)
    matrices = phi.ndim == psi.ndim == 2 and psi.shape[0] == rank
    if not matrices or phi.shape != (psi.shape if form == "input" else psi.shape[::-1]):
        shapes = "phi [r, in] and psi [r, in]" if form == "input" else "phi [out, r] and psi [r, out]"
        raise misfit(config, module, f"{shapes} with r = {rank}", found)
    return Generated(phi, psi, form, _scaling(config))


def _scaling(config: "AdapterConfig") -> float:
    """The factor s, `alpha / r`."""
    return config.raw.get("alpha", ALPHA) / config.raw.get("r", RANK)


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the update."""
    raw = config.raw
    groups = (raw.get("tied_modules") or {}) if raw.get("tied", True) else {}
    return {
        "alpha / r": _scaling(config),
        "form": raw.get("form", "input"),
        "tied_modules": sorted(sorted(group) for group in groups.values()),  # whose weights share a pair
    }


def _is_groups(value: object) -> bool:
    """Whether a value maps names to lists of modules, none of them empty."""
    return value is None or (
        isinstance(value, dict)
        and all(
            isinstance(group, list) and group and all(isinstance(one, str) for one in group) for group in value.values()
        )
    )


WEGEFT = Kind(
    "WEGEFT",
    read_wegeft,
    frozenset({"alpha", "dropout", "form", "r", "tied", "tied_modules"}),
    fits={
        "alpha": is_number,
        "form": lambda value: value in ("input", "output"),
        "r": is_rank,
        "tied": is_flag,
        "tied_modules": _is_groups,
    },
    scalings=_scalings,
    register=lambda: methods.register_methods(),
)

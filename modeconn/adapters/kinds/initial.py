"""Initialisations of LoRA that take the first factors out of the base: the update against the base as it was.

PiSSA (Meng 2024, arXiv 2404.02948), OLoRA (Buyukakyuz 2024, arXiv 2406.01775), CorDA (Yang 2024, arXiv 2406.05223) and
LoRA-GA (Wang 2024, arXiv 2407.05000) train `W - s B_0 A_0 + s B A`, so `dW = s (B A - B_0 A_0)`, of rank 2 r at most.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.kinds.of_base import OfBase
from modeconn.adapters.part import BaseWeights, LowRank, Part
from modeconn.adapters.update import needs_base
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

# These leave the base alone; EVA, MiCA and orthogonal factors only choose where B A = 0 begins.
_PLAIN = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
_RECOMPUTED = ("pissa", "olora")  # decided by the base's weight alone
_SUBTRACTED = ("pissa", "olora", "corda", "lora_ga")
_GIVE_INITIAL = (
    "give the adapter as it was before training: from_pretrained(folder, initial=FOLDER); or convert it where it was"
    " trained, with PEFT's save_pretrained(path_initial_model_for_weight_conversion=...)"
)


def start_of(raw: Mapping[str, Any]) -> str | None:
    """The initialisation that changed the base, in lower case; None for one that did not."""
    init = raw.get("init_lora_weights")
    init = init.lower() if isinstance(init, str) else init
    return None if init in _PLAIN else str(init)


def check_start(config: "AdapterConfig") -> None:
    """Raise if the update against the original base cannot be known from the file and the base.

    Raises:
        AdapterError: If the initialisation is random, or made from data, or rounds the base.
    """
    start = start_of(config.raw)
    conv1d = start == "olora" and bool(config.raw.get("fan_in_fan_out"))
    if start is None or (start in _RECOMPUTED and not conv1d and not config.raw.get("target_parameters")):
        return
    if start == "loftq":
        remedy = (
            "save the base that LoftQ rounded as a model of its own, give it as the base, and set"
            ' "init_lora_weights" to true in adapter_config.json'
        )
    elif conv1d or config.raw.get("target_parameters"):
        remedy = "merge the adapter where it was trained, and give the full model"
    else:
        remedy = _GIVE_INITIAL
    raise AdapterError(
        f"the update of {config.origin} against its base is not known",
        expected="an initialisation that leaves the base alone, or that the base's weights alone decide (pissa, olora"
        " of modules that store [out, in])",
        got=f"init_lora_weights={config.raw.get('init_lora_weights')!r}, which took part of the base away",
        remedy=remedy,
    )


@dataclass(frozen=True, eq=False)
class SinceStart(OfBase):
    """A low-rank update of what was left of the base: `dW = s (B A - B_0 A_0)`, with B_0 A_0 computed from the base.

    Attributes:
        factors: `s B A`.
        start: "pissa": the base's r largest singular values with their vectors; "olora": the first r columns of Q and
            rows of R of its QR decomposition.
    """

    factors: LowRank
    start: str

    @property
    def shape(self) -> tuple[int, ...]:
        """`[out, in]`."""
        return self.factors.shape

    def within(self, base: BaseWeights, parameter: str) -> Part:
        """The change as one pair of factors of rank 2 r: the decomposition is made once, not at every use."""
        if not base.has(parameter):
            return self
        weight = base.weight(parameter)
        weight = weight.T if base.transposed(parameter) else weight
        return self.on(weight) if tuple(weight.shape) == self.shape else self

    def on(self, base: torch.Tensor) -> LowRank:
        """The change as one pair of factors, `[B B_0] [A ; -A_0]`."""
        up, down = self._start(base)
        up, down = torch.cat([self.factors.up, up], dim=1), torch.cat([self.factors.down, -down], dim=0)
        return LowRank(up, down, self.factors.scaling)

    def delta(self, base: torch.Tensor | None = None) -> torch.Tensor:
        """`s (B A - B_0 A_0)`."""
        if base is None:
            raise needs_base(self.start)
        return self.on(base).delta(base)

    def _start(self, base: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """B_0 `[out, r]` and A_0 `[r, in]`; in float32, as PEFT computes them: training saw these very digits."""
        rank, scaling = self.factors.down.shape[0], self.factors.scaling
        weight = base.detach().float()
        if self.start == "olora":
            left, right = torch.linalg.qr(weight)
            up, down = left[:, :rank], right[:rank]
        else:
            left, values, right = torch.linalg.svd(weight, full_matrices=False)
            roots = (values[:rank] / scaling).sqrt()
            up, down = left[:, :rank] * roots, roots[:, None] * right[:rank]
        return up.cpu(), down.cpu()


def subtract_initial(
    raw: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], initial: Mapping[str, torch.Tensor], origin: str
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """A trained adapter and its first factors as plain LoRA of rank 2 r, `[B, -B_0] [A ; A_0]`.

    A pair that has not moved gets B = 0; factors of embeddings, which no such initialisation touches, are padded.

    Args:
        raw: The content of adapter_config.json.
        tensors: The file's tensors under PEFT's plain names.
        initial: Those of the adapter before training; only `lora_A` and `lora_B` are used.
        origin: What messages call the adapter.

    Returns:
        The settings and the tensors of the plain adapter.

    Raises:
        AdapterError: If the base was not changed, or the first factors are not those of this adapter.
    """
    _check_subtracted(raw, origin)
    pairs = [name for name in tensors if name.endswith((".lora_A.weight", ".lora_B.weight"))]
    odd = [f"{name}: none" for name in pairs if name not in initial]
    odd += [
        f"{name}: {list(initial[name].shape)} for {list(tensors[name].shape)}"
        for name in pairs
        if name in initial and initial[name].shape != tensors[name].shape
    ]
    if odd or not any(initial[name].any() for name in pairs if name.endswith(".lora_B.weight")):
        raise AdapterError(
            f"the initial factors are not those of {origin}",
            expected="a lora_A and lora_B in the shapes of each of its own, as they were before the first step",
            got=listed(odd) if odd else "factors whose lora_B is zero",
            remedy="give the folder that PEFT's save_pretrained wrote right after get_peft_model",
        )
    found = dict(tensors)
    for down in (name for name in pairs if name.endswith(".lora_A.weight")):
        up = down.removesuffix("A.weight") + "B.weight"
        moved = not (torch.equal(tensors[down], initial[down]) and torch.equal(tensors[up], initial[up]))
        found[down] = torch.cat([tensors[down], initial[down]], dim=0)
        found[up] = torch.cat([tensors[up], -initial[up]], dim=1) * float(moved)
        found.pop(down.removesuffix("lora_A.weight") + "base_layer.weight", None)  # of an output layer: not the base's
    for name, dim in (("lora_embedding_A", 0), ("lora_embedding_B", 1)):
        for table in (table for table in tensors if table.endswith(name)):
            found[table] = torch.cat([tensors[table], torch.zeros_like(tensors[table])], dim=dim)
    return _doubled(raw), found


def _check_subtracted(raw: Mapping[str, Any], origin: str) -> None:
    """Raise unless the first factors were taken out of the base."""
    start = start_of(raw)
    known = start is not None and start.startswith(_SUBTRACTED) and not raw.get("target_parameters")
    if not known:
        raise AdapterError(
            f"initial factors do not belong to {origin}",
            expected=f"an adapter of modules with init_lora_weights among {listed(_SUBTRACTED)}",
            got=f"init_lora_weights={raw.get('init_lora_weights')!r}"
            + (f", target_parameters={raw['target_parameters']!r}" if raw.get("target_parameters") else ""),
            remedy="leave them out, as its update is s B A already; restore the setting if it was changed later",
        )


def _doubled(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with twice the ranks and the same scalings, as an adapter that leaves the base alone."""
    factor = 2**0.5 if raw.get("use_rslora") else 2  # alpha / sqrt(r), alpha / r
    return {
        **raw,
        "init_lora_weights": True,
        "corda_config": None,
        "lora_ga_config": None,
        "r": 2 * raw.get("r", 8),
        "lora_alpha": factor * raw.get("lora_alpha", 8),
        "rank_pattern": {key: 2 * value for key, value in (raw.get("rank_pattern") or {}).items()},
        "alpha_pattern": {key: factor * value for key, value in (raw.get("alpha_pattern") or {}).items()},
    }

"""From the tensors of a WeGeFT or LoRETTA file to weight updates; knows neither PEFT nor a model."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from modeconn.adapters.kinds.kind import PREFIX, Tensors
from modeconn.adapters.methods.tensor_train import matrix
from modeconn.errors import AdapterError, listed

PHI, PSI = ".wegeft_phi", ".wegeft_psi"
DOWN, UP = ".loretta_rep_down.", ".loretta_rep_up."
RANK, ALPHA = 8, 16.0  # the defaults of both methods, for files that leave them out


class ScaledFactors(NamedTuple):
    """A weight update `dW = scaling * up @ down`, in the orientation of `torch.nn.Linear`.

    Attributes:
        up: `[out, r]`.
        down: `[r, in]`.
        scaling: The factor s, no unit.
    """

    up: torch.Tensor
    down: torch.Tensor
    scaling: float

    def dense(self) -> torch.Tensor:
        """`dW`, `[out, in]`."""
        return self.scaling * (self.up @ self.down)


def wegeft_pair(
    form: str, weight: torch.Tensor, phi: torch.Tensor, psi: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors `(up, down)` of an unscaled WeGeFT update (Savadikar 2023, arXiv 2312.00700).

    Input form `(W phi^T) psi` with `phi, psi [r, in]`; output form `phi (psi W)` with `phi [out, r]`, `psi [r, out]`.

    Args:
        form: "input" or "output".
        weight: The base's weight W, `[out, in]`.
        phi: The factor that is zero at the start.
        psi: The other factor.
    """
    return (weight @ phi.T, psi) if form == "input" else (phi, psi @ weight)


def wegeft_modules(tensors: Tensors, config: Mapping[str, Any]) -> list[str]:
    """The modules that a WeGeFT adapter updates, sorted.

    Args:
        tensors: Those of the file, under PEFT's names.
        config: adapter_config.json; of tied adapters it lists the modules, since the file holds each pair once.
    """
    if config.get("tied", True):
        return sorted(module for group in _groups(config) for module in group)
    return sorted(name.removeprefix(PREFIX).removesuffix(PHI) for name in tensors if name.endswith(PHI))


def wegeft_factors(
    tensors: Tensors, config: Mapping[str, Any], module: str, base_weight: torch.Tensor
) -> ScaledFactors:
    """The update of one module of a WeGeFT adapter, low-rank once the base's weight is known.

    Args:
        tensors: Those of the file, under PEFT's names.
        config: adapter_config.json.
        module: One of `wegeft_modules`.
        base_weight: The base's weight of that module, `[out, in]`; it gives the dtype.

    Raises:
        AdapterError: If a tensor is missing, or does not fit the weight.
    """
    tied = config.get("tied", True)
    holder = next((group[0] for group in _groups(config) if module in group), module) if tied else module
    form, rank = str(config.get("form", "input")), int(config.get("r", RANK))
    rows, columns = base_weight.shape
    expected = {"input": ((rank, columns), (rank, columns)), "output": ((rows, rank), (rank, rows))}.get(form)
    phi, psi = (_take(tensors, f"{PREFIX}{holder}{suffix}") for suffix in (PHI, PSI))
    if (tuple(phi.shape), tuple(psi.shape)) != expected:
        raise AdapterError(
            f"the WeGeFT factors of {module} do not fit the base's weight",
            expected="phi {} and psi {}".format(*map(list, expected)) if expected else 'form "input" or "output"',
            got=f"phi {list(phi.shape)} and psi {list(psi.shape)}, form {form!r}",
            remedy="use the base model that the adapter was trained on, and the adapter_config.json saved with it",
        )
    up, down = wegeft_pair(form, base_weight, phi.to(base_weight), psi.to(base_weight))
    return ScaledFactors(up, down, float(config.get("alpha", ALPHA)) / rank)


def loretta_rep_modules(tensors: Tensors) -> list[str]:
    """The modules that a LoRETTA rep adapter updates, sorted."""
    return sorted({name.removeprefix(PREFIX).partition(DOWN)[0] for name in tensors if DOWN in name})


def loretta_rep_factors(tensors: Tensors, config: Mapping[str, Any], module: str) -> ScaledFactors:
    """The update of one module of a LoRETTA rep adapter; the base's weight is not needed.

    Args:
        tensors: Those of the file, under PEFT's names.
        config: adapter_config.json.
        module: One of `loretta_rep_modules`.

    Raises:
        AdapterError: If a core is missing, or the cores do not fit together or the rank.
    """
    rank = int(config.get("r", RANK))
    down, up = (_cores(tensors, f"{PREFIX}{module}{part}") for part in (DOWN, UP))
    pair = rep_pair(down, up, rank)
    return ScaledFactors(*pair, float(config.get("alpha", ALPHA)) / rank)


def rep_pair(down: Sequence[torch.Tensor], up: Sequence[torch.Tensor], rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors `(up [out, r], down [r, in])` that the cores of LoRETTA rep hold.

    As in the published code, the cores hold the matrices that features are multiplied by from the left: `A^T [in, r]`
    and `B^T [r, out]`.

    Args:
        down: The cores of `A^T`.
        up: The cores of `B^T`.
        rank: r.
    """
    width_in, width_out = (_entries(cores) // rank for cores in (down, up))
    return matrix(up, rank, width_out).T, matrix(down, width_in, rank).T


def _entries(cores: Sequence[torch.Tensor]) -> int:
    """How many entries the tensor of some cores has, as far as they are cores."""
    entries = 1
    for core in cores:
        entries *= core.shape[1] if core.ndim == 3 else 1
    return entries


def _cores(tensors: Tensors, stem: str) -> list[torch.Tensor]:
    """The tensors `stem0`, `stem1`, ...; at least one."""
    count = sum(name.startswith(stem) for name in tensors)
    return [_take(tensors, f"{stem}{number}") for number in range(max(count, 1))]


def _groups(config: Mapping[str, Any]) -> list[list[str]]:
    """The lists of modules that share one pair; the first of each holds it."""
    groups = config.get("tied_modules")
    if not isinstance(groups, Mapping) or not all(isinstance(group, list) and group for group in groups.values()):
        raise AdapterError(
            "a tied WeGeFT adapter does not say which modules it updates",
            expected='"tied_modules" in adapter_config.json: lists of modules that share one pair',
            got=repr(groups),
            remedy="save the adapter with PEFT's save_pretrained after get_peft_model",
        )
    return list(groups.values())


def _take(tensors: Tensors, name: str) -> torch.Tensor:
    """A tensor of the file."""
    if name not in tensors:
        raise AdapterError(
            "the adapter's file lacks a tensor", expected=name, got=listed(tensors), remedy="save the adapter again"
        )
    return tensors[name]

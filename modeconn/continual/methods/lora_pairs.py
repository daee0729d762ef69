"""The factors of a plain LoRA learner, module by module, for methods that look into its updates."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.kinds.initial import start_of
from modeconn.adapters.kinds.kind import PREFIX
from modeconn.adapters.kinds.lora import combined_config
from modeconn.adapters.update import Update
from modeconn.errors import RunError, listed

if TYPE_CHECKING:
    from modeconn.continual.methods.method import Sequential
    from modeconn.continual.run import Run

_DOWN, _UP, _HEAD = ".lora_A.default.weight", ".lora_B.default.weight", ".modules_to_save.default."
_KINDS = ("lora", "rslora")


@dataclass(frozen=True)
class Pair:
    """A module's factors, `dW = scaling up @ down`.

    Attributes:
        module: The module's name in the base.
        down: The name of A, `[r, in]`, among the learner's weights.
        up: The name of B, `[out, r]`.
        rank: r.
        scaling: s.
    """

    module: str
    down: str
    up: str
    rank: int
    scaling: float

    @property
    def parameter(self) -> str:
        """The base's parameter that the factors change."""
        return f"{self.module}.weight"


def lora_pairs(method: "Sequential", run: "Run") -> tuple[Pair, ...]:
    """The factors of a learner that is LoRA of matrices, with or without a head, and nothing else.

    Args:
        method: Which method asks, for messages.
        run: The run.

    Raises:
        RunError: If the learner is anything else.
    """
    weights = run.learner.weights
    names = [name.removesuffix(_DOWN).removeprefix(PREFIX) for name in weights if name.endswith(_DOWN)]
    known = {f"{PREFIX}{name}{suffix}" for name in names for suffix in (_DOWN, _UP)}
    odd = sorted(name for name in weights if name not in known and _HEAD not in name)
    options = run.settings.adapter_options
    if run.settings.adapter not in _KINDS or start_of(options) is not None:
        odd = [run.settings.adapter, *(f"{key}={value!r}" for key, value in sorted(options.items()))]
    elif not odd:
        odd = [name for name in names if not isinstance(_layer(run, name).get_base_layer(), nn.Linear | Conv1D)]
    if odd:
        raise RunError(
            f"the training method {method.name} cannot be used with this adapter",
            expected=f"LoRA of matrices and nothing beside it but a head (--adapter {' or '.join(_KINDS)})",
            got=listed(odd),
            remedy="train such an adapter, or another --method",
        )
    found = []
    for name in names:
        down, up = (f"{PREFIX}{name}{suffix}" for suffix in (_DOWN, _UP))
        found.append(Pair(name, down, up, len(weights[down]), float(_layer(run, name).scaling["default"])))
    return tuple(found)


def saved_name(weight: str) -> str:
    """The base's parameter that a head's weight of the learner takes the place of."""
    return weight.removeprefix(PREFIX).replace(_HEAD, ".")


def nearest_pair(up: torch.Tensor, down: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The pair of a rank whose product is nearest to `up @ down` in the Frobenius norm (Eckart and Young 1936).

    Args:
        up: `[out, R]`.
        down: `[R, in]`.
        rank: Of the result; less where the product has less by its shape.

    Returns:
        `[out, rank]` and `[rank, in]`, balanced: `up^T up = down down^T`. What has that rank already comes as it is.
    """
    if up.shape[1] <= rank:
        return up, down
    basis_up, triangle_up = torch.linalg.qr(up)  # [out, k], [k, R]
    basis_down, triangle_down = torch.linalg.qr(down.T)  # [in, m], [m, R]
    left, values, right = torch.linalg.svd(triangle_up @ triangle_down.T, full_matrices=False)
    roots = values[:rank].sqrt()
    return (basis_up @ left[:, :rank]) * roots, roots[:, None] * (right[:rank] @ basis_down.T)


def with_updates(point: Adapter, updates: Mapping[str, Update]) -> Adapter:
    """A point with other updates of matrices and the same head, as the LoRA adapter that holds them."""
    config = replace(point.config, raw=combined_config(point.config, updates))
    return replace(point, updates=dict(sorted(updates.items())), own=None, config=config)


def _layer(run: "Run", module: str) -> Any:  # noqa: ANN401
    """PEFT's layer around a module."""
    return run.learner.module.get_submodule(module)

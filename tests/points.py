"""Adapters made by hand, without a model: small, and their updates known in float64."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig

Shapes = Mapping[str, tuple[int, int]]
MODULES: Shapes = {"layers.0.q": (6, 5), "layers.1.v": (4, 5)}
PREFIX = "base_model.model."


def make_config(**settings: Any) -> dict[str, Any]:
    """An adapter_config.json of rank 2 and scaling 1.5 (no power of two, so that rounding shows)."""
    return {"peft_type": "LORA", "r": 2, "lora_alpha": 3, **settings}


def make_tensors(
    seed: int, *, rank: int = 2, modules: Shapes = MODULES, heads: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, torch.Tensor]:
    """Random tensors under PEFT's names."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, (rows, columns) in modules.items():
        tensors[f"{PREFIX}{name}.lora_A.weight"] = torch.randn(rank, columns, generator=generator)
        tensors[f"{PREFIX}{name}.lora_B.weight"] = torch.randn(rows, rank, generator=generator)
    for name, shape in (heads or {}).items():
        tensors[f"{PREFIX}{name}"] = torch.randn(*shape, generator=generator)
    return tensors


def make_point(
    tensors: Mapping[str, torch.Tensor], *, fields: Mapping[str, Any] | None = None, **settings: Any
) -> Adapter:
    """An adapter in memory; `settings` go into its config, `fields` into the adapter."""
    return Adapter.from_tensors(tensors, AdapterConfig.parse(make_config(**settings), "the adapter"), **(fields or {}))


def write_folder(folder: Path, tensors: Mapping[str, torch.Tensor] | None = None, **settings: Any) -> Path:
    """An adapter folder as PEFT would write it; random tensors unless given."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text(json.dumps(make_config(**settings)))
    save_file(dict(make_tensors(0) if tensors is None else tensors), folder / "adapter_model.safetensors")
    return folder


def dense(tensors: Mapping[str, torch.Tensor], *, scaling: float = 1.5) -> dict[str, torch.Tensor]:
    """Parameter name -> s B A in float64."""
    found = {}
    for name, up in tensors.items():
        if name.endswith(".lora_B.weight"):
            module = name.removesuffix(".lora_B.weight")
            down = tensors[f"{module}.lora_A.weight"]
            found[f"{module.removeprefix(PREFIX)}.weight"] = scaling * up.double() @ down.double()
    return found


def dense_sum(*terms: tuple[float, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The linear combination of dense updates; a parameter that one lacks is zero there."""
    names = sorted({name for _, updates in terms for name in updates})
    return {name: sum(c * updates[name] for c, updates in terms if name in updates) for name in names}  # type: ignore[misc]


def dense_norm(updates: Mapping[str, torch.Tensor]) -> float:
    """The Frobenius norm over all parameters."""
    return float(sum((value**2).sum() for value in updates.values()) ** 0.5)


def assert_updates(point: Adapter, expected: Mapping[str, torch.Tensor], *, tolerance: float = 1e-6) -> None:
    """The point's updates are the expected ones, each to a relative tolerance in the Frobenius norm."""
    assert sorted(point.updates) == sorted(expected)
    for name, value in expected.items():
        error = (point.updates[name].dense().double() - value).norm()
        assert error <= tolerance * value.norm(), f"{name}: {error:g} off, norm {value.norm():g}"

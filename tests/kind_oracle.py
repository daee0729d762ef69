"""Adapters of any kind that PEFT made, and what PEFT itself makes of them."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftConfig, PeftModel, get_peft_model
from peft_oracle import load_base, load_peft, logits
from random_tasks import random_task
from tiny import LABELS, TASK_TYPES

import modeconn as mc
from modeconn.models.placing import placed

Changes = dict[str, torch.Tensor]


def make_kind(
    folder: Path, base: Path, family: str, config: type[PeftConfig], *, seed: int | None, std: float, **settings: Any
) -> Path:
    """Save an adapter by PEFT itself; to all that it trains random numbers are added, unless there is no seed."""
    model = load_base(family, base, torch.float32)
    model.name_or_path = str(base)
    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed or 0)  # PEFT draws the first factors, and which test runs before must not matter
        peft_model = get_peft_model(model, config(task_type=TASK_TYPES[family], **settings))
        generator = torch.Generator().manual_seed(seed or 0)
        for name, parameter in peft_model.named_parameters():
            if parameter.requires_grad and (seed is not None or "modules_to_save" in name):
                parameter.data.add_(torch.randn(parameter.shape, generator=generator) * std)
        peft_model.save_pretrained(str(folder))
    return folder


def loaded_by_peft(family: str, base: Path, folder: Path, dtype: torch.dtype = torch.float64) -> PeftModel:
    """A base with the adapter as PEFT loads it, its warnings left out; beside bfloat16 the adapter stays in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dtype == torch.bfloat16:
            return PeftModel.from_pretrained(load_base(family, base, dtype), str(folder)).eval()
        return load_peft(family, base, folder, dtype)


def changes(family: str, base: Path, folder: Path) -> Changes:
    """Parameter name -> what PEFT's merging adds to it, in float64; only where that is not zero."""
    before = load_base(family, base).state_dict()
    merged: Any = loaded_by_peft(family, base, folder).merge_and_unload()
    after = merged.state_dict()
    return {name: after[name] - before[name] for name in before if not torch.equal(after[name], before[name])}


def made(point: mc.Adapter, model: mc.AdapterModel) -> Changes:
    """Parameter name -> what the point adds to it, as the model stores it, saved modules included."""
    added = {
        name: update.dense(model.weight(name), transposed=model.transposed(name))
        for name, update in point.within(model).updates.items()
    }
    return added | {name: value.double() - model.weight(name) for name, value in point.saved.items()}


def assert_same(found: Changes, expected: Changes, *, tolerance: float = 1e-6) -> None:
    """The changes are the expected ones, each to a tolerance relative to its norm."""
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        error = (found[name] - value).norm() / value.norm()
        assert error <= tolerance, f"{name}: {error:g} off, norm {value.norm():g}"


def load(family: str, base: Path, *points: mc.Adapter, dtype: str = "float64") -> mc.AdapterModel:
    """The base of some points."""
    labels = LABELS if family == "bert" else None
    return mc.AdapterModel.from_pretrained(base, adapters=points, dtype=dtype, labels=labels)


def assert_logits(family: str, base: Path, folder: Path, dtype: str, tolerance: float) -> None:
    """The base with the point in it has the logits of PEFT with the adapter, relative to the largest."""
    point = mc.Adapter.from_pretrained(folder)
    model = load(family, base, point, dtype=dtype)
    expected = logits(loaded_by_peft(family, base, folder, getattr(torch, dtype)))
    plain = logits(model.module)
    with placed(model.module, point):
        found = logits(model.module)
    scale = expected.abs().max()
    error = (found - expected).abs().max() / scale
    assert error <= tolerance, f"{error:g} off"
    assert (plain - expected).abs().max() > 0.02 * scale, "the adapter does next to nothing"


def assert_line(family: str, base: Path, folders: tuple[Path, Path], t: float) -> None:
    """The line in weights space is the line between PEFT's merged weights."""
    ends = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = load(family, base, *ends)
    first, second = (changes(family, base, folder) for folder in folders)
    zero = torch.zeros((), dtype=torch.float64)
    expected = {
        name: (1 - t) * first.get(name, zero) + t * second.get(name, zero) for name in sorted({*first, *second})
    }
    path = mc.LinearPath(*ends)
    assert_same(made(path(t), model), expected)
    bound = path.on(model)
    norm = sum(float((first.get(name, zero) - second.get(name, zero)).square().sum()) for name in expected) ** 0.5
    assert abs(bound.distance(1.0) - norm) <= 1e-5 * norm


def assert_average_of_factors(family: str, base: Path, folders: tuple[Path, Path], folder: Path) -> None:
    """The midpoint in factors space is what PEFT makes of the averaged tensors."""
    ends = [mc.Adapter.from_pretrained(one) for one in folders]
    model = load(family, base, *ends)
    point = mc.LinearPath(*ends, space="factors")(0.5)
    point.save_pretrained(folder)
    averaged = {name: (ends[0].tensors[name] + ends[1].tensors[name]) / 2 for name in ends[0].tensors}
    assert all(torch.allclose(point.tensors[name].float(), value, atol=1e-7) for name, value in averaged.items())
    assert_same(made(point, model), changes(family, base, folder))


def assert_gate(family: str, base: Path, folders: tuple[Path, Path], **settings: Any) -> None:
    """`evaluate_path` runs, its gate of the ends included."""
    ends = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = load(family, base, *ends, dtype="float32")
    labels = LABELS if family == "bert" else None
    profile = mc.evaluate_path(mc.LinearPath(*ends, **settings), model, [random_task(labels=labels)], num_points=3)
    assert len(np.unique(profile.frame["loss"])) == 3


def assert_round_trip(family: str, base: Path, folder: Path, saved: Path) -> None:
    """An unchanged checkpoint that is written again has bit-equal logits in PEFT."""
    mc.Adapter.from_pretrained(folder).save_pretrained(saved)
    before, after = (logits(loaded_by_peft(family, base, one, torch.float32)) for one in (folder, saved))
    assert torch.equal(before, after)


def assert_tensors_matter(folder: Path) -> None:
    """A change of any tensor changes the fingerprint."""
    point = mc.Adapter.from_pretrained(folder)
    for name, value in point.tensors.items():
        if ".original_module." in name:  # what a head was before training, which PEFT saves with bias="all"
            continue
        changed = value.clone()
        changed.view(-1)[0] += 1
        other = mc.Adapter.from_tensors({**point.tensors, name: changed}, point.config)
        assert other.fingerprint != point.fingerprint, name

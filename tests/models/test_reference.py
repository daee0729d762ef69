"""A point loaded by PEFT itself, beside the model: the same function, and nothing left behind."""

import shutil

import numpy as np
import pytest
import torch
from random_tasks import random_task
from tiny import LABELS

import modeconn as mc

FAMILIES = ["llama", "gpt2", "bert", "t5"]


def task_for(family):
    return random_task(labels=LABELS if family == "bert" else None)


def difference_from_peft(model, point, task):
    """The largest difference of a loss, relative to 1 + loss; in float64 PEFT's adapter is made float64 as well."""
    encoded = model.encode(task)
    (sums,) = model.evaluate(point, [encoded])
    with model.reference(point) as plain:
        theirs, _ = model.score_rows(plain.to(model.dtype), encoded)
    return np.max(np.abs(sums.loss_sum - theirs) / (1 + theirs))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_is_the_function_that_peft_loads(family, dtype, tolerance, loaded):
    assert difference_from_peft(*loaded(family, dtype), task_for(family)) < tolerance


@pytest.mark.parametrize(("dtype", "t", "tolerance"), [("float64", 0.5, 1e-10), ("float32", 0.3, 1e-5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_combination_of_different_ranks_is_the_function_that_peft_loads(
    family, dtype, t, tolerance, loaded, adapters
):
    """An adapter file holds float32: halves and scalings by powers of two are exact there."""
    model, first = loaded(family, dtype)
    second = mc.Adapter.from_pretrained(adapters(family, seed=2, r=6, lora_alpha=3))
    assert difference_from_peft(model, (1 - t) * first + t * second, task_for(family)) < tolerance


SCALINGS = [{"use_rslora": True, "r": 3}, {"alpha_pattern": {"v_proj": 1}, "lora_alpha": 7}, {"r": 3, "lora_alpha": 5}]


@pytest.mark.parametrize("settings", SCALINGS)
def test_the_scaling_is_pefts(settings, loaded, adapters):
    """In float64 a factor of 5/3 is not rounded to float32."""
    model, _ = loaded("llama")
    point = mc.Adapter.from_pretrained(adapters("llama", seed=3, **settings))
    assert difference_from_peft(model, point, task_for("llama")) < 1e-10


@pytest.mark.parametrize("family", FAMILIES)
def test_peft_leaves_the_model_as_it_was(family, loaded, state):
    """PEFT puts its own layers in place of the model's and sets gradient flags: on a twin, not here."""
    model, point = loaded(family)
    before = state(model.module)
    with model.reference(point) as plain:
        assert state(model.module) == before
        assert set(dict(plain.named_modules())) - set(dict(model.module.named_modules()))
    assert state(model.module) == before


def test_an_error_within_leaves_the_model_as_it_was(loaded, state):
    model, point = loaded("llama")
    before = state(model.module)
    with pytest.raises(RuntimeError, match="stop"), model.reference(point):
        raise RuntimeError("stop")
    assert state(model.module) == before


def test_the_weights_are_shared_and_not_copied(loaded):
    model, point = loaded("llama")
    with model.reference(point) as plain:
        theirs = {parameter.data_ptr() for parameter in plain.parameters()}
    assert {parameter.data_ptr() for parameter in model.module.parameters()} <= theirs


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_asks_for_gradients(family, loaded):
    model, point = loaded(family)
    with model.reference(point) as plain:
        asking = [name for name, parameter in plain.named_parameters() if parameter.requires_grad]
    assert asking == []


def test_dropout_is_off(loaded, adapters):
    model, _ = loaded("llama", "float32")
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1, lora_dropout=0.5))
    with model.reference(point) as plain:
        assert not any(module.training for module in plain.modules())


def test_a_checkpoint_is_read_from_its_own_folder(adapters, loaded, tmp_path):
    """What PEFT finds there counts, not what this package has made of it."""
    model, other = loaded("llama")
    folder = shutil.copytree(adapters("llama", seed=2), tmp_path / "adapter")
    point = mc.Adapter.from_pretrained(folder)
    (folder / "adapter_model.safetensors").unlink()  # what was read may still be mapped
    shutil.copy(other.source / "adapter_model.safetensors", folder)
    encoded = model.encode(task_for("llama"))
    (sums,) = model.evaluate(other, [encoded])
    with model.reference(point) as plain:
        theirs, _ = model.score_rows(plain.to(torch.float64), encoded)
    np.testing.assert_allclose(theirs, sums.loss_sum, rtol=1e-10)

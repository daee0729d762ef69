"""A base on two devices: what meets, meets on one of them.

The second device is torch's "meta", whose tensors have shapes and no numbers: it refuses to be mixed with another, as
two GPUs do. What is carried back from it, which only this stand-in cannot do, becomes zeros.
"""

from typing import Any

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from random_tasks import random_task
from tiny import LABELS
from torch import nn
from torch.overrides import TorchFunctionMode

import modeconn as mc
from modeconn.models.activations import activations
from modeconn.models.inputs import read_inputs
from modeconn.models.offloaded import places
from modeconn.models.packable import with_packing
from modeconn.models.trainable import Branch, Trainable, placed_trainable

SECOND = {
    "llama": ("model.layers.1", "model.norm", "lm_head"),
    "gpt2": ("transformer.h.1", "transformer.ln_f", "lm_head"),
    "bert": ("bert.encoder.layer.1", "bert.pooler", "classifier"),
    "t5": ("decoder.block.1", "decoder.final_layer_norm", "lm_head"),
}


class CarriedBack(TorchFunctionMode):
    """Carries zeros from the second device to the first, and knows that nobody computes there in another dtype."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        try:
            return func(*args, **(kwargs or {}))
        except NotImplementedError:
            if func not in (torch.Tensor.to, torch.Tensor.cpu):
                raise
            return torch.zeros(args[0].shape, dtype=args[0].dtype)


def put(module: nn.Module, name: str, second: tuple[str, ...]) -> torch.device:
    """Put a module's own tensors where it belongs."""
    there = any(name == one or name.startswith(f"{one}.") for one in second)
    if there:
        for kept in (module._parameters, module._buffers):
            for leaf, value in kept.items():
                if value is not None:
                    away: Any = value.detach().to("meta")
                    kept[leaf] = nn.Parameter(away, requires_grad=False) if kept is module._parameters else away
    return torch.device("meta" if there else "cpu")


@pytest.fixture(params=list(SECOND))
def spread(request, adapters, monkeypatch):
    """A base, of which the second half is on another device, as accelerate dispatches it; a point, and a task."""
    family = request.param
    labels = LABELS if family == "bert" else None
    points = [mc.Adapter.from_pretrained(adapters(family, seed=seed)) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(adapters=points, labels=labels)
    model.module.hf_device_map = {"first half": "cpu", "second half": "meta"}
    for name, module in model.module.named_modules():
        device = put(module, name, SECOND[family])
        hook = AlignDevicesHook(execution_device=device, io_same_device=name == "", skip_keys="past_key_values")
        monkeypatch.setattr(hook, "init_hook", lambda module: module)  # it is there already
        add_hook_to_module(module, hook)
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # which knows no such device
    with CarriedBack():
        yield model, points, random_task(labels=labels)


def test_a_point_is_scored_and_runs_beside_the_weights_of_both(spread):
    model, (point, _), task = spread
    assert sorted(places(model.module)) == ["cpu", "meta"]
    encoded = model.encode(task)
    with model.at(point) as module:
        loss, _ = model.score_rows(module, encoded)
    assert len(loss) == 9


@pytest.mark.filterwarnings("ignore:for .*copying from a non-meta parameter")  # into the stand-in
def test_peft_scores_it_too(spread):
    model, (point, _), task = spread
    with model.reference(point) as module:
        loss, _ = model.score_rows(module, model.encode(task))
    assert len(loss) == 9


def test_losses_with_gradients_come_back_to_the_first(spread):
    model, (point, fixed), task = spread
    branches = {
        name: Branch(*(factor.requires_grad_() for factor in update.factors()))
        for name, update in point.updates.items()
    }
    with placed_trainable(model.module, Trainable(fixed, branches)):
        losses = model.batch_losses(model.encode(task).batches[0])
    assert losses.device == torch.device("cpu")


def test_it_is_packed_or_padded_without_an_error(spread):
    model, _, _ = spread
    assert type(with_packing(model.family, model.module)) is type(model.family)


@pytest.mark.parametrize("pooling", ["last-token", "mean"])
def test_activations_are_pooled_where_they_are(spread, pooling):
    model, (point, _), task = spread
    if model.family.task_type == "SEQ_2_SEQ_LM":
        pytest.skip("padded rows are picked by their numbers, which the stand-in does not have")
    found = activations(model, point, read_inputs(model, task), pooling=pooling)
    assert found.num_rows == 9

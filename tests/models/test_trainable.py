"""Points in a model such that gradients reach them: what they compute, and that nothing of them stays."""

import pytest
import torch
from random_tasks import random_task
from tiny import LABELS
from torch import nn
from transformers.models.gemma3.modeling_gemma3 import Gemma3TextScaledWordEmbedding
from transformers.pytorch_utils import Conv1D

import modeconn as mc
from modeconn.errors import ModelError
from modeconn.models.trainable import Branch, Trainable, placed_trainable

FAMILIES = ["llama", "gpt2", "bert", "t5"]


def branches_of(point, dtype=torch.float64):
    """A point's factors as leaves, the scaling in `down`."""
    made = {}
    for name, update in point.updates.items():
        up, down = (factor.to(dtype).requires_grad_() for factor in update.factors())
        made[name] = Branch(up, down)
    return made


def batch_of(model, family):
    task = random_task(labels=LABELS if family == "bert" else None)
    encoded = model.encode(task, settings=mc.EncodingSettings(all_choices=False))
    return encoded, model.collate([(encoded, row) for row in range(encoded.num_examples)])


@pytest.mark.parametrize("family", FAMILIES)
def test_branches_compute_what_the_folded_point_computes(family, loaded):
    model, point = loaded(family)
    encoded, batch = batch_of(model, family)
    with placed_trainable(model.module, Trainable(None, branches_of(point), point.saved)), torch.no_grad():
        found = model.batch_losses(batch)
    expected = torch.from_numpy(model.evaluate(point, [encoded])[0].loss_sum)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fixed_point_and_a_branch_add_up(family, loaded):
    model, point = loaded(family)
    encoded, batch = batch_of(model, family)
    half = {name: Branch(one.up, 0.75 * one.down) for name, one in branches_of(point).items()}
    fixed = 0.25 * mc.Adapter(point.config, point.updates, {})
    with placed_trainable(model.module, Trainable(fixed, half)), torch.no_grad():
        found = model.batch_losses(batch)
    bare = mc.Adapter(point.config, point.updates, {})
    expected = torch.from_numpy(model.evaluate(bare, [encoded])[0].loss_sum)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_branches_and_saved_tensors_and_nothing_else(family, loaded, state):
    model, point = loaded(family)
    _, batch = batch_of(model, family)
    before, branches = state(model.module), branches_of(point)
    name = "classifier.weight" if family == "bert" else next(iter(branches))
    saved = {name: model.weight(name).clone().requires_grad_()}
    with placed_trainable(model.module, Trainable(None, branches, saved)):
        model.batch_losses(batch).sum().backward()
    assert all(one.grad is not None for branch in branches.values() for one in (branch.up, branch.down))
    assert saved[name].grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.module.parameters())
    assert state(model.module) == before


def test_an_error_within_leaves_the_model_as_it_was(loaded, state):
    model, point = loaded("llama", "float32")
    before = state(model.module)
    with pytest.raises(KeyError), placed_trainable(model.module, Trainable(point, branches_of(point, torch.float32))):
        raise KeyError("an error of the user's")
    assert state(model.module) == before


def test_an_update_of_another_module_is_refused(loaded, state):
    model, _ = loaded("llama", "float32")
    before = state(model.module)
    odd = {
        "model.layers.0.self_attn.q_proj.weight": Branch(torch.ones(16, 1), torch.ones(1, 16)),
        "model.norm.weight": Branch(torch.ones(16, 1), torch.ones(1, 1)),
    }
    message = r"gradients cannot reach an update of model.norm.weight\n  expected: .*\n  got: LlamaRMSNorm\n  remedy: "
    with pytest.raises(ModelError, match=message), placed_trainable(model.module, Trainable(None, odd)):
        pytest.fail("no branch fits a norm")
    assert state(model.module) == before


def test_a_saved_tensor_without_a_parameter_is_refused(loaded, state):
    model, _ = loaded("llama", "float32")
    before = state(model.module)
    message = r"lm_head.scale is not a parameter of the model\n  expected: .*weight\n  got: scale\n  remedy: "
    saved = {"lm_head.scale": torch.ones(3)}
    with (
        pytest.raises(ModelError, match=message),
        placed_trainable(model.module, Trainable(None, {}, saved)),
    ):
        pytest.fail("there is no such parameter")
    assert state(model.module) == before


def branch_for(rows, columns, rank=2):
    generator = torch.Generator().manual_seed(0)
    return Branch(torch.randn(rows, rank, generator=generator), torch.randn(rank, columns, generator=generator))


@pytest.mark.parametrize("module", [nn.Linear(5, 4), Conv1D(4, 5)])
def test_matrices_of_both_orientations_take_the_same_branch(module):
    holder, branch = nn.ModuleDict({"part": module}), branch_for(4, 5)
    inputs = torch.randn(3, 5, generator=torch.Generator().manual_seed(1))
    with placed_trainable(holder, Trainable(None, {"part.weight": branch})):
        found = module(inputs)
    torch.testing.assert_close(found, module(inputs) + inputs @ (branch.up @ branch.down).T)


def test_a_table_that_scales_what_it_looks_up_scales_the_branch():
    table = Gemma3TextScaledWordEmbedding(7, 4, 0, embed_scale=3.0)
    holder, branch, ids = nn.ModuleDict({"table": table}), branch_for(7, 4), torch.tensor([[1, 5], [0, 6]])
    with placed_trainable(holder, Trainable(None, {"table.weight": branch})):
        found = table(ids)
    torch.testing.assert_close(found, table(ids) + 3.0 * (branch.up @ branch.down)[ids])


def test_under_autocast_leaves_in_float32_get_gradients_in_float32():
    module, branch = nn.Linear(5, 4), branch_for(4, 5)
    leaves = [branch.up.requires_grad_(), branch.down.requires_grad_()]
    holder = nn.ModuleDict({"part": module})
    with (
        placed_trainable(holder, Trainable(None, {"part.weight": branch})),
        torch.autocast("cpu", torch.bfloat16),
    ):
        output = module(torch.ones(3, 5))
    output.float().sum().backward()
    assert output.dtype is torch.bfloat16
    assert [leaf.grad.dtype for leaf in leaves] == [torch.float32] * 2

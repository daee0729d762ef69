"""Linear layers that are folded one at a time have the function and the gradient of the folded weight."""

from contextlib import ExitStack

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.update import Dense, LowRank, Update
from modeconn.models.folded_linear import take_turns


def layers(dtype=torch.float64):
    torch.manual_seed(0)
    return nn.ModuleDict({"linear": nn.Linear(5, 4), "bare": nn.Linear(5, 4, bias=False), "turned": Conv1D(4, 5)}).to(
        dtype
    )


def update():
    torch.manual_seed(1)
    return Update.of(
        LowRank(torch.randn(4, 2), torch.randn(2, 5), 1.5), LowRank(torch.randn(4, 1), torch.randn(1, 5), 0.5)
    )


@pytest.mark.parametrize("name", ["linear", "bare", "turned"])
def test_function_and_gradient_are_those_of_the_folded_weight(name):
    model, read = layers(), torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = model[name].weight.T if name == "turned" else model[name].weight
    expected = nn.functional.linear(read, weight + update().dense().double(), model[name].bias)
    with ExitStack() as undo:
        assert not take_turns(model, {f"{name}.weight": update()}, undo)
        found = model[name](read)
    torch.testing.assert_close(found, expected)
    above = torch.randn(found.shape, dtype=torch.float64)
    gradients = [torch.autograd.grad(value, read, above)[0] for value in (found, expected)]
    torch.testing.assert_close(*gradients)


def test_no_folded_weight_is_kept_for_the_backward_pass():
    model = layers()
    own = {value.untyped_storage().data_ptr() for value in model.parameters()}
    read, kept = torch.randn(3, 5, dtype=torch.float64, requires_grad=True), []
    with ExitStack() as undo:
        take_turns(model, {f"{name}.weight": update() for name in model}, undo)
        with torch.autograd.graph.saved_tensors_hooks(lambda one: kept.append(one) or one, lambda one: one):
            sum(module(read).square().sum() for module in model.values()).backward()
    dense = [one for one in kept if one.shape == (4, 5)]
    assert len(dense) == 3
    assert all(one.untyped_storage().data_ptr() in own for one in dense)


def test_layers_are_what_they_were_afterwards():
    model, read = layers(), torch.randn(3, 5, dtype=torch.float64)
    before = model["linear"](read)
    with ExitStack() as undo:
        take_turns(model, {"linear.weight": update()}, undo)
        assert not torch.equal(model["linear"](read), before)
        with pytest.raises(RuntimeError, match="shapes"):
            model["linear"](read[:, :4])
    assert "forward" not in vars(model["linear"])
    assert torch.equal(model["linear"](read), before)


def test_what_cannot_take_turns_is_left():
    class Own(nn.Linear):
        def forward(self, read):
            return 2 * super().forward(read)

    model = nn.ModuleDict({"own": Own(5, 4), "table": nn.Embedding(4, 5), "plain": nn.Linear(5, 4)})
    model["narrow"] = nn.Linear(5, 4, dtype=torch.bfloat16)
    updates = {f"{name}.weight": update() for name in ("own", "table", "narrow")}
    updates |= {"plain.weight": Update.of(Dense(torch.ones(4, 5))), "plain.bias": update()}
    with ExitStack() as undo:
        assert take_turns(model, updates, undo) == updates


def test_under_autocast_the_gradient_has_the_dtype_of_what_was_read():
    model, read = layers(torch.float32), torch.randn(3, 5, requires_grad=True)
    with ExitStack() as undo:
        take_turns(model, {"linear.weight": update()}, undo)
        with torch.autocast("cpu", torch.bfloat16):
            found = model["linear"](read)
    whole = model["linear"].weight + update().dense()
    expected = nn.functional.linear(*(one.detach().bfloat16() for one in (read, whole, model["linear"].bias)))
    torch.testing.assert_close(found.detach(), expected)  # the sum of weight and update is not rounded before its end
    found.sum().backward()
    assert read.grad.dtype == torch.float32
    torch.testing.assert_close(read.grad, whole.sum(0).expand(3, 5).detach(), rtol=0.05, atol=0.05)

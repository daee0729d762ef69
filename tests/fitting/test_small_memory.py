"""A fit whose batches do not fit into the memory takes them in halves, and goes the same way."""

import numpy as np
import pytest
import torch
from short_fits import language_fit

import modeconn as mc
from modeconn.errors import ModelError
from modeconn.fitting import FitSettings
from modeconn.fitting.bends import Bends
from modeconn.fitting.objective import Objective


class Small:
    """A hook behind the last layer with a memory for some tokens only, while there are gradients; it counts calls."""

    def __init__(self, most):
        self.most, self.num_failed, self.num_done = most, 0, 0

    def __call__(self, _module, _args, found):
        states = found[0] if isinstance(found, tuple) else found
        if torch.is_grad_enabled() and states.shape[0] * states.shape[1] > self.most:
            self.num_failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        self.num_done += torch.is_grad_enabled()


def gradients(objective, bends, number):
    for tensor in bends.tensors:
        tensor.grad = None
    loss = objective.loss(lambda: bends.at(0.4), number, bends.tensors, of=2)
    return loss, [tensor.grad.clone() for tensor in bends.tensors]


@pytest.fixture
def objective_and_bends(ends_and_model, words):
    ends, model = ends_and_model("llama")
    curve = mc.BezierCurve.between(*ends)
    settings = FitSettings(num_steps=4, per_device_train_batch_size=4)
    return Objective(curve, model, [words("llama")], settings), Bends(curve.on(model), model.device)


def test_halves_have_the_loss_and_gradients_of_the_whole_batch(objective_and_bends):
    objective, bends = objective_and_bends
    loss, expected = gradients(objective, bends, 0)
    small = Small(max(objective.mixture.lengths(objective.mixture.rows(0))) * 2)
    hook = objective.model.module.model.layers[0].register_forward_hook(small)
    found, halved = gradients(objective, bends, 0)
    failed = small.num_failed
    assert failed > 0
    assert small.num_done >= 2
    gradients(objective, bends, 0)
    hook.remove()
    assert small.num_failed == failed  # what was too large is not tried again
    assert found == pytest.approx(loss, rel=1e-6)
    for ours, theirs in zip(halved, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


def test_the_loss_is_the_mean_of_the_rows_over_the_batches_of_a_step(objective_and_bends):
    objective, bends = objective_and_bends
    whole = objective.loss(lambda: bends.at(0.4), 1)
    assert gradients(objective, bends, 1)[0] == pytest.approx(whole / 2, rel=1e-6)


def test_a_row_that_does_not_fit_alone_is_an_error_of_its_own(objective_and_bends):
    objective, bends = objective_and_bends
    hook = objective.model.module.model.layers[0].register_forward_hook(Small(1))
    with pytest.raises(ModelError, match="does not fit into the memory"):
        objective.loss(lambda: bends.at(0.4), 0, bends.tensors)
    hook.remove()


def test_a_whole_fit_goes_the_same_way(ends_and_model, words):
    expected = language_fit(ends_and_model, words).history
    _, model = ends_and_model("llama")
    small = Small(16)
    hook = model.module.model.layers[0].register_forward_hook(small)
    found = language_fit(ends_and_model, words).history
    hook.remove()
    assert small.num_failed > 0
    np.testing.assert_allclose(found["loss"].dropna(), expected["loss"].dropna(), rtol=1e-4)

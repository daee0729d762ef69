"""A fit from end to end: what it leaves alone, what it repeats, what it gives back."""

import numpy as np
import pytest
import torch
from fit_toys import half_circle, noise, noisy_ring, nothing, place_of, plane_model, ring
from short_fits import STEPS, bits, language_fit, toy_fit

import modeconn as mc
from modeconn.fitting import FitSettings, fit_curve


def snapshot(module):
    tensors = [*module.named_parameters(), *module.named_buffers()]
    return [(name, id(value), value.detach().clone().numpy().tobytes()) for name, value in tensors]


def test_the_ends_and_the_model_are_bit_unchanged(ends_and_model, words):
    ends, model = ends_and_model("llama")
    tensors = [{name: value.clone() for name, value in end.tensors.items()} for end in ends]
    before = snapshot(model.module)
    fit = language_fit(ends_and_model, words)
    assert (fit.curve.start, fit.curve.end) == tuple(ends)
    for end, kept in zip(ends, tensors, strict=True):
        assert all(torch.equal(value, kept[name]) for name, value in end.tensors.items())
    assert snapshot(model.module) == before
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_an_error_leaves_the_model_as_it_was(ends_and_model, words):
    _, model = ends_and_model("llama")
    before = snapshot(model.module)
    calls = []

    def fail(*_):
        calls.append(1)
        if len(calls) == 8:  # the fifth step
            raise RuntimeError("out of memory")

    broken = model.module.model.layers[1].mlp.register_forward_hook(fail)
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            language_fit(ends_and_model, words)
    finally:
        broken.remove()
    assert snapshot(model.module) == before
    assert all(not module._forward_hooks for module in model.module.modules())


def test_a_fit_lowers_the_loss_of_its_task(ends_and_model, words):
    fit = language_fit(ends_and_model, words, num_steps=60, eval_steps=20, learning_rate=0.05)
    measured = fit.history.dropna(subset=["worst_loss"]).set_index("step")["worst_loss"]
    assert measured[fit.best_step] < 0.8 * measured[0]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others():
    assert bits(toy_fit(seed=3)) == bits(toy_fit(seed=3))
    assert bits(toy_fit(seed=3))[0] != bits(toy_fit(seed=4))[0]


def test_a_batch_in_four_parts_has_the_gradient_of_the_whole(ends_and_model, words):
    settings = {"num_steps": 3, "optimizer": "sgd", "learning_rate": 0.01, "eval_steps": 0}
    whole = language_fit(ends_and_model, words, per_device_train_batch_size=8, **settings)
    parts = language_fit(
        ends_and_model, words, per_device_train_batch_size=2, gradient_accumulation_steps=4, **settings
    )
    np.testing.assert_allclose(parts.history["loss"], whole.history["loss"], rtol=1e-6)
    np.testing.assert_allclose(parts.history["t"], whole.history["t"], rtol=0)
    for one, other in zip(parts.curve.points, whole.curve.points, strict=True):
        for name, value in one.tensors.items():
            torch.testing.assert_close(value, other.tensors[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_first_step_is_that_of_the_optimiser(optimizer):
    """SGD moves by the rate times the gradient, AdamW by the rate in each coordinate."""
    rate, steps = 0.01, {"num_steps": 1, "learning_rate": 0.01, "max_grad_norm": 1e9}
    fit = fit_curve(half_circle(), plane_model(ring), [nothing()], optimizer=optimizer, **steps)
    t = float(fit.history["t"].iloc[-1])
    bend = torch.tensor([0.0, 0.3], dtype=torch.float64, requires_grad=True)
    ends = torch.tensor([[-1.0, 0.0], [1.0, 0.0]], dtype=torch.float64)
    at = (1 - t) ** 2 * ends[0] + 2 * t * (1 - t) * bend + t**2 * ends[1]
    ((at.norm() - 1) ** 2).backward()
    expected = bend.grad if optimizer == "sgd" else bend.grad.sign()
    moved = toy_bend(fit) - bend.detach()
    torch.testing.assert_close(moved, -rate * expected, rtol=1e-4, atol=1e-7)


def toy_bend(fit):
    """The first bend after the last step, whether or not it is the best."""
    return place_of(fit.curve.points[1]).double()


@pytest.mark.parametrize(
    ("setting", "value"), [("weight_decay", 0.5), ("max_grad_norm", 1e-3), ("schedule", "constant")]
)
def test_a_setting_acts(setting, value):
    plain = {"eval_steps": 0, "optimizer": "sgd"}
    assert not torch.equal(toy_bend(toy_fit(**plain)), toy_bend(toy_fit(**plain, **{setting: value})))


def test_the_task_weights_decide_where_the_curve_goes():
    def pulled_to(height, name):
        pair = torch.zeros(8, 1), torch.full((8,), height)
        return mc.TensorTask(name, dict.fromkeys(("train", "eval"), pair))

    model = plane_model(lambda outputs, targets: (outputs[:, 1] - targets).square())
    tasks = [pulled_to(0.0, "low"), pulled_to(1.0, "high")]
    settings = {"num_steps": 200, "learning_rate": 0.05, "eval_steps": 0}
    heights = [
        float(place_of(fit_curve(half_circle(), model, tasks, task_weights=weights, **settings).curve.points[1])[1])
        for weights in ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    ]
    # E (2 t (1 - t) b - h)^2 is lowest at b = 2.5 h, h the mean of the tasks' heights.
    assert heights == pytest.approx([0.0, 1.25, 2.5], abs=0.15)


def test_the_curve_that_is_returned_is_the_best_and_not_the_last():
    """A rate that is far too high leaves the line at once: step 0 stays the best."""
    fit = fit_curve(half_circle(), plane_model(ring), [nothing()], num_steps=8, eval_steps=2, learning_rate=30.0)
    measured = fit.history.dropna(subset=["objective"])
    assert len(measured) == 5
    assert measured["objective"].iloc[-1] > 10 * measured["objective"].min()
    assert fit.best_step == measured.loc[measured["objective"].idxmin(), "step"] == 0
    torch.testing.assert_close(place_of(fit.curve.points[1]), torch.tensor([0.0, 0.3]))


def test_a_fit_stops_when_its_patience_is_at_an_end():
    fit = fit_curve(
        half_circle(), plane_model(ring), [nothing()], num_steps=50, eval_steps=2, learning_rate=30.0, patience=3
    )
    assert fit.stopped_early
    assert fit.history["step"].max() == 6
    assert not toy_fit().stopped_early


def test_the_worst_loss_of_the_history_is_that_of_an_evaluation(ends_and_model, words):
    fit = language_fit(ends_and_model, words, num_steps=4)
    _, model = ends_and_model("llama")
    nodes = (1 - np.cos(np.pi * np.array([1, 3, 5]) / 6)) / 2
    profile = mc.evaluate_path(fit.curve, model, [words("llama")], split="eval", t=[0, *nodes, 1])
    inner = profile.frame.query("0 < t < 1")
    row = fit.history.set_index("step").loc[fit.best_step]
    assert row["worst_loss"] == pytest.approx(inner["loss"].max(), rel=1e-6)
    assert row["worst_t"] == pytest.approx(inner.loc[inner["loss"].idxmax(), "t"], abs=1e-12)
    assert row["worst_of"] == 3


def test_the_objective_of_the_history_is_that_of_an_evaluation(ends_and_model, words):
    fit = language_fit(ends_and_model, words, num_steps=4)
    _, model = ends_and_model("llama")
    t = np.array([0, *(1 - np.cos(np.pi * np.array([1, 3, 5]) / 6)) / 2, 1])
    losses = mc.evaluate_path(fit.curve, model, [words("llama")], split="eval", t=t).frame["loss"].to_numpy()
    row = fit.history.set_index("step").loc[fit.best_step]
    # Fejer's weights of three nodes are 2/9, 5/9 and 2/9.
    assert row["mean_loss"] == pytest.approx(losses[1:-1] @ [2 / 9, 5 / 9, 2 / 9], rel=1e-6)
    above = losses[1:-1] - ((1 - t) * losses[0] + t * losses[-1])[1:-1]
    assert row["above_chord"] == pytest.approx(above.max(), abs=1e-6)
    assert row["objective"] == pytest.approx(row["mean_loss"] + max(0, above.max()), rel=1e-6)


def test_the_test_split_is_never_touched():
    """A task whose test split is poison, and one that has none."""
    poison = torch.full((4, 1), float("nan")), torch.full((4,), float("nan"))
    plain = noise()
    poisoned = mc.TensorTask("noise", {**plain.splits, "test": poison})
    settings = STEPS | {"seed": 5}
    first, second = (
        fit_curve(half_circle(), plane_model(noisy_ring), [task], **settings) for task in (plain, poisoned)
    )
    assert bits(first) == bits(second)


def test_in_bf16_the_points_stay_in_float32(ends_and_model, words):
    fit = language_fit(ends_and_model, words, bf16=True, num_steps=2)
    plain = language_fit(ends_and_model, words, num_steps=2)
    tensors = [value for bend in fit.curve.points[1:-1] for value in bend.tensors.values()]
    assert {value.dtype for value in tensors} == {torch.float32}
    assert any(not torch.equal(value, value.bfloat16().float()) for value in tensors)
    losses = [one.history["loss"].dropna().to_numpy() for one in (fit, plain)]
    assert not np.array_equal(*losses)
    np.testing.assert_allclose(*losses, rtol=0.05)


def test_settings_and_overrides_are_put_together():
    fit = toy_fit(settings=FitSettings(seed=7, patience=9))
    assert (fit.settings.seed, fit.settings.patience, fit.settings.num_steps) == (7, 9, 12)


def test_fitted_bends_are_adapters_that_peft_loads(ends_and_model, words, bases, tmp_path):
    from peft_oracle import load_peft, updates

    fit = language_fit(ends_and_model, words)
    bend = fit.curve.points[1]
    found = updates(load_peft("llama", bases("llama"), bend.save_pretrained(tmp_path / "bend")))
    assert sorted(found) == sorted(bend.updates)
    for name, value in found.items():
        torch.testing.assert_close(bend.updates[name].dense().double(), value, rtol=1e-5, atol=1e-6)

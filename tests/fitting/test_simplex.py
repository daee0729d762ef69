"""Simplices: the volume pushes free corners apart, the loss pulls them in, and both have the right gradient."""

import math

import numpy as np
import pytest
import torch
from fit_toys import Killed, Memory, nothing, place_of, places, plane_model

import modeconn as mc
from modeconn.adapters.config import AdapterConfig
from modeconn.errors import FitError
from modeconn.fitting import FitStopped, fit_simplex, scattered
from modeconn.fitting.bends import Bends
from modeconn.fitting.volume import Volume
from modeconn.models.trainable import placed_trainable
from modeconn.paths.simplex import Simplex

STEPS = {"num_steps": 60, "eval_steps": 20, "learning_rate": 0.05, "positions_per_step": 4}
SPACES = ["weights", "factors"]


def valley(outputs, _):
    """Flat along x, steep across."""
    return outputs[:, 1].square()


def bowl(outputs, _):
    return outputs.square().sum(1)


def triangle(**settings):
    return Simplex(places((-1.0, 0.0), (1.0, 0.0), (0.0, 0.5)), **settings)


def fitted(simplex, loss, **settings):
    return fit_simplex(simplex, plane_model(loss), [nothing()], **(STEPS | settings))


def corner(simplex, number=-1):
    return place_of(simplex.points[number])


@pytest.mark.parametrize("space", SPACES)
def test_an_edge_grows_along_a_flat_valley(space):
    edge = Simplex(places((0.0, 0.0), (0.5, 0.0)), space=space)
    fit = fitted(edge, valley, volume_weight=0.1)
    assert fit.simplex.volume > 3 * edge.volume
    assert abs(float(corner(fit.simplex)[1])) < 0.05
    assert fit.best_step == 60


def test_a_simplex_shrinks_in_a_bowl():
    """The loss at the corner pulls it in; the volume keeps it off the other corner."""
    edge = Simplex(places((0.0, 0.0), (3.0, 0.0)))
    fit = fitted(edge, bowl, volume_weight=0.01, num_steps=150)
    # E_u (u x)^2 - w log x with u uniform is lowest at x^2 = 3 w / 2.
    assert float(corner(fit.simplex).norm()) == pytest.approx(math.sqrt(0.015), abs=0.03)


def test_without_a_volume_term_the_loss_decides():
    fit = fitted(triangle(), bowl, volume_weight=0.0, num_steps=150)
    # Uniform on a triangle: E |sum_k u_k p_k|^2 is proportional to |p_0 + p_1 + p_2|^2 + sum |p_k|^2; p_0 = -p_1.
    assert float(corner(fit.simplex).norm()) < 0.1


def test_corners_that_do_not_move_are_those_that_were_given():
    simplex = triangle()
    fit = fitted(simplex, valley, free_corners=(0,))
    assert fit.simplex.points[1:] == simplex.points[1:]
    assert not torch.equal(corner(fit.simplex, 0), corner(simplex, 0))
    assert fit.simplex.points[0].name == "p0 fitted"


def test_several_corners_may_move():
    fit = fitted(triangle(), valley, free_corners=(0, -1))
    assert [not torch.equal(corner(fit.simplex, k), corner(triangle(), k)) for k in range(3)] == [True, False, True]


def test_the_history_tells_loss_volume_and_objective():
    fit = fitted(triangle(), valley, volume_weight=0.1, eval_points=6)
    measured = fit.history.dropna(subset=["objective"])
    assert measured["step"].tolist() == [0, 20, 40, 60]
    np.testing.assert_allclose(measured["objective"], measured["mean_loss"] - 0.1 * measured["log_volume"])
    assert (measured["worst_loss"] >= measured["mean_loss"]).all()
    assert (measured["worst_of"] == 6).all()
    best = measured.set_index("step").loc[fit.best_step]
    assert best["objective"] == measured["objective"].min()
    assert best["log_volume"] == pytest.approx(math.log(fit.simplex.volume), rel=1e-5)


def test_the_loss_of_a_validation_is_the_mean_over_uniform_points():
    """On [0, 1] of the x axis, the mean of x^2 at enough points is 1 / 3."""
    edge = Simplex(places((0.0, 0.0), (1.0, 0.0)))
    fit = fitted(edge, bowl, num_steps=1, learning_rate=1e-9, eval_points=400)
    assert fit.history["mean_loss"][0] == pytest.approx(1 / 3, abs=0.05)


def test_a_fit_that_was_killed_goes_on_with_the_same_bits():
    def bits(fit):
        return [corner(fit.simplex, k).numpy().tobytes() for k in range(3)], fit.history.to_numpy().tobytes()

    store = Memory(saves=2)
    with pytest.raises(Killed):
        fitted(triangle(), valley, store=store)
    assert store.state.step == 20
    with pytest.raises(FitError, match="the state in the store is not that of this fit"):
        fitted(triangle(), valley, store=store, free_corners=(0,))
    assert bits(fitted(triangle(), valley, store=store)) == bits(fitted(triangle(), valley))


def test_a_loss_that_is_not_finite_says_at_which_point():
    with pytest.raises(FitStopped, match=r"got: nan at weights 0\.\d+, 0\.\d+, 0\.\d+, step 1") as caught:
        fitted(triangle(), lambda outputs, _: outputs.sum(1) * (torch.nan if torch.is_grad_enabled() else 1.0))
    torch.testing.assert_close(corner(caught.value.fit.simplex), torch.tensor([0.0, 0.5]))


BAD = {
    "a number that is no corner's": ({"free_corners": (3,)}, r"not corners of the simplex.*\n  got: 3\n"),
    "a corner named twice": ({"free_corners": (2, -1)}, r"each corner once\n  got: 2, -1"),
    "no corner": ({"free_corners": ()}, r"free_corners cannot be used.*\n  got: \(\)"),
    "a negative volume weight": ({"volume_weight": -1.0}, r"volume_weight cannot be used.*at least 0"),
    "an infinite volume weight": ({"volume_weight": math.inf}, r"volume_weight cannot be used.*finite"),
    "arc length": ({"uniform_in": "arc-length"}, r"uniform_in cannot be used.*uniform in the simplex"),
}


@pytest.mark.parametrize(("settings", "message"), BAD.values(), ids=BAD)
def test_settings_that_cannot_be_used(settings, message):
    with pytest.raises(FitError, match="(?s)" + message):
        fitted(triangle(), valley, **settings)


@pytest.mark.parametrize("last", [(0.0, 0.0), (1.0, 0.0), (0.3, 0.0)], ids=["middle", "corner", "between"])
def test_a_simplex_without_volume_is_refused(last):
    flat = Simplex(places((-1.0, 0.0), (1.0, 0.0), last))
    with pytest.raises(FitError, match=r"(?s)has no volume.*\n  got: a corner in the span.*\n  remedy: .*scattered"):
        fitted(flat, valley)


# The volume and its gradient, on adapters.


def corners_of(ends_and_model, family="bert", dtype="float32"):
    heads = {"modules_to_save": ["classifier"]} if family == "bert" else {}
    return ends_and_model(family, dtype=dtype, count=3, **heads)


@pytest.mark.parametrize("space", SPACES)
def test_the_volume_is_that_of_the_simplex(space, ends_and_model):
    """By the determinant of Cayley and Menger of the distances."""
    points, model = corners_of(ends_and_model)
    simplex = Simplex(points, space=space)
    bends = Bends(simplex.chain, model.device, free=[1])
    volume = Volume([points[0], bends.bends[0], points[2]], space=space, device=model.device)
    assert volume.log().item() == pytest.approx(math.log(simplex.volume), rel=1e-6)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_loss_and_volume_have_the_slopes_of_finite_differences(family, space, ends_and_model, words):
    points, model = corners_of(ends_and_model, family, dtype="float64")
    simplex = Simplex(points, space=space)
    bends = Bends(simplex.chain, model.device, dtype=torch.float64, free=[0, 2])
    corners = [bends.bends[0], points[1], bends.bends[1]]
    volume = Volume(corners, space=space, device=model.device)
    encoded = model.encode(words(family), "train", mc.EncodingSettings(all_choices=False))
    batch = model.collate([(encoded, row) for row in range(3)])

    def objective():
        with placed_trainable(model.module, bends.combined([0.2, 0.5, 0.3])):
            return model.batch_losses(batch).sum() - 0.5 * volume.log()

    objective().backward()
    generator = torch.Generator().manual_seed(1)
    for tensor in bends.tensors:
        direction, before = torch.randn(tensor.shape, generator=generator, dtype=torch.float64), tensor.detach().clone()
        values = []
        for step in (1e-6, -1e-6):
            tensor.data.copy_(before + step * direction)
            with torch.no_grad():
                values.append(float(objective()))
        tensor.data.copy_(before)
        slope = (values[0] - values[1]) / 2e-6
        assert float((tensor.grad * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6)


def test_the_corners_of_adapters_are_fitted(ends_and_model, words):
    points, model = corners_of(ends_and_model, "llama")
    simplex = Simplex(points)
    fit = fit_simplex(simplex, model, [words("llama")], num_steps=12, eval_steps=6, learning_rate=0.02, eval_points=3)
    assert fit.best_step > 0
    measured = fit.history.dropna(subset=["objective"])["objective"]
    assert measured.min() < measured.iloc[0]


def test_a_scattered_point_is_beside_another(ends_and_model):
    points, _ = corners_of(ends_and_model)
    near, again, far = (scattered(points[0], share=share, seed=3) for share in (0.01, 0.01, 0.1))
    assert near.fingerprint == again.fingerprint != scattered(points[0], share=0.01, seed=4).fingerprint
    distances = [Simplex([points[0], other]).volume for other in (near, far)]
    assert 0 < distances[0] < 0.2 * distances[1]
    assert near.name == f"{points[0].name} + noise 3"


def test_a_point_is_not_scattered_by_nothing(ends_and_model):
    points, _ = corners_of(ends_and_model)
    with pytest.raises(FitError, match=r"(?s)no point is scattered.*\n  expected: a share above 0\n  got: share=0"):
        scattered(points[0], share=0.0)


def test_a_volume_needs_factors():
    scales = mc.Adapter.from_tensors(
        {"base_model.model.q.ia3_l": torch.ones(4, 1) * 2},
        AdapterConfig.parse({"task_type": "CAUSAL_LM", "peft_type": "IA3", "target_modules": ["q"]}, "the adapter"),
        name="scales",
    )
    message = r"(?s)with the corner scales has no gradient.*\n  expected: .*low-rank\n  got: .*q.weight\n  remedy: "
    with pytest.raises(FitError, match=message):
        Volume([scales], space="weights", device=torch.device("cpu"))

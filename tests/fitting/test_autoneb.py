"""AutoNEB on landscapes whose saddles are known, and on adapters."""

import numpy as np
import pytest
import torch
from fit_toys import Killed, Memory, nothing, place_of, places, plane_model, ring
from scipy.optimize import fsolve
from short_fits import bits

import modeconn as mc
from modeconn.fitting import AutoNebSettings, fit_autoneb
from modeconn.fitting.pivots import Coordinates

# Muller and Brown 1979: four Gaussians in the plane, three minima and two saddles between them.
HEIGHTS = (-200.0, -100.0, -170.0, 15.0)
SHAPES = ((-1.0, 0.0, -10.0), (-1.0, 0.0, -10.0), (-6.5, 11.0, -6.5), (0.7, 0.6, 0.7))
CENTRES = ((1.0, 0.0), (0.0, 0.5), (-0.5, 1.5), (-1.0, 1.0))
MINIMA = ((-0.558, 1.442), (0.623, 0.028))
SADDLE = (-0.822, 0.624)  # the higher one of the two on the way
SCALE, SHIFT = 100.0, 150.0  # so that the landscape has the heights of a loss


def muller_brown(x, y, exp=np.exp):
    total = 0.0
    for height, (a, b, c), (x0, y0) in zip(HEIGHTS, SHAPES, CENTRES, strict=True):
        total = total + height * exp(a * (x - x0) ** 2 + b * (x - x0) * (y - y0) + c * (y - y0) ** 2)
    return (total + SHIFT) / SCALE


def landscape():
    return plane_model(lambda outputs, _: muller_brown(outputs[:, 0], outputs[:, 1], torch.exp))


def saddle_height():
    """The height where the gradient is 0, near the published saddle."""

    def slope(at, h=1e-6):
        x, y = at
        return [
            (muller_brown(x + h, y) - muller_brown(x - h, y)) / (2 * h),
            (muller_brown(x, y + h) - muller_brown(x, y - h)) / (2 * h),
        ]

    found = fsolve(slope, SADDLE)
    np.testing.assert_allclose(found, SADDLE, atol=2e-3)
    return float(muller_brown(*found))


NEB = {"num_steps": 140, "learning_rate": 0.004, "insert_above": 0.05, "max_grad_norm": 10.0, "patience": 20}


@pytest.fixture(scope="module")
def crossing():
    """A chain between the two deepest minima, begun on the line with three pivots."""
    chain = mc.PolygonalChain.between(*places(*MINIMA), num_bends=3)
    return chain, fit_autoneb(chain, landscape(), [nothing()], **NEB)


def heights_along(path, num_points=401):
    at = torch.stack([place_of(path(t)) for t in np.linspace(0, 1, num_points)])
    return muller_brown(*at.double().numpy().T)


def test_the_saddle_is_found(crossing):
    chain, fit = crossing
    line, found = (float(heights_along(one).max()) for one in (chain, fit.curve))
    assert line > 1.3 * saddle_height()
    assert found == pytest.approx(saddle_height(), abs=0.01)


def test_pivots_are_inserted_and_spread_over_the_chain(crossing):
    _, fit = crossing
    numbers = fit.history["num_pivots"].dropna()
    assert numbers.iloc[0] == 3
    assert numbers.is_monotonic_increasing
    assert 3 < numbers.iloc[-1] <= 16
    assert len(fit.curve.points) - 2 in numbers.to_list()


def test_the_history_names_the_saddle(crossing):
    _, fit = crossing
    row = fit.history.set_index("step").loc[fit.best_step]
    assert row["worst_loss"] == pytest.approx(
        float(muller_brown(*place_of(fit.curve(row["worst_t"])).numpy())), rel=1e-5
    )
    assert row["worst_loss"] == fit.history["worst_loss"].min()


def test_without_a_saddle_the_mean_chooses():
    """Down a slope of a valley: no chain rises above its higher end, and the lowest one is kept, not the first."""
    model = plane_model(lambda outputs, _: (1 - outputs[:, 0]) + (outputs[:, 1] - 1).square())
    chain = mc.PolygonalChain.between(*places((-1.0, 0.0), (1.0, 0.0)), num_bends=2)
    fit = fit_autoneb(chain, model, [nothing()], num_steps=28, learning_rate=0.05, insert_above=10.0)
    measured = fit.history.dropna(subset=["objective"])
    assert (measured["worst_loss"] < 3).all()  # the start's
    assert (measured["objective"] == measured["mean_loss"]).all()
    assert fit.best_step == measured.loc[measured["mean_loss"].idxmin(), "step"] > 0
    # Of three segments of one length the trapezoid rule is that of the mean along the chain.
    assert measured["mean_loss"].iloc[0] == pytest.approx(2.0)


def test_pivots_keep_to_the_ring():
    a, b, up = places((-1.0, 0.0), (1.0, 0.0), (0.0, 0.3))
    chain = mc.PolygonalChain([a, up, b])
    fit = fit_autoneb(chain, plane_model(ring), [nothing()], num_steps=70, learning_rate=0.1, patience=20)
    pivots = torch.stack([place_of(point) for point in fit.curve.points])
    assert len(pivots) > 4
    assert float((pivots.norm(dim=1) - 1).abs().max()) < 0.02
    gaps = pivots.diff(dim=0).norm(dim=1)
    assert float(gaps.sum()) == pytest.approx(np.pi, rel=0.05)
    assert (fit.curve.start, fit.curve.end) == (a, b)


def test_a_pivot_on_a_saddle_of_a_symmetric_landscape_stays():
    """Two wells, (x^2 - 1)^2 + y^2: the line is the lowest way, and its saddle has height 1."""
    model = plane_model(lambda outputs, _: (outputs[:, 0] ** 2 - 1) ** 2 + outputs[:, 1] ** 2)
    chain = mc.PolygonalChain.between(*places((-1.0, 0.0), (1.0, 0.0)), num_bends=1)
    fit = fit_autoneb(chain, model, [nothing()], num_steps=28, learning_rate=0.05)
    assert fit.history["worst_loss"].to_numpy()[0] == pytest.approx(1.0)
    assert fit.best_step == 0
    torch.testing.assert_close(place_of(fit.curve(0.5)), torch.zeros(2), atol=1e-6, rtol=0)


def language_neb(ends_and_model, words, space="weights", store=None, **settings):
    ends, model = ends_and_model("llama")
    chain = mc.PolygonalChain.between(*ends, num_bends=2, space=space)
    options = {"num_steps": 8, "num_cycles": 4, "segment_points": 1, "learning_rate": 0.02}
    options |= {"insert_above": 0.01, "max_pivots": 4}
    return fit_autoneb(chain, model, [words("llama")], store=store, **(options | settings))


@pytest.mark.parametrize("space", ["weights", "factors", "aligned-factors"])
def test_a_chain_of_adapters_sinks_in_every_space(space, ends_and_model, words):
    ends, _ = ends_and_model("llama")
    whole = {"num_steps": 16, "per_device_train_batch_size": 24, "learning_rate": 0.05, "max_pivots": 3}
    fit = language_neb(ends_and_model, words, space, **whole)
    losses = fit.history["loss"].dropna()  # of the pivots; the worst may lie at an end, which does not move
    assert losses.iloc[-1] < 0.95 * losses.iloc[0]
    ranks = {update.rank for point in fit.curve.points[1:-1] for update in point.updates.values()}
    assert ranks == ({8} if space == "weights" else {4})
    if space != "aligned-factors":  # there the ends are in another gauge before the fit begins
        assert (fit.curve.start, fit.curve.end) == tuple(ends)


def test_a_chain_that_was_killed_and_resumed_is_the_one_that_went_straight(ends_and_model, words):
    straight = language_neb(ends_and_model, words)
    store = Memory(saves=3)
    with pytest.raises(Killed):
        language_neb(ends_and_model, words, store=store)
    assert store.state.step == 4
    assert bits(language_neb(ends_and_model, words, store=store)) == bits(straight)


def test_points_in_common_coordinates_are_the_points_themselves(ends_and_model, adapters):
    ends, model = ends_and_model("llama")
    own = mc.Adapter.from_pretrained(adapters("llama", 9, r=2, target_modules=["k_proj", "q_proj"]))
    middle = mc.LinearPath(*ends)(0.3)
    chain = mc.PolygonalChain([ends[0], middle, own, ends[1]])
    coordinates, vectors = Coordinates.of(chain, model.device)
    for point, vector in zip(chain.points, vectors, strict=True):
        again = coordinates.adapter(vector, middle, name="again")
        gap = again - point
        assert gap.norm() < 1e-5 * point.norm()


def test_the_line_in_common_coordinates_is_the_line_of_weights_space(ends_and_model):
    ends, model = ends_and_model("llama")
    chain = mc.PolygonalChain.between(*ends, num_bends=1)
    coordinates, vectors = Coordinates.of(chain, model.device)
    for t in (0.2, 0.7):
        found = coordinates.adapter(torch.lerp(vectors[0], vectors[-1], t), chain.points[1], name="found")
        expected = mc.LinearPath(*ends)(t)
        assert (found - expected).norm() < 1e-5 * expected.norm()


def test_the_defaults_can_be_used():
    assert AutoNebSettings().num_steps % AutoNebSettings().num_cycles == 0

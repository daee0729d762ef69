"""The gradient of a bend: finite differences in float64, the chain rule, and the loss that evaluation finds."""

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm
from transformers.models.t5.modeling_t5 import T5LayerNorm

import modeconn as mc
from modeconn.fitting.bends import Bend, Bends
from modeconn.fitting.pivots import Coordinates
from modeconn.models.trainable import Branch, Trainable, placed_trainable

SETTINGS = {
    "llama": {},
    "gpt2": {},
    "bert": {"modules_to_save": ["classifier"]},
    "t5": {},
    "llama with embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
}
SPACES = ["weights", "factors", "aligned-factors"]


@pytest.fixture
def exact_norms(monkeypatch):
    """Norms in float64, which these models compute in float32 whatever their dtype: differences would be noise."""

    def forward(self, hidden_states):
        root = (hidden_states.square().mean(-1, keepdim=True) + self.variance_epsilon).rsqrt()
        return self.weight * (hidden_states * root)

    for norm in (LlamaRMSNorm, T5LayerNorm):
        monkeypatch.setattr(norm, "forward", forward)


def prepared(name, ends_and_model, words, dtype="float64"):
    family = name.split()[0]
    ends, model = ends_and_model(family, dtype=dtype, **SETTINGS[name])
    encoded = model.encode(words(family), "train", mc.EncodingSettings(all_choices=False, score_eos=True))
    batch = model.collate([(encoded, row) for row in range(4)])
    return ends, model, batch


def total(model, batch, point):
    with placed_trainable(model.module, point):
        return model.batch_losses(batch).sum()


def moved(curve, seed=0):
    """The curve with bends off the line, so that nothing cancels."""
    bends = Bends(curve, torch.device("cpu"))
    generator = torch.Generator().manual_seed(seed)
    for tensor in bends.tensors:
        tensor.data += 0.1 * torch.randn(tensor.shape, generator=generator)
    return bends.curve()


def assert_slopes(tensors, loss):
    """The gradient of every tensor along a random direction is the slope of finite differences."""
    loss().backward()
    generator = torch.Generator().manual_seed(1)
    for tensor in tensors:
        direction = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        before, losses = tensor.detach().clone(), []
        for step in (1e-6, -1e-6):
            tensor.data.copy_(before + step * direction)
            with torch.no_grad():
                losses.append(float(loss()))
        tensor.data.copy_(before)
        slope = (losses[0] - losses[1]) / 2e-6
        assert slope != 0
        assert float((tensor.grad * direction).sum()) == pytest.approx(slope, rel=1e-5, abs=1e-6)


@pytest.mark.usefixtures("exact_norms")
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_gradient_of_every_tensor_is_that_of_finite_differences(name, space, ends_and_model, words):
    ends, model, batch = prepared(name, ends_and_model, words)
    curve = moved(mc.BezierCurve.between(*ends, num_bends=2, space=space))
    bends = Bends(curve, model.device, dtype=torch.float64)
    assert len(bends.tensors) >= 8
    assert_slopes(bends.tensors, lambda: total(model, batch, bends.at(0.3)))


CURVES = {
    "sixteen bends": lambda ends, **options: mc.BezierCurve.between(*ends, num_bends=16, **options),
    "chain": lambda ends, **options: mc.PolygonalChain.between(*ends, num_bends=3, **options),
    "piecewise": lambda ends, **options: mc.PiecewiseBezier.between(*ends, num_segments=2, **options),
}


@pytest.mark.usefixtures("exact_norms")
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", CURVES)
def test_in_every_kind_of_curve_the_bends_of_a_position_have_the_slopes(kind, space, ends_and_model, words):
    ends, model, batch = prepared("llama", ends_and_model, words)
    curve = moved(CURVES[kind](ends, space=space))
    t = 0.6
    bends = Bends(curve, model.device, dtype=torch.float64)
    row = curve.coefficients(torch.tensor([t]))[0, 1:-1]
    reached = [bend for bend, coefficient in zip(bends.bends, row, strict=True) if coefficient > 1e-2]
    assert reached
    assert_slopes([tensor for bend in reached for tensor in bend.tensors], lambda: total(model, batch, bends.at(t)))
    for bend, coefficient in zip(bends.bends, row, strict=True):
        if coefficient == 0:  # of another piece
            assert all(tensor.grad is None or not tensor.grad.any() for tensor in bend.tensors)


@pytest.mark.usefixtures("exact_norms")
@pytest.mark.parametrize("rank", [2, 11])
def test_bends_of_a_rank_of_their_own_have_the_slopes(rank, ends_and_model, words):
    ends, model, batch = prepared("llama with embeddings", ends_and_model, words)
    bends = Bends(moved(mc.BezierCurve.between(*ends, bend_rank=rank)), model.device, dtype=torch.float64)
    assert_slopes(bends.tensors, lambda: total(model, batch, bends.at(0.4)))


@pytest.mark.parametrize("name", ["llama with embeddings", "gpt2", "bert"])
def test_gradients_reach_the_columns_that_fill_up(name, ends_and_model, words):
    """Those of `up` at once; `down` follows as soon as they have moved."""
    ends, model, batch = prepared(name, ends_and_model, words)
    curve = mc.BezierCurve.between(*ends, bend_rank=11)
    bends = Bends(curve, model.device, dtype=torch.float64)
    total(model, batch, bends.at(0.4)).backward()
    for up, down in bends.bends[0].factors.values():
        assert not up[:, 8:].any()
        assert up.grad[:, 8:].norm(dim=0).min() > 0
        assert down[8:].norm(dim=1).min() > 0


@pytest.mark.usefixtures("exact_norms")
@pytest.mark.parametrize("space", SPACES)
def test_a_pivot_of_autoneb_has_the_slope_in_its_coordinates(space, ends_and_model, words):
    ends, model, batch = prepared("bert", ends_and_model, words)
    chain = mc.PolygonalChain.between(*ends, num_bends=2, space=space)
    coordinates, vectors = Coordinates.of(chain, model.device)
    pivot = vectors[1].double().requires_grad_()
    assert_slopes([pivot], lambda: total(model, batch, coordinates.trainable(pivot)))


@pytest.mark.parametrize("kind", [mc.BezierCurve, mc.PolygonalChain])
def test_a_bend_in_factors_space_has_its_coefficient_times_the_gradient_of_the_point(kind, ends_and_model, words):
    ends, model, batch = prepared("bert", ends_and_model, words)
    curve = moved(kind.between(*ends, num_bends=2, space="factors"))
    bends = Bends(curve, model.device, dtype=torch.float64)
    total(model, batch, bends.at(0.4)).backward()
    point = Bend.of(curve(0.4), model.device, torch.float64)
    branches = {name: Branch(up, point.scalings[name] * down) for name, (up, down) in point.factors.items()}
    total(model, batch, Trainable(None, branches, point.saved)).backward()
    coefficients = curve.coefficients(torch.tensor([0.4]))[0, 1:-1].tolist()
    assert min(coefficients) >= 0
    assert max(coefficients) > 0.2
    for coefficient, bend in zip(coefficients, bends.bends, strict=True):
        for own, whole in zip(bend.tensors, point.tensors, strict=True):
            torch.testing.assert_close(own.grad, coefficient * whole.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", SETTINGS)
def test_the_point_with_gradients_has_the_losses_that_evaluation_finds(name, space, ends_and_model, words):
    ends, model, _ = prepared(name, ends_and_model, words)
    curve = moved(mc.BezierCurve.between(*ends, num_bends=2, space=space))
    encoded = model.encode(words(name.split()[0]), "train", mc.EncodingSettings(all_choices=False))
    batch = model.collate([(encoded, row) for row in range(encoded.num_examples)])
    bends = Bends(curve, model.device, dtype=torch.float64)
    for t in (0.0, 0.35, 1.0):
        with placed_trainable(model.module, bends.at(t)), torch.no_grad():
            found = model.batch_losses(batch).double()
        expected = torch.from_numpy(model.evaluate(curve(t), [encoded])[0].loss_sum)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_bends_of_other_rank_and_modules_than_the_ends_are_differentiated(ends_and_model, adapters, words):
    _, model, batch = prepared("llama", ends_and_model, words)
    settings = [{"r": 3, "target_modules": ["q_proj"]}, {"r": 2, "target_modules": ["v_proj", "o_proj"]}]
    ends = [mc.Adapter.from_pretrained(adapters("llama", 7, **one)) for one in settings]
    bend = mc.Adapter.from_pretrained(adapters("llama", 8, r=5, target_modules=["k_proj", "v_proj"]))
    bends = Bends(mc.BezierCurve([ends[0], bend, ends[1]]), model.device, dtype=torch.float64)
    total(model, batch, bends.at(0.5)).backward()
    assert {name.split(".")[-2] for name in bends.bends[0].factors} == {"k_proj", "v_proj"}
    assert all(tensor.grad.abs().max() > 0 for tensor in bends.tensors)


def test_bends_that_have_not_moved_are_the_bends_that_were_given(ends_and_model):
    ends, model = ends_and_model("bert", modules_to_save=["classifier"])
    for space in SPACES:
        curve = mc.BezierCurve.between(*ends, num_bends=2, space=space)
        again = Bends(curve, model.device).curve()
        assert [point.fingerprint for point in again.points] == [point.fingerprint for point in curve.points]

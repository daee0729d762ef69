"""Second derivatives against dense Hessians, finite differences and closed forms."""

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from fit_toys import nothing, places, plane_model
from tiny import LABELS
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

import modeconn as mc
from modeconn.errors import EvaluationError
from modeconn.evaluation.hessian import extremes_of, hessian_extremes, hessian_trace, trace_of
from modeconn.evaluation.local_loss import LocalLoss
from modeconn.evaluation.sharpness import epsilon_sharpness
from modeconn.models.family import score_batch

CURVATURE = torch.tensor([3.0, -1.0])


def bowl(outputs, _):
    """`1 + (3 x^2 - y^2) / 2 + x y`."""
    return 1 + (outputs**2 * CURVATURE).sum(dim=1) / 2 + outputs[:, 0] * outputs[:, 1]


def hessian():
    """That of the bowl."""
    return np.array([[3.0, 1.0], [1.0, -1.0]])


def toy(x=1.0, y=2.0, loss=bowl):
    (point,) = places((x, y))
    return LocalLoss.at(point, plane_model(loss), nothing())


@pytest.fixture(scope="module")
def models(adapters):
    """A family's float64 model with an adapter whose update is not small."""

    def load(family):
        point = mc.Adapter.from_pretrained(adapters(family, seed=1))
        labels = LABELS if family == "bert" else None
        return mc.AdapterModel.from_pretrained(adapters=[point], dtype="float64", labels=labels), point

    return load


@pytest.fixture(scope="module")
def small(adapters):
    """GPT-2, whose norms compute in float64 too, with an adapter of rank 1; and the same loss by PEFT alone."""
    point = mc.Adapter.from_pretrained(adapters("gpt2", 1, r=1, target_modules=["c_attn"]))
    model = mc.AdapterModel.from_pretrained(adapters=[point], dtype="float64")
    return LocalLoss.at(point, model, make_task("first", 0), max_examples=6, batch_size=4), point


@pytest.fixture(scope="module")
def dense(small):
    """The Hessian of the adapter that PEFT has loaded, by differentiating its loss twice."""
    loss, point = small
    model = loss.model
    rows = [row for batch in loss.rows for row in batch]
    with model.reference(point) as module, sdpa_kernel(SDPBackend.MATH):
        module.to(torch.float64)
        names = sorted((name for name, _ in module.named_parameters() if "lora_" in name), key=_b_before_a)
        weights = dict(module.named_parameters())
        sizes = [weights[name].numel() for name in names]
        batch = model.collate([(loss.split, row) for row in rows])

        def mean(vector):
            pieces = [p.view(weights[n].shape) for n, p in zip(names, vector.split(sizes), strict=True)]
            scored = functional_call(
                _Scorer(module, model.family, batch), dict(zip(_inside(names), pieces, strict=True))
            )
            return scored.sum() / loss.num_tokens

        start = torch.cat([weights[name].detach().reshape(-1) for name in names])
        return torch.autograd.functional.hessian(mean, start)


class _Scorer(torch.nn.Module):
    """A model and a batch as a module without inputs."""

    def __init__(self, module, family, batch):
        super().__init__()
        self.module, self.family, self.batch = module, family, batch

    def forward(self):
        return score_batch(self.family, self.module, self.batch)[0]


def _inside(names):
    return [f"module.{name}" for name in names]


def _b_before_a(name):
    module, _, rest = name.partition(".lora_")
    return module, rest[0] != "B"


def test_a_quadratic_has_its_closed_form():
    loss = toy()
    assert loss.value() == pytest.approx(1 + (3 - 4) / 2 + 2)
    assert loss.gradient()[1].tolist() == pytest.approx((hessian() @ [1.0, 2.0]).tolist())
    assert loss.product(torch.tensor([1.0, -1.0])).tolist() == pytest.approx([2.0, 2.0])
    found = hessian_extremes(loss)
    assert [found.bottom, found.top] == pytest.approx(np.linalg.eigvalsh(hessian()).tolist(), rel=1e-6)
    assert found.num_products == 2
    trace = hessian_trace(loss, num_probes=400)
    assert trace.value == pytest.approx(2.0, abs=4 * trace.error)  # the off-diagonal alone is noise
    assert 0.05 < trace.error < 0.15


def test_the_loss_is_that_of_an_evaluation(models):
    model, point = models("llama")
    task = make_task("first", 0, labels=False)
    profile = mc.evaluate_path(mc.LinearPath(point, 0.5 * point), model, [task], num_points=2)
    assert LocalLoss.at(point, model, task).value() == pytest.approx(profile.frame["loss"][0], rel=1e-9)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_gradients_and_products_are_finite_differences(models, family):
    """Llama and T5 have norms that compute in float32: their differences carry its rounding."""
    model, point = models(family)
    loss = LocalLoss.at(point, model, make_task("first", 0), max_examples=4)
    direction = torch.randn(loss.num_parameters, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    rounded = family in ("llama", "t5")
    step = (1e-2 if rounded else 1e-4) * direction / direction.norm()
    _, slope = loss.gradient()
    tolerance = 3e-3 if rounded else 1e-5
    assert float(slope @ step) == pytest.approx((loss.value(step) - loss.value(-step)) / 2, rel=tolerance)
    change = (loss.gradient(step)[1] - loss.gradient(-step)[1]) / 2
    error = (loss.product(step) - change).norm() / change.norm()
    assert float(error) < tolerance


def test_products_are_those_of_the_dense_hessian_of_pefts_model(small, dense):
    loss, _ = small
    assert loss.num_parameters == len(dense) == 2 * (16 + 48)
    for seed in range(3):
        direction = torch.randn(len(dense), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        torch.testing.assert_close(loss.product(direction), dense @ direction, rtol=1e-6, atol=1e-9)


def test_a_tiny_models_eigenvalues_and_trace_are_those_of_its_dense_hessian(small, dense):
    loss, _ = small
    values = torch.linalg.eigvalsh(dense)
    found = hessian_extremes(loss, tolerance=1e-5)
    assert found.top == pytest.approx(float(values[-1]), rel=1e-4)
    assert abs(found.bottom - float(values[0])) <= found.bottom_error + 1e-6
    residual = dense @ found.direction - found.top * found.direction
    assert float(residual.norm()) <= 1.01 * found.top_error + 1e-6
    trace = hessian_trace(loss, num_probes=16)
    assert trace.value == pytest.approx(float(values.sum()), abs=4 * trace.error)


def test_batches_do_not_change_the_numbers(small):
    loss, point = small
    other = LocalLoss.at(point, loss.model, make_task("first", 0), max_examples=6, batch_size=1)
    direction = torch.ones(loss.num_parameters).double()
    assert other.value() == pytest.approx(loss.value(), rel=1e-9)
    torch.testing.assert_close(other.product(direction), loss.product(direction), rtol=1e-7, atol=1e-9)


def test_rows_are_spread_over_the_split(models):
    model, point = models("llama")
    whole = LocalLoss.at(point, model, make_task("first", 0))
    order = [row for batch in whole.rows for row in batch]
    some = LocalLoss.at(point, model, make_task("first", 0), max_examples=4)
    assert [row for batch in some.rows for row in batch] == [order[0], order[5], order[11], order[16]]
    assert len(order) == 22


def test_the_model_is_afterwards_what_it_was(models):
    model, point = models("llama")
    before = {name: (one, one._version) for name, one in model.module.named_parameters()}
    LocalLoss.at(point, model, make_task("first", 0), max_examples=4).product(torch.ones(512))
    after = dict(model.module.named_parameters())
    assert all(after[name] is one and one._version == version for name, (one, version) in before.items())
    assert not any(module._forward_hooks for module in model.module.modules())


def test_a_combination_has_coordinates_too(models, adapters):
    model, point = models("llama")
    other = mc.Adapter.from_pretrained(adapters("llama", seed=2))
    middle = mc.LinearPath(point, other)(0.5)
    loss = LocalLoss.at(middle, model, make_task("first", 0), max_examples=4)
    assert loss.num_parameters == 2 * LocalLoss.at(point, model, make_task("first", 0)).num_parameters
    assert np.isfinite(hessian_extremes(loss, max_products=3).top)


@pytest.mark.parametrize("size", [5, 40])
def test_extremes_of_a_matrix(size):
    matrix = torch.randn(size, size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    matrix = matrix + matrix.T
    values = torch.linalg.eigvalsh(matrix)
    found = extremes_of(lambda one: matrix @ one, size, tolerance=1e-10, max_products=200)
    assert [found.bottom, found.top] == pytest.approx([float(values[0]), float(values[-1])], rel=1e-8)
    assert found.num_products <= size


def test_few_products_give_an_honest_error():
    matrix = torch.diag(torch.linspace(0.0, 1.0, 200).double() ** 4)
    values = matrix.diagonal()
    found = extremes_of(lambda one: matrix @ one, 200, max_products=5)
    assert found.num_products == 5
    assert found.top_error > 1e-3
    assert float((values - found.top).abs().min()) <= found.top_error


def test_a_multiple_of_the_identity_takes_one_product():
    found = extremes_of(lambda one: 2 * one, 30)
    assert (found.top, found.bottom, found.num_products) == (pytest.approx(2.0), pytest.approx(2.0), 1)


def test_the_trace_of_a_diagonal_matrix_has_no_error():
    found = trace_of(lambda one: one * torch.arange(6.0).double(), 6, num_probes=3)
    assert (found.value, found.error) == (15.0, 0.0)


def test_a_convex_bowl_is_highest_in_a_corner_of_its_box():
    found = epsilon_sharpness(toy(1.0, 2.0, loss=lambda out, _: 1 + (out**2).sum(dim=1) / 2), size=0.01)
    highest = 1 + (1.02**2 + 2.03**2) / 2  # x may move by 0.01 (|x| + 1)
    assert found.highest == pytest.approx(highest, rel=1e-6)
    assert found.value == pytest.approx(100 * (highest - 3.5) / 4.5, rel=1e-4)


def test_a_larger_box_is_not_less_sharp(small):
    loss, _ = small
    narrow, wide = (epsilon_sharpness(loss, size=size) for size in (1e-4, 1e-3))
    assert 0 < narrow.value < wide.value
    assert narrow.loss == pytest.approx(loss.value())


def test_a_converged_point_is_not_flat():
    """Its slope is zero, and smaller beside it than what a search takes for the top."""
    found = epsilon_sharpness(toy(0.0, 0.0, loss=lambda out, _: (out**2).sum(dim=1) * 5e-3), size=1e-3)
    assert found.loss == 0
    assert found.highest == pytest.approx(5e-3 * 2 * 1e-6, rel=1e-6)  # in a corner of the box
    assert found.num_evaluations <= 21


def test_a_linear_loss_has_no_curvature():
    assert toy(loss=lambda outputs, _: outputs.sum(dim=1)).product(torch.ones(2)).tolist() == [0.0, 0.0]


def test_updates_without_factors_are_refused(adapters, models):
    model, _ = models("llama")
    dora = mc.Adapter.from_pretrained(adapters("llama", 1, use_dora=True))
    with pytest.raises(EvaluationError, match=r"(?s)around llama-1 cannot.*got: no factors of .*q_proj.*truncated"):
        LocalLoss.at(dora, model, make_task("first", 0))


def test_settings_that_mean_nothing():
    with pytest.raises(EvaluationError, match=r"(?s)without products.*expected: num_probes of 2 or more.*got: 1"):
        hessian_trace(toy(), num_probes=1)
    with pytest.raises(EvaluationError, match=r"(?s)expected: max_products of 1.*got: 0"):
        hessian_extremes(toy(), max_products=0)
    for settings in ({"size": 0.0}, {"size": float("inf")}, {"max_steps": 0}):
        with pytest.raises(EvaluationError, match=r"(?s)sharpness cannot.*expected: a size above 0.*got: size="):
            epsilon_sharpness(toy(), **settings)


def test_numbers_that_are_not_finite_are_told():
    broken = toy(loss=lambda outputs, _: (outputs**2).sum(dim=1) * float("nan"))
    with pytest.raises(EvaluationError, match=r"(?s)product of the Hessian is not finite.*NaN or infinity.*float32"):
        hessian_extremes(broken)
    with pytest.raises(EvaluationError, match=r"(?s)loss around the point is not finite.*are NaN or infinite"):
        epsilon_sharpness(broken)

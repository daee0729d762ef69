"""CKA against published numbers, the written-out formula, another library, and its invariances."""

import numpy as np
import pandas as pd
import pytest
import torch
from direct_cka import cka_of_grams, direct_cka
from scipy.spatial.distance import pdist, squareform

import modeconn.similarity as sim
from modeconn.errors import EvaluationError


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def pair(n=40, p=7, q=12, seed=0):
    """Features that share three directions."""
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((n, 3))
    return tuple(shared @ rng.standard_normal((3, w)) + rng.standard_normal((n, w)) + 5 for w in (p, q))


# Independent Gaussian features: what the biased form reports of a true similarity of 0.
@pytest.mark.parametrize(
    ("n", "p", "biased"),
    [(100, 100, 0.498), (100, 768, 0.885), (100, 4096, 0.976), (1000, 768, 0.435), (32, 4096, 0.992)],
)
def test_unrelated_features_are_told_by_the_debiased_form_only(n, p, biased):
    x, y = normal(n, p, seed=1), normal(n, p, seed=4)
    assert sim.linear_cka(x, y, debiased=False) == pytest.approx(biased, abs=0.012)
    assert sim.linear_cka(x, y) == pytest.approx(0, abs=3 * 2**0.5 / n)  # three standard errors


def test_debiasing_does_not_protect_from_outliers():
    x, y = normal(500, 100, seed=1), normal(500, 100, seed=2)
    moved = x.copy()
    moved[0, 0] += 100
    assert sim.linear_cka(x, moved, debiased=False) == pytest.approx(0.472, abs=0.02)  # of the same features otherwise
    assert sim.linear_cka(x, moved) == pytest.approx(0.847, abs=0.02)
    x[:2, 0] += 100
    y[:2, 0] += 100
    assert sim.linear_cka(x, y) == pytest.approx(0.818, abs=0.03)  # of unrelated features otherwise
    assert sim.linear_cka(x[2:], y[2:]) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("p", "q"), [(7, 12), (100, 80), (7, 80)])
def test_both_forms_equal_the_written_out_formula(p, q, debiased):
    x, y = pair(p=p, q=q)
    assert sim.linear_cka(x, y, debiased=debiased) == pytest.approx(direct_cka(x, y, debiased=debiased), abs=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
def test_the_feature_form_equals_the_gram_form(debiased):
    from modeconn.similarity.features import centred_pair
    from modeconn.similarity.hsic import hsic_of_features, hsic_of_grams

    x, y = centred_pair(*pair())
    by_features = hsic_of_features(x, y, debiased=debiased)
    assert float(by_features) == pytest.approx(float(hsic_of_grams(x @ x.T, y @ y.T, debiased=debiased)), rel=1e-12)


def test_it_equals_another_library():
    ckatorch = pytest.importorskip("ckatorch")
    x, y = map(torch.tensor, pair())
    assert sim.linear_cka(x, y) == pytest.approx(float(ckatorch.cka_base(x, y, unbiased=True)), abs=1e-12)
    assert sim.linear_cka(x, y, debiased=False) == pytest.approx(float(ckatorch.cka_base(x, y)), abs=1e-12)


@pytest.mark.parametrize("measure", [sim.linear_cka, sim.rbf_cka])
@pytest.mark.parametrize("debiased", [True, False])
def test_it_is_1_with_itself_and_symmetric(measure, debiased):
    x, y = pair()
    assert measure(x, x, debiased=debiased) == pytest.approx(1, abs=1e-12)
    assert measure(x, y, debiased=debiased) == pytest.approx(measure(y, x, debiased=debiased), abs=1e-12)


@pytest.mark.parametrize("measure", [sim.linear_cka, sim.rbf_cka])
def test_rotation_shift_and_scale_change_nothing_and_shear_does(measure):
    x, y = pair()
    rotation = np.linalg.qr(normal(12, 12, seed=3))[0]
    shear = np.eye(12)
    shear[0, 1:] = 3
    assert measure(x, 1e-3 * y @ rotation + 100) == pytest.approx(measure(x, y), abs=1e-9)
    assert abs(measure(x, y @ shear) - measure(x, y)) > 0.02


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_no_scale_overflows(scale):
    x, y = pair()
    assert sim.linear_cka(scale * x, y) == pytest.approx(direct_cka(x, y), abs=1e-12)


@pytest.mark.parametrize("debiased", [True, False])
@pytest.mark.parametrize(("bandwidth", "n"), [(0.2, 31), (0.8, 31), (0.8, 5)])  # 465 distances, or 10: an even number
def test_rbf_equals_the_written_out_formula(bandwidth, n, debiased):
    def gram(rows):
        squared = pdist(rows, "sqeuclidean")
        return np.exp(-squareform(squared) / (2 * bandwidth**2 * np.median(squared)))

    x, y = pair(n=n)
    expected = cka_of_grams(gram(x), gram(y), debiased=debiased)
    assert sim.rbf_cka(x, y, bandwidth=bandwidth, debiased=debiased) == pytest.approx(expected, abs=1e-10)


def test_float32_and_torch_are_computed_in_float64():
    x, y = pair(p=300, q=500)
    narrow = torch.tensor(x + 1000, dtype=torch.float32), torch.tensor(y, dtype=torch.float32)
    wide = [one.double().numpy() for one in narrow]
    expected = direct_cka(*(one - one.mean(0) for one in wide))  # a mean of 1000 costs the products digits
    assert sim.linear_cka(*narrow) == pytest.approx(expected, abs=1e-6)
    assert sim.linear_cka(narrow[0].numpy(), narrow[1]) == sim.linear_cka(*narrow)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


@pytest.mark.parametrize(
    "held",
    [
        pd.DataFrame,
        lambda x: x.tolist(),
        lambda x: np.flip(np.flip(x, 0).copy(), 0),
        read_only,
        lambda x: x.astype(">f8"),
        lambda x: x.astype(np.longdouble),
        lambda x: torch.tensor(x, requires_grad=True),
    ],
    ids=["table", "lists", "backwards", "read-only", "big-endian", "long double", "with a gradient"],
)
def test_it_takes_numbers_however_they_are_held(held):
    x, y = normal(20, 5), normal(20, 5) ** 3
    assert sim.linear_cka(held(x), held(y)) == sim.linear_cka(x, y)


def test_truth_values_are_numbers():
    x, y = normal(20, 5), normal(20, 5) ** 3 > 0
    assert sim.linear_cka(x, y) == sim.linear_cka(x, y.astype(float))


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (normal(3, 5), normal(3, 5), r"too few examples to compare .* x\n  expected: 4 examples or more\n  got: 3"),
        (normal(9, 5), normal(8, 5), r"features of different examples .*\n.*\n  got: 9 rows and 8 rows"),
        (normal(9), normal(9, 5), r"the features x cannot be compared\n  expected: a matrix .*\n  got: shape \[9\]"),
        (normal(9, 5) + 1j, normal(9, 5), r"a matrix of real numbers .*\n  got: shape \[9, 5\], torch.complex128"),
        (np.full((9, 5), "a"), normal(9, 5), r"the features x cannot .*\n.*\n  got: shape \[9, 5\], <U1"),
        (normal(9, 5), np.ones((9, 5)), r"the features y are constant"),
        (np.full((9, 5), 0.1, dtype=np.float32), normal(9, 5), r"the features x are constant"),
        (np.vstack([normal(8, 5), [[np.nan] * 5]]), normal(9, 5), r"in 1 of 9 rows, first at 8"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_refused(x, y, message):
    with pytest.raises(EvaluationError, match=message):
        sim.linear_cka(x, y)


def test_an_overflow_of_float16_is_named():
    x = torch.tensor(normal(9, 5))
    with pytest.raises(EvaluationError, match=r"which in float16 end at 65504[\s\S]*float32 or bfloat16"):
        sim.linear_cka((x * 1e5).half(), x)


def test_too_few_examples_for_a_debiased_self_similarity():
    corners = np.vstack([np.eye(4), -np.eye(4)])  # 8 points of which none is nearer to another than chance has it
    with pytest.raises(EvaluationError, match="a positive debiased HSIC of each side with itself"):
        sim.linear_cka(np.eye(5), normal(5, 3))
    assert np.isfinite(sim.linear_cka(corners, normal(8, 3)))


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (normal(9, 5), {"bandwidth": 0}, "a Gaussian kernel needs a width"),
        (np.vstack([np.zeros((8, 5)), np.ones((1, 5))]), {}, "more than half of the pairs with equal features"),
    ],
)
def test_a_gaussian_kernel_without_a_width_is_refused(x, options, message):
    with pytest.raises(EvaluationError, match=message):
        sim.rbf_cka(x, normal(9, 5), **options)

"""Decompositions from factors against dense ones, for every form that a change can have."""

import numpy as np
import pytest
import torch
from kind_points import Base, random
from points import dense, make_point, make_tensors

from modeconn.adapters.kinds.convolution import Convolution
from modeconn.adapters.kinds.full import Replacement
from modeconn.adapters.kinds.fused import Fused
from modeconn.adapters.part import Dense, LowRank
from modeconn.adapters.stored import LoadedTensor
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError
from modeconn.geometry.decomposition import decompose
from modeconn.geometry.matrices import Matrix, matrices_of


def spectrum(change):
    """The singular values of a dense matrix in float64, by numpy."""
    return np.linalg.svd(change.double().numpy(), compute_uv=False)


def rebuilt(found):
    return (found.left * found.values) @ found.right.T


def test_factors_give_the_spectrum_of_the_product():
    tensors = make_tensors(0)
    point = make_point(tensors)
    for name, change in dense(tensors).items():
        (matrix,) = matrices_of(name, point.updates[name]).values()
        found = decompose(matrix)
        np.testing.assert_allclose(found.values, spectrum(change)[:2], rtol=1e-12)
        torch.testing.assert_close(rebuilt(found), change, rtol=1e-12, atol=1e-12)
        for basis in (found.left, found.right):
            torch.testing.assert_close(basis.T @ basis, torch.eye(2).double())


def test_a_difference_of_two_points_has_the_spectrum_of_the_dense_difference():
    first, second = make_tensors(0), make_tensors(1, rank=1)
    point = make_point(second, r=1, lora_alpha=1.5) - make_point(first)
    for name, update in point.updates.items():
        change = dense(second)[name] - dense(first)[name]
        (matrix,) = matrices_of(name, update).values()
        np.testing.assert_allclose(decompose(matrix).values, spectrum(change)[:3], rtol=1e-9)


def test_the_rank_is_that_of_the_product_and_not_of_the_factors():
    part = LowRank(random(6, 3), random(1, 5).expand(3, 5).clone(), scaling=0.5)
    (matrix,) = matrices_of("w", Update.of(part)).values()
    assert decompose(matrix).rank == 1


def test_updates_that_cancel_leave_nothing():
    """In float64 the difference of equal products is 1e-16 of them: not a direction of its own."""
    first = LowRank(random(40, 4), random(4, 30), scaling=1.0)
    again = LowRank(2 * first.up, first.down / 2, scaling=1.0)  # the same update in another gauge
    (matrix,) = matrices_of("w", Update((1.0, -1.0), (first, again))).values()
    assert decompose(matrix).rank == 0
    assert decompose(matrix).square == 0.0


def test_a_dense_change_is_decomposed_as_it_is():
    change = random(7, 4)
    (matrix,) = matrices_of("w", Update.of(Dense(change))).values()
    found = decompose(matrix)
    np.testing.assert_allclose(found.values, spectrum(change), rtol=1e-12)
    torch.testing.assert_close(rebuilt(found), change.double())


def test_the_rounding_of_a_product_in_float32_is_no_direction():
    product = random(200, 3) @ random(3, 150)
    (matrix,) = matrices_of("w", Update.of(Dense(product))).values()
    assert decompose(matrix).rank == 3


def test_experts_are_one_matrix_each():
    part = Fused(random(3, 6, 2), random(3, 2, 5), scaling=0.25)
    found = matrices_of("mlp.experts.up_proj", Update.of(part))
    assert list(found) == [f"mlp.experts.up_proj[{number}]" for number in range(3)]
    for matrix, change in zip(found.values(), part.delta(), strict=True):
        np.testing.assert_allclose(decompose(matrix).values, spectrum(change)[:2], rtol=1e-6)
    stacked = matrices_of("mlp.experts.up_proj", Update.of(Dense(part.delta())))
    assert stacked.keys() == found.keys()
    for name, matrix in stacked.items():
        torch.testing.assert_close(matrix.dense(), found[name].dense(), rtol=1e-6, atol=1e-6)


def test_a_kernel_is_a_matrix_with_a_row_for_each_output():
    part = Convolution(random(6, 2), random(2, 4, 3, 3), scaling=2.0)
    (matrix,) = matrices_of("conv.weight", Update.of(part)).values()
    assert matrix.shape == (6, 36)
    np.testing.assert_allclose(decompose(matrix).values, spectrum(part.delta().flatten(1))[:2], rtol=1e-6)
    (whole,) = matrices_of("conv.weight", Update.of(Dense(part.delta()))).values()
    torch.testing.assert_close(whole.dense(), matrix.dense(), rtol=1e-6, atol=1e-6)


def test_a_vector_has_a_norm_and_no_subspaces():
    (matrix,) = matrices_of("norm.weight", Update.of(Dense(torch.tensor([3.0, 4.0])))).values()
    assert matrix.is_vector
    assert decompose(matrix).values.tolist() == [5.0]


def test_a_full_fine_tune_of_a_transposed_weight_is_turned_like_loras():
    """GPT-2 stores `[in, out]`: the column space must be that of the outputs for both kinds."""
    weight, change = random(5, 6), random(5, 6, seed=1)
    whole = Update.of(Replacement(LoadedTensor.of("w", weight + change)))
    (found,) = matrices_of("w", whole, Base({"w": weight}, transposed=True)).values()
    torch.testing.assert_close(found.dense(), change.T.double(), rtol=1e-5, atol=1e-6)
    lora = Update.of(LowRank(random(6, 2), random(2, 5), scaling=1.0))
    (factored,) = matrices_of("w", lora, Base({"w": weight}, transposed=True)).values()
    assert factored.shape == found.shape == (6, 5)


def test_a_change_that_is_a_function_of_the_base_needs_it():
    whole = Update.of(Replacement(LoadedTensor.of("w", random(5, 6))))
    with pytest.raises(AdapterError, match=r"(?s)function of the base model's weights.*remedy: bind the point"):
        matrices_of("w", whole)


def test_entries_are_those_of_the_product():
    matrix = Matrix(random(6, 2).double(), random(2, 5).double())
    rows, columns = torch.tensor([0, 5, 3]), torch.tensor([4, 0, 3])
    torch.testing.assert_close(matrix.entries(rows, columns), matrix.dense()[rows, columns])
    torch.testing.assert_close(Matrix(matrix.dense()).entries(rows, columns), matrix.dense()[rows, columns])


def test_an_inner_product_is_that_of_the_dense_matrices():
    first, second = Matrix(random(6, 2).double(), random(2, 5).double()), Matrix(random(6, 5, seed=2).double())
    expected = float((first.dense() * second.dense()).sum())
    assert decompose(first).inner(decompose(second)) == pytest.approx(expected, rel=1e-12)

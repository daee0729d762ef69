"""Tensor-trains: contraction, shapes, start."""

import math
from functools import reduce
from itertools import product

import numpy as np
import pytest
import torch

from modeconn.adapters.methods.tensor_train import (
    PUBLISHED_SHAPES,
    balanced_modes,
    contract,
    matrix,
    new_cores,
    tensor_shape,
)
from modeconn.errors import AdapterError


def random_cores(shape, rank, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ranks = [1, *[rank] * (len(shape) - 1), 1]
    sizes = zip(ranks, shape, ranks[1:], strict=False)
    return [torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes]


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4, 5), (1, 3, 1)])
def test_each_entry_is_the_product_of_its_slices(shape):
    cores = random_cores(shape, rank=3)
    tensor = contract(cores)
    assert tensor.shape == shape
    for index in product(*map(range, shape)):
        slices = [core[:, one, :] for core, one in zip(cores, index, strict=True)]
        torch.testing.assert_close(tensor[index], reduce(torch.matmul, slices)[0, 0])


@pytest.mark.parametrize("shape", PUBLISHED_SHAPES.values(), ids=str)
def test_contraction_is_that_of_tensorly(shape):
    tensorly = pytest.importorskip("tensorly")
    cores = random_cores(shape, rank=5)
    np.testing.assert_allclose(contract(cores).numpy(), tensorly.tt_to_tensor([core.numpy() for core in cores]))


def test_a_matrix_is_read_row_by_row():
    cores = random_cores((2, 3, 2), rank=2)
    found = matrix(cores, 4, 3)
    assert found[1].tolist() == contract(cores).flatten()[3:6].tolist()


def test_ranks_bound_the_rank_of_a_matrix_whose_sides_are_whole_modes():
    assert torch.linalg.matrix_rank(matrix(random_cores((8, 8, 12, 8), rank=5), 768, 8)) == 5


def test_ranks_do_not_bound_the_rank_of_a_matrix_whose_sides_cut_a_mode():
    assert torch.linalg.matrix_rank(matrix(random_cores((4, 8, 8, 8, 4), rank=5), 1024, 8)) == 8


@pytest.mark.parametrize(("width", "rank"), PUBLISHED_SHAPES)
def test_published_widths_have_the_published_shapes(width, rank):
    shape = tensor_shape(width, rank)
    assert math.prod(shape) == width * rank
    assert shape == PUBLISHED_SHAPES[width, rank]


@pytest.mark.parametrize("size", [1, 2, 7, 64, 769, 896, 2048, 3072, 11008, 50257])
def test_balanced_modes_multiply_to_the_size(size):
    assert math.prod(balanced_modes(size)) == size


@pytest.mark.parametrize("size", [64, 320, 512, 768, 896, 1024, 1280, 2048, 3072, 4096, 5120, 14336])
def test_modes_of_common_widths_are_small(size):
    assert max(balanced_modes(size)) <= 20


@pytest.mark.parametrize("width", [48, 320, 896, 2048])
def test_default_shapes_keep_the_width_and_the_rank_apart(width):
    shape = tensor_shape(width, 4)
    assert any(math.prod(shape[:number]) == width for number in range(len(shape)))


def test_a_given_shape_is_preferred():
    assert tensor_shape(768, 8, [(3, 4), (96, 64)]) == (96, 64)


def test_entries_have_the_asked_deviation():
    torch.manual_seed(0)
    found = torch.stack([contract(new_cores((6, 4, 5), 5, std=0.1)).square().mean() for _ in range(400)])
    assert found.mean().sqrt() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    ("shapes", "told"),
    [
        ([], "no core"),
        ([(1, 2, 3), (2, 2, 1)], r"\[1, 2, 3\], \[2, 2, 1\]"),
        ([(2, 2, 1)], r"\[2, 2, 1\]"),
        ([(1, 2, 2)], r"\[1, 2, 2\]"),
        ([(1, 2), (2, 1)], r"\[1, 2\], \[2, 1\]"),
    ],
)
def test_cores_that_do_not_fit_together_are_refused(shapes, told):
    with pytest.raises(AdapterError, match=rf"do not fit together\n  expected: cores .*\n  got: {told}\n  remedy: "):
        contract([torch.ones(shape) for shape in shapes])


def test_a_matrix_of_another_size_is_refused():
    with pytest.raises(AdapterError, match=r"expected: 4 x 5 = 20 entries\n  got: 2 x 3 x 2 = 12\n"):
        matrix(random_cores((2, 3, 2), rank=2), 4, 5)

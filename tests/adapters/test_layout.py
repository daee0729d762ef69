"""A layout packs named tensors into one vector and back without loss."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from points import make_point, make_tensors

from modeconn.adapters import Layout
from modeconn.errors import AdapterError

SHAPES = st.dictionaries(
    st.text("abc.", min_size=1, max_size=4), st.lists(st.integers(1, 4), max_size=3).map(tuple), min_size=1, max_size=5
)


def numbered(shapes):
    """Tensors of these shapes, no two numbers the same."""
    tensors, start = {}, 0.0
    for name, shape in shapes.items():
        count = math.prod(shape)
        tensors[name] = torch.arange(start, start + count).reshape(shape)
        start += count
    return tensors


@given(SHAPES)
def test_unpacking_a_packed_vector_gives_the_tensors_back(shapes):
    tensors = numbered(shapes)
    layout = Layout.of(tensors)
    again = layout.unpack(layout.pack(tensors))
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


@given(SHAPES)
def test_a_packed_vector_holds_every_number_once(shapes):
    vector = Layout.of(numbered(shapes)).pack(numbered(shapes))
    assert sorted(vector.tolist()) == list(range(len(vector)))


@given(SHAPES, st.randoms())
def test_the_order_in_which_tensors_come_does_not_matter(shapes, random):
    tensors = numbered(shapes)
    names = list(tensors)
    random.shuffle(names)
    shuffled = {name: tensors[name] for name in names}
    assert Layout.of(shuffled) == Layout.of(tensors)
    assert torch.equal(Layout.of(tensors).pack(shuffled), Layout.of(tensors).pack(tensors))


def test_tensors_that_are_transposed_views_pack_in_the_order_of_their_shape():
    tensor = torch.arange(6.0).reshape(2, 3).T
    layout = Layout.of({"a": tensor})
    assert torch.equal(layout.unpack(layout.pack({"a": tensor}))["a"], tensor)


@pytest.mark.parametrize("shape", [(5,), (7,), (2, 3)])
def test_a_vector_of_another_shape_is_refused(shape):
    with pytest.raises(AdapterError, match=rf"expected: shape \[6\]\n  got: shape \[{', '.join(map(str, shape))}\]"):
        Layout.of({"a": torch.zeros(2, 3)}).unpack(torch.zeros(shape))


def test_tensors_of_another_layout_are_refused_with_every_difference():
    layout = Layout.of({"a": torch.zeros(2), "b": torch.zeros(3)})
    message = (
        r"the tensors and the first point(?s:.*): 2 tensors(?s:.*)got: a \[4\] instead of \[2\], b missing, c unex"
    )
    with pytest.raises(AdapterError, match=message):
        layout.pack({"a": torch.zeros(4), "c": torch.zeros(3)})


def test_a_long_list_of_differences_is_cut_and_counted():
    layout = Layout.of({f"tensor{number:02}": torch.zeros(1) for number in range(12)})
    with pytest.raises(AdapterError, match=r"tensor09 missing and 2 more \(12 in all\)"):
        layout.pack({})


def test_an_adapter_is_rebuilt_from_its_vector():
    point = make_point(make_tensors(1, heads={"classifier.weight": (3, 5)}), modules_to_save=["classifier"])
    assert point.with_vector(point.vector).fingerprint == point.fingerprint


def test_an_adapter_of_another_vector_is_another_point():
    point = make_point(make_tensors(1))
    assert point.with_vector(2 * point.vector).fingerprint != point.fingerprint

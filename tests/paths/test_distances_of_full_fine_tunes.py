"""Distances between full fine-tunes need no base: it cancels in the difference."""

import pytest
import torch
from safetensors.torch import load_file
from tiny import make_base

import modeconn as mc
from modeconn.errors import AdapterError


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three full fine-tunes."""
    root = tmp_path_factory.mktemp("full")
    return [make_base(root / str(seed), "llama", seed=seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def points(folders):
    return [mc.Adapter.from_pretrained(folder) for folder in folders]


def between(folders, one, other):
    """The L2 distance of two folders' weights, in float64."""
    first, second = (load_file(folders[number] / "model.safetensors") for number in (one, other))
    return sum(float((first[name].double() - second[name].double()).square().sum()) for name in first) ** 0.5


@pytest.mark.parametrize("t", [0.25, 1.0])
def test_of_a_point_on_a_line(t, folders, points):
    assert mc.LinearPath(*points[:2]).distance(t) == pytest.approx(t * between(folders, 0, 1), rel=1e-6)


def test_of_a_chain_and_its_length(folders, points):
    chain = mc.PolygonalChain(points)
    legs = [between(folders, 0, 1), between(folders, 1, 2)]
    assert chain.distance(1.0) == pytest.approx(between(folders, 0, 2), rel=1e-6)
    torch.testing.assert_close(chain.speed(torch.tensor([0.2, 0.7])), 2 * torch.tensor(legs, dtype=torch.float64))


def test_with_the_base_at_hand_it_is_the_same(bases, points):
    line = mc.LinearPath(*points[:2])
    bound = line.on(mc.AdapterModel.from_pretrained(bases("llama"), adapters=points))
    assert bound.distance(1.0) == pytest.approx(line.distance(1.0), rel=1e-6)


def test_of_an_adapter_and_a_full_fine_tune_the_base_is_needed(adapters, points):
    line = mc.LinearPath(points[0], mc.Adapter.from_pretrained(adapters("llama", 1)))
    with pytest.raises(AdapterError, match=r"(?s)function of the base model's weights.*point.on"):
        line.distance(1.0)

"""The line against what PEFT merges: its "cat" agrees with the weights line, its "linear" is not a midpoint."""

import pytest
from peft_oracle import load_peft, updates

from modeconn.adapters import Adapter
from modeconn.paths import LinearPath


@pytest.fixture(scope="module")
def folders(adapters):
    return adapters("llama", 1), adapters("llama", 2)


@pytest.fixture(scope="module")
def mean(folders, bases):
    """The mean of the two updates, from PEFT's dense ones."""
    first, second = (updates(load_peft("llama", bases("llama"), folder)) for folder in folders)
    return {name: (first[name] + second[name]) / 2 for name in first}


@pytest.fixture
def midpoint(folders):
    """The middle of the line in weights space."""
    return LinearPath(*(Adapter.from_pretrained(folder) for folder in folders))(0.5)


def merged_by_peft(folders, base, kind):
    """What `add_weighted_adapter` makes of the two, as dense updates."""
    model = load_peft("llama", base, folders[0])
    model.load_adapter(str(folders[1]), "other")
    model.double().add_weighted_adapter(["default", "other"], [0.5, 0.5], "merged", combination_type=kind)
    layers = {
        name: layer for name, layer in model.base_model.model.named_modules() if hasattr(layer, "get_delta_weight")
    }
    return {f"{name}.weight": layer.get_delta_weight("merged").detach() for name, layer in layers.items()}


def distance(first, second):
    """How far two sets of updates are apart, relative to the second."""
    gap = sum(((first[name].double() - second[name]) ** 2).sum() for name in second)
    return float((gap / sum((value**2).sum() for value in second.values())) ** 0.5)


def test_the_midpoint_is_the_mean_of_the_updates(midpoint, mean):
    assert distance({name: update.dense() for name, update in midpoint.updates.items()}, mean) < 1e-6


def test_the_midpoint_is_what_peft_concatenates(midpoint, folders, bases):
    reference = merged_by_peft(folders, bases("llama"), "cat")
    assert distance({name: update.dense() for name, update in midpoint.updates.items()}, reference) < 1e-6


def test_what_peft_calls_linear_is_no_midpoint(folders, bases, mean):
    assert distance(merged_by_peft(folders, bases("llama"), "linear"), mean) > 0.5

"""The weight update, from the layers and from the file alone, against the equations written out."""

import json

import pytest
import torch
from safetensors.torch import load_file

from modeconn.adapters.methods.layer import UpdatedLinear
from modeconn.adapters.methods.updates import (
    loretta_rep_factors,
    loretta_rep_modules,
    wegeft_factors,
    wegeft_modules,
)
from modeconn.errors import AdapterError

WEGEFT = ["wegeft tied", "wegeft per layer", "wegeft tied output", "wegeft per layer output"]


def layers_of(model):
    return {name: part for name, part in model.base_model.model.named_modules() if isinstance(part, UpdatedLinear)}


def base_weight(layer, family):
    weight = layer.get_base_layer().weight.detach()
    return weight.T if family == "gpt2" else weight


def written_out(method, family, layers, name):
    """dW as the paper's equation gives it, `[out, in]`."""
    layer = layers[name]
    if method == "loretta rep":
        up, down = (
            cores_matrix(list(part["default"]), shape)
            for part, shape in (
                (layer.loretta_rep_up, (4, layer.out_features)),
                (layer.loretta_rep_down, (layer.in_features, 4)),
            )
        )
        return 5 / 4 * up.T @ down.T
    # The tiny models have two layers, so that a tied pair lies in the module of the same name in layer 0.
    holder = layers[name.replace(".1.", ".0.")] if "tied" in method else layer
    phi, psi = holder.wegeft_phi["default"], holder.wegeft_psi["default"]
    weight = base_weight(layer, family)
    return 5 / 3 * (phi @ psi @ weight if "output" in method else weight @ (phi.T @ psi))


def cores_matrix(cores, shape):
    """The matrix of a tensor-train, by one einsum."""
    letters = "abcdefgh"
    terms = [f"{letters[k]}{letters[k].upper()}{letters[k + 1]}" for k in range(len(cores))]
    result = "".join(letters[k].upper() for k in range(len(cores)))
    full = torch.einsum(f"{','.join(terms)}->a{result}{letters[len(cores)]}", *cores)
    return full.reshape(shape)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", [*WEGEFT, "loretta rep"])
def test_a_layer_adds_the_update_of_the_equation(method, family, trained):
    layers = layers_of(trained(method, family, dtype=torch.float64))
    assert len(layers) == (4 if family == "llama" else 6)
    for name, layer in layers.items():
        expected = written_out(method, family, layers, name)
        features = torch.randn(3, layer.in_features, dtype=torch.float64)
        change = layer(features) - layer.base_layer(features)
        torch.testing.assert_close(change, features @ expected.T)
        torch.testing.assert_close(layer.get_delta_weight("default"), expected.T if family == "gpt2" else expected)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", [*WEGEFT, "loretta rep"])
def test_the_file_and_the_base_give_the_update_of_the_layer(method, family, trained, tmp_path):
    model = trained(method, family)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "adapter_model.safetensors")
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    layers = layers_of(model)
    found = loretta_rep_modules(tensors) if method == "loretta rep" else wegeft_modules(tensors, config)
    assert found == sorted(layers)
    for name, layer in layers.items():
        if method == "loretta rep":
            update = loretta_rep_factors(tensors, config, name)
        else:
            update = wegeft_factors(tensors, config, name, base_weight(layer, family))
        assert update.up.shape[1] == config["r"]
        torch.testing.assert_close(update.dense(), written_out(method, family, layers, name))


def test_the_rank_of_loretta_is_at_most_that_of_its_tensor_trains(trained):
    model = trained("loretta rep", "llama", dtype=torch.float64)
    assert {int(torch.linalg.matrix_rank(one.get_delta_weight("default"))) for one in layers_of(model).values()} == {3}


def file_of(width=6, rank=2):
    return {f"base_model.model.q.wegeft_{name}": torch.ones(rank, width) for name in ("phi", "psi")}


@pytest.mark.parametrize(
    ("config", "weight", "told"),
    [
        ({"r": 2, "tied": False}, (4, 5), r"expected: phi \[2, 5\] and psi \[2, 5\]\n  got: phi \[2, 6\]"),
        ({"r": 3, "tied": False}, (4, 6), r"expected: phi \[3, 6\] and psi \[3, 6\]\n  got: phi \[2, 6\]"),
        ({"r": 2, "tied": False, "form": "output"}, (6, 4), r"expected: phi \[6, 2\] and psi \[2, 6\]\n"),
        ({"r": 2, "tied": False, "form": "both"}, (4, 6), r'expected: form "input" or "output"\n.*form \'both\'\n'),
        ({"r": 2}, (4, 6), r"does not say which modules it updates\n"),
        ({"r": 2, "tied_modules": {"q": "q"}}, (4, 6), r"does not say which modules it updates\n"),
        ({"r": 2, "tied_modules": {"q": ["p", "q"]}}, (4, 6), r"expected: base_model.model.p.wegeft_phi\n"),
    ],
)
def test_wegeft_factors_that_do_not_fit_are_refused(config, weight, told):
    with pytest.raises(AdapterError, match=told):
        wegeft_factors(file_of(), config, "q", torch.ones(weight))


def test_missing_cores_are_named():
    with pytest.raises(AdapterError, match=r"lacks a tensor\n  expected: base_model\.model\.q\.loretta_rep_down\.0\n"):
        loretta_rep_factors(file_of(), {}, "q")


def test_cores_of_another_rank_are_refused():
    tensors = {f"base_model.model.q.loretta_rep_{part}.0": torch.ones(1, 15, 1) for part in ("down", "up")}
    with pytest.raises(AdapterError, match=r"expected: 4 x 3 = 12 entries\n  got: 15 = 15\n"):
        loretta_rep_factors(tensors, {"r": 4}, "q")

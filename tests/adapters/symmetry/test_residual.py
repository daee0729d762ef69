"""Folded norms leave the function as it is, and a rotated residual stream is found."""

import copy

import pytest
import torch
from symmetric import ROTATABLE, make_model, outputs, state_of

from modeconn.adapters.symmetry import apply, fold_norms, match, random_permutations, symmetry_of
from modeconn.errors import AdapterError


def untied(model):
    """A copy of a model whose head is a parameter of its own."""
    model = copy.deepcopy(model)
    if hasattr(model, "lm_head"):
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    return model


@pytest.mark.parametrize("name", ROTATABLE)
def test_folding_leaves_the_function_unchanged(name):
    model = make_model(name)
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    folded = fold_norms(state, spec)
    assert all((folded[norm.scale] == 1).all() for norm in spec.norms)
    torch.testing.assert_close(outputs(untied(model), folded), outputs(model), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ROTATABLE)
def test_every_norm_but_those_inside_heads_is_folded(name):
    model = make_model(name)
    spec = symmetry_of(model.config, model.state_dict())
    norms = {key for key in model.state_dict() if "norm" in key and "q_norm" not in key and "k_norm" not in key}
    assert {norm.scale for norm in spec.norms} == norms


@pytest.mark.parametrize("name", ROTATABLE)
def test_a_rotation_leaves_the_function_unchanged(name):
    model = make_model(name)
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    moved = apply(random_permutations(spec.folded(), seed=1), fold_norms(state, spec), spec.folded())
    torch.testing.assert_close(outputs(untied(model), moved), outputs(model), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", ROTATABLE)
def test_a_rotated_copy_is_matched_back(name):
    model = make_model(name)
    spec = symmetry_of(model.config, model.state_dict())
    state, spec = fold_norms(state_of(model), spec), spec.folded()
    drawn = random_permutations(spec, seed=2)
    target = apply(drawn, state, spec)
    found = match(state, to=target, spec=spec)
    assert found.distance_before > 1
    assert all((found.state[key] - target[key]).abs().max() < 1e-5 for key in target)
    torch.testing.assert_close(found.permutations["residual"], drawn["residual"], rtol=0, atol=1e-8)
    assert all(torch.equal(found.permutations[name], drawn[name]) for name in drawn if name != "residual")


def test_a_permutation_alone_does_not_undo_a_rotation():
    model = make_model("llama")
    spec = symmetry_of(model.config, model.state_dict())
    state = fold_norms(state_of(model), spec)
    target = apply({"residual": random_permutations(spec.folded(), seed=3)["residual"]}, state, spec.folded())
    permuted, rotated = (match(state, to=target, spec=each).distance_after for each in (spec, spec.folded()))
    assert permuted > 1
    assert rotated < 1e-9


def test_rotations_are_orthogonal():
    model = make_model("t5")
    spec = symmetry_of(model.config, model.state_dict()).folded()
    rotation = random_permutations(spec, seed=1)["residual"]
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(16, dtype=torch.float64))


def test_folding_parts_a_tied_head_from_the_embeddings():
    model = make_model("llama-tied")
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    folded = fold_norms(state, spec)
    assert torch.equal(folded["model.embed_tokens.weight"], state["model.embed_tokens.weight"])
    expected = state["model.embed_tokens.weight"] * state["model.norm.weight"]
    torch.testing.assert_close(folded["lm_head.weight"], expected)
    assert spec.folded().ties == ()


def test_folding_twice_is_folding_once():
    model = make_model("llama")
    spec = symmetry_of(model.config, model.state_dict())
    once = fold_norms(state_of(model), spec)
    again = fold_norms(once, spec.folded())
    assert all(torch.equal(once[key], again[key]) for key in once)
    assert spec.folded().folded() == spec.folded()


@pytest.mark.parametrize("name", ["gpt2", "bert", "vit"])
def test_layer_norms_cannot_be_folded(name):
    model = make_model(name)
    state = state_of(model)
    with pytest.raises(AdapterError, match=r"cannot be rotated(?s:.*)expected: RMS norms(?s:.*)got: layer norms"):
        fold_norms(state, symmetry_of(model.config, state))


def test_a_state_whose_norms_are_not_folded_is_refused():
    model = make_model("llama")
    state = state_of(model)
    spec = symmetry_of(model.config, state).folded()
    with pytest.raises(AdapterError, match=r"cannot be moved(?s:.*)norm.weight is not one(?s:.*)call fold_norms"):
        match(state, to=state, spec=spec)

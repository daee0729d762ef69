"""What the symmetries move leaves the function of a real model as it is."""

import copy
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from symmetric import MODELS, make_model, outputs, state_of

from modeconn.adapters.symmetry import Group, apply, random_permutations, symmetry_of


@pytest.mark.parametrize("name", MODELS)
def test_every_group_alone_leaves_the_logits_unchanged(name):
    model = make_model(name)
    state, expected = state_of(model), outputs(model)
    spec = symmetry_of(model.config, state)
    drawn = random_permutations(spec, seed=1)
    for group, permutation in drawn.items():
        moved = apply({group: permutation}, state, spec)
        assert any(not torch.equal(moved[key], state[key]) for key in state) or group_is_at_rest(permutation), group
        torch.testing.assert_close(outputs(model, moved), expected, rtol=1e-9, atol=1e-9, msg=f"{name}: {group}")


@pytest.mark.parametrize("name", MODELS)
def test_all_groups_together_leave_the_logits_unchanged(name):
    model = make_model(name)
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    moved = apply(random_permutations(spec, seed=2), state, spec)
    torch.testing.assert_close(outputs(model, moved), outputs(model), rtol=1e-9, atol=1e-9)


def group_is_at_rest(permutation):
    """Whether a drawn permutation happens to move nothing."""
    return torch.equal(permutation, torch.arange(permutation.shape[-1]).expand_as(permutation))


def test_rotary_dimensions_are_not_free():
    model = make_model("llama")
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    rotary = tuple(f"model.layers.0.self_attn.{kind}_proj.weight" for kind in "qk")
    free = replace(
        spec,
        groups=(*spec.groups, Group("rotary", 8, within="layers.0.heads")),
        blocks=tuple(
            replace(block, dims=(("layers.0.heads", "rotary"), ("residual",))) if block.parameter in rotary else block
            for block in spec.blocks
        ),
    )
    moved = apply({"rotary": random_permutations(free, seed=1)["rotary"]}, state, free)
    assert (outputs(model, moved) - outputs(model)).abs().max() > 0.1


def test_the_groups_of_a_layer_with_grouped_queries():
    model = make_model("llama-grouped")
    spec = symmetry_of(model.config, model.state_dict())
    groups = {group.name: (group.size, group.within) for group in spec.groups if "layers.0" in group.name}
    assert groups == {
        "layers.0.heads": (2, None),
        "layers.0.value_dims": (4, "layers.0.heads"),
        "layers.0.queries": (3, "layers.0.heads"),
        "layers.0.mlp": (32, None),
    }


def test_t5_layers_share_their_heads_in_a_stack_and_not_in_cross_attention():
    model = make_model("t5")
    spec = symmetry_of(model.config, model.state_dict())
    heads = [group.name for group in spec.groups if group.name.endswith("heads")]
    assert heads == ["encoder.heads", "decoder.heads", "decoder.layers.0.cross.heads", "decoder.layers.1.cross.heads"]


@pytest.mark.parametrize("name", ["llama-tied", "t5", "bert-masked", "vit", "gpt2"])
def test_a_state_from_a_file_is_moved_as_the_one_in_memory(tmp_path, name):
    model = make_model(name)
    model.save_pretrained(tmp_path / "before")
    state = load_file(tmp_path / "before" / "model.safetensors")
    spec = symmetry_of(model.config, state)
    moved = apply(random_permutations(spec, seed=3), state, spec)
    in_memory = symmetry_of(model.config, model.state_dict())
    directly = copy.deepcopy(model)
    directly.load_state_dict(apply(random_permutations(in_memory, seed=3), model.state_dict(), in_memory))
    directly.save_pretrained(tmp_path / "after")
    expected = load_file(tmp_path / "after" / "model.safetensors")
    assert moved.keys() == expected.keys()
    assert all(torch.equal(moved[key], expected[key]) for key in moved)


@pytest.mark.parametrize("name", ["llama-tied", "gpt2", "t5", "bert-masked"])
def test_tied_tensors_stay_one_tensor(name):
    model = make_model(name)
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    moved = apply(random_permutations(spec, seed=4), state, spec)
    assert all(moved[tied] is moved[source] for tied, source in spec.ties)


def test_ties_are_read_from_the_values_and_not_from_the_config():
    model = make_model("t5")
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight + 1)
    assert model.config.tie_word_embeddings
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    assert "lm_head.weight" in spec.parameters
    moved = apply(random_permutations(spec, seed=5), state, spec)
    torch.testing.assert_close(outputs(model, moved), outputs(model), rtol=1e-9, atol=1e-9)


def test_random_permutations_are_those_of_their_seed():
    model = make_model("gpt2")
    spec = symmetry_of(model.config, model.state_dict())
    first, again, other = (random_permutations(spec, seed=seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["residual"], other["residual"])

"""Models, permutations and specs that do not fit are refused, with the differences."""

import pytest
import torch
from symmetric import make_model, state_of
from transformers import LlamaConfig, LlamaModel, PretrainedConfig

from modeconn.adapters.symmetry import Block, Group, SymmetrySpec, apply, match, random_permutations, symmetry_of
from modeconn.errors import AdapterError

SPEC = SymmetrySpec(
    (Group("heads", 2), Group("dims", 3, within="heads"), Group("mlp", 4)),
    (Block("v", (("heads", "dims"), (-1,))), Block("up", (("mlp",), (-1,)))),
)
STATE = {"v": torch.zeros(6, 2), "up": torch.zeros(4, 2)}


def test_an_architecture_without_symmetries_is_refused():
    config = PretrainedConfig()
    config.model_type = "mamba"
    with pytest.raises(AdapterError, match=r"type 'mamba'(?s:.*)expected: one of bert, gpt2, llama(?s:.*)got: 'mamba'"):
        symmetry_of(config, {})


def test_a_model_without_a_head_is_refused():
    config = LlamaConfig(
        vocab_size=26, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    state = LlamaModel(config).state_dict()
    with pytest.raises(AdapterError, match=r"embed_tokens.weight unexpected(?s:.*) more"):
        symmetry_of(config, state)


def test_parameters_that_the_architecture_does_not_have_are_refused():
    model = make_model("llama")
    with pytest.raises(AdapterError, match=r"expected: 21 tensors(?s:.*)got: model.extra unexpected"):
        symmetry_of(model.config, state_of(model) | {"model.extra": torch.zeros(3)})


def test_a_config_of_other_sizes_is_refused():
    model = make_model("gpt2")
    config = make_model("gpt2-untied").config
    config.n_inner = 40
    with pytest.raises(
        AdapterError, match=r"got: transformer.h.0.mlp.c_fc.bias \[64\], transformer.h.0.mlp.c_fc.weight"
    ):
        symmetry_of(config, state_of(model))


def test_models_of_two_architectures_are_refused():
    first, second = make_model("llama"), make_model("gpt2")
    spec = symmetry_of(first.config, first.state_dict())
    message = r"the model to match does not have(?s:.*)embed_tokens.weight missing(?s:.*)remedy: build the spec from"
    with pytest.raises(AdapterError, match=message):
        match(state_of(first), to=state_of(second), spec=spec)


def test_the_model_that_does_not_fit_is_named():
    first, second = make_model("llama"), make_model("bert")
    spec = symmetry_of(second.config, second.state_dict())
    with pytest.raises(AdapterError, match="the model to move does not have"):
        match(state_of(first), to=state_of(second), spec=spec)


def test_two_vocabularies_are_refused():
    with pytest.raises(AdapterError, match=r"cannot be matched(?s:.*)got: up \[4, 2\] and \[4, 3\]"):
        match(STATE, to=STATE | {"up": torch.zeros(4, 3)}, spec=SPEC)


@pytest.mark.parametrize("shape", [(6,), (5, 2), (6, 2, 1)])
def test_a_tensor_of_another_shape_is_refused(shape):
    with pytest.raises(AdapterError, match=rf"the state does not have(?s:.*)got: v \[{', '.join(map(str, shape))}\]"):
        apply({}, STATE | {"v": torch.zeros(shape)}, SPEC)


def test_a_fused_parameter_that_does_not_divide_is_refused():
    spec = SymmetrySpec((Group("g", 2),), tuple(Block("w", (("g",),), part=(0, i, 3)) for i in range(3)))
    with pytest.raises(AdapterError, match=r"got: w \[7\]"):
        apply({}, {"w": torch.zeros(7)}, spec)


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (torch.full((4, 2), torch.nan), "up is not finite"),
        (torch.full((4, 2), torch.inf), "up is not finite"),
        (torch.zeros(4, 2, dtype=torch.int8), "up is torch.int8"),
    ],
)
def test_values_that_cannot_be_compared_are_refused(tensor, told):
    with pytest.raises(AdapterError, match=rf"the model to match has values(?s:.*)got: {told}(?s:.*)unquantised"):
        match(STATE, to=STATE | {"up": tensor}, spec=SPEC)


def test_a_broken_tie_is_refused():
    model = make_model("llama-tied")
    state = state_of(model)
    spec = symmetry_of(model.config, state)
    with pytest.raises(AdapterError, match=r"lm_head.weight differs from model.embed_tokens.weight"):
        match(state, to=state | {"lm_head.weight": state["lm_head.weight"] + 1}, spec=spec)


@pytest.mark.parametrize(
    ("permutations", "told"),
    [
        ({"mlp": torch.tensor([0, 1, 2])}, r"mlp \[3\] instead of \[4\]"),
        ({"mlp": torch.tensor([0, 1, 2, 2])}, "mlp is no permutation"),
        ({"mlp": torch.tensor([0.0, 1.0, 2.0, 3.0])}, "mlp is no permutation"),
        ({"dims": torch.tensor([0, 1, 2])}, r"dims \[3\] instead of \[2, 3\]"),
        ({"dims": torch.tensor([[0, 1, 2], [0, 0, 2]])}, "dims is no permutation"),
        ({"residual": torch.tensor([0])}, "residual is not a group"),
    ],
)
def test_permutations_that_do_not_fit_are_refused(permutations, told):
    with pytest.raises(AdapterError, match=rf"the permutations do not fit(?s:.*)got: {told}"):
        apply(permutations, STATE, SPEC)


def test_a_matrix_that_is_no_rotation_is_refused():
    spec = SymmetrySpec((Group("g", 2, rotation=True),), (Block("w", (("g",), (-1,))),))
    with pytest.raises(AdapterError, match="g is no orthogonal matrix"):
        apply({"g": 2 * torch.eye(2)}, {"w": torch.zeros(2, 2)}, spec)


@pytest.mark.parametrize(
    ("groups", "blocks", "told"),
    [
        ((Group("a", 2), Group("a", 3)), (), "two groups of one name"),
        ((Group("b", 2, within="a"),), (), "b is within a, which is no outer group"),
        ((Group("a", 2), Group("b", 2, within="a"), Group("c", 2, within="b")), (), "c is within b, which is no"),
        ((Group("a", 2), Group("b", 2, within="a", rotation=True)), (), "b can be rotated and has an outer or inner"),
        ((Group("a", 2, rotation=True), Group("b", 2, within="a")), (), "a can be rotated and has an outer or inner"),
        ((), (Block("w", (("a",),)),), "w has the axis a, which is no group"),
        ((Group("a", 2), Group("b", 2, within="a")), (Block("w", (("b", "a"),)),), "w has b before or without a"),
        ((Group("a", 2), Group("b", 2, within="a")), (Block("w", (("a", "b"), ("a",))),), "w has a twice"),
        ((Group("a", 2),), (Block("w", (("a", -1),)),), "w has an axis of any size beside others"),
    ],
)
def test_a_spec_that_contradicts_itself_is_refused(groups, blocks, told):
    with pytest.raises(AdapterError, match=rf"contradict each other(?s:.*)got: (?s:.*){told}"):
        SymmetrySpec(groups, blocks)


def test_random_permutations_fit_their_spec():
    moved = apply(random_permutations(SPEC, seed=0), STATE, SPEC)
    assert {name: tensor.shape for name, tensor in moved.items()} == {name: t.shape for name, t in STATE.items()}

"""What cannot work is refused before the model is touched."""

import pytest
import torch
from peft import get_peft_model
from peft_oracle import logits
from torch import nn

from modeconn.adapters.methods import LorettaAdpConfig, LorettaRepConfig, WeGeFTConfig
from modeconn.errors import AdapterError

RANK, NUMBER = "a whole number above 0", "a finite number other than 0"
SHAPES = "a list of lists of whole numbers above 0, each list with another product"


class Rounded(nn.Linear):
    """A linear module whose weight is stored in eighths, as whole numbers of 8 bits."""

    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, bias=False)
        self.weight = nn.Parameter((self.weight * 8).round().to(torch.int8), requires_grad=False)

    def forward(self, x):
        return x @ (self.weight.to(x.dtype) / 8).T


class Pair(nn.Module):
    """Two modules of one name in two layers, as users write them by hand."""

    def __init__(self, first, second):
        super().__init__()
        self.layers = nn.ModuleList([nn.ModuleDict({"q": one}) for one in (first, second)])

    def forward(self, x):
        return self.layers[1]["q"](self.layers[0]["q"](x))


@pytest.mark.parametrize(
    ("config", "setting", "value", "expected"),
    [
        (WeGeFTConfig, "r", 0, RANK),
        (WeGeFTConfig, "r", 2.5, RANK),
        (WeGeFTConfig, "r", True, RANK),
        (WeGeFTConfig, "alpha", float("nan"), NUMBER),
        (WeGeFTConfig, "alpha", 0, NUMBER),
        (WeGeFTConfig, "dropout", 1.0, "a number from 0 to below 1"),
        (WeGeFTConfig, "dropout", -0.1, "a number from 0 to below 1"),
        (WeGeFTConfig, "form", "both", "input|output"),
        (WeGeFTConfig, "form", "", "input|output"),
        (WeGeFTConfig, "tied", "yes", "true or false"),
        (WeGeFTConfig, "layers_pattern", "h", "layers_to_transform to be given with it"),
        (LorettaRepConfig, "r", -1, RANK),
        (LorettaRepConfig, "alpha", "16", NUMBER),
        (LorettaRepConfig, "dropout", "0", "a number from 0 to below 1"),
        (LorettaRepConfig, "tensor_rank", 0, RANK),
        (LorettaRepConfig, "start", "random", "zero|published"),
        (LorettaRepConfig, "tensor_shapes", [8, 8], SHAPES),
        (LorettaRepConfig, "tensor_shapes", [[8, 0]], SHAPES),
        (LorettaRepConfig, "tensor_shapes", [[]], SHAPES),
        (LorettaRepConfig, "tensor_shapes", "8x8", SHAPES),
        (LorettaRepConfig, "tensor_shapes", [[8, 2], [4, 4]], SHAPES),
        (LorettaAdpConfig, "bottleneck", 0, RANK),
        (LorettaAdpConfig, "scaling", float("inf"), NUMBER),
        (LorettaAdpConfig, "tensor_rank", None, RANK),
        (LorettaAdpConfig, "start", None, "zero|published"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused(config, setting, value, expected):
    with pytest.raises(AdapterError) as told:
        config(**{setting: value})
    name = config.__name__
    assert str(told.value) == (
        f"{name} has settings that cannot be used\n  expected: {setting}: {expected}\n"
        f"  got: {setting}={value!r}\n  remedy: change {setting} of {name}"
    )


def test_modules_that_share_a_pair_are_refused_where_none_is_shared():
    with pytest.raises(AdapterError, match=r"expected: tied_modules: none without tied\n"):
        WeGeFTConfig(tied=False, tied_modules={"q": ["q"]})


def test_all_such_settings_are_named_at_once():
    with pytest.raises(AdapterError, match=r"got: alpha=0, r=0\n"):
        WeGeFTConfig(r=0, alpha=0)


@pytest.mark.parametrize("method", ["wegeft tied", "loretta rep", "loretta adp"])
def test_modules_that_are_not_linear_are_refused_and_the_model_stays_as_it_was(method, base, settings):
    model = base("llama")
    with pytest.raises(AdapterError, match=r"embed_tokens cannot .*\n  expected: torch\.nn\.Linear .*\n  got: torch"):
        get_peft_model(model, settings(method, "llama", target_modules=["q_proj", "embed_tokens"]))
    with pytest.raises(AdapterError, match="cannot get this adapter"):
        get_peft_model(model, settings(method, "llama", target_modules=["q_proj", "self_attn"]))
    assert {type(part).__name__ for name, part in model.named_modules() if name.endswith("q_proj")} == {"Linear"}
    assert torch.equal(logits(model), logits(base("llama")))


def test_an_output_projection_that_pytorch_never_calls_is_refused():
    model = Pair(nn.MultiheadAttention(8, 2), nn.Identity())
    with pytest.raises(AdapterError, match=r"q\.out_proj cannot .*\n.*\n  got: .*NonDynamicallyQuantizableLinear\n"):
        get_peft_model(model, WeGeFTConfig(target_modules=["out_proj"]))


def test_wegeft_of_a_quantised_weight_is_refused():
    with pytest.raises(AdapterError, match=r"0\.q cannot be computed with\n  expected: .*\n  got: int8 in Rounded\n"):
        get_peft_model(Pair(Rounded(8, 8), Rounded(8, 8)), WeGeFTConfig(target_modules=["q"]))


@pytest.mark.parametrize(
    "config", [LorettaRepConfig(r=2, target_modules=["q"]), LorettaAdpConfig(target_modules=["q"])]
)
def test_loretta_stands_beside_a_quantised_weight(config, moved):
    torch.manual_seed(0)
    model = Pair(Rounded(8, 8), Rounded(8, 8))
    features = torch.randn(3, 8)
    expected = model(features)
    adapted = get_peft_model(model, config)
    assert torch.equal(adapted(features), expected)
    assert not torch.allclose(moved(adapted)(features), expected, atol=1e-2)


def test_an_update_is_not_merged_into_a_quantised_weight():
    model = get_peft_model(Pair(Rounded(8, 8), Rounded(8, 8)), LorettaRepConfig(r=2, target_modules=["q"]))
    with pytest.raises(AdapterError, match="remedy: load the base model without quantisation"):
        model.merge_adapter()


@pytest.mark.parametrize(("form", "told"), [("input", r"one input width\n.*q 8, .*q 6\n"), ("output", r"one output w")])
def test_a_pair_cannot_be_shared_by_modules_of_other_widths(form, told):
    model = Pair(nn.Linear(8, 6), nn.Linear(6, 8))
    with pytest.raises(AdapterError, match=rf"layers\.\*\.q cannot share one WeGeFT pair\n  expected: {told}"):
        get_peft_model(model, WeGeFTConfig(form=form, target_modules=["q"]))
    assert get_peft_model(model, WeGeFTConfig(form=form, tied=False, target_modules=["q"])).targeted_module_names


@pytest.mark.parametrize("config", [LorettaRepConfig(r=2), LorettaAdpConfig(bottleneck=2)])
def test_a_shape_that_no_matrix_has_is_refused(config):
    config.target_modules, config.tensor_shapes = {"q"}, [[4, 4], [5, 2]]
    with pytest.raises(AdapterError, match=r"products among 16: .* times 2\n  got: \[5, 2\] with product 10\n"):
        get_peft_model(Pair(nn.Linear(8, 8), nn.Linear(8, 8)), config)


def test_a_tied_adapter_needs_the_names_of_all_its_modules(trained):
    model = trained("wegeft tied", "llama")
    with pytest.raises(AdapterError, match=r"by the names in its file\n.*\n  got: tied=True"):
        model.base_model.inject_adapter(model.base_model.model, "default", state_dict={})


def test_targets_that_the_model_lacks_are_refused_by_peft(base, settings):
    with pytest.raises(ValueError, match="not found in the base model"):
        get_peft_model(base("llama"), settings("wegeft tied", "llama", target_modules=["query"]))

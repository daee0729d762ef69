"""Gradients against finite differences, in float64."""

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer

METHODS = ["wegeft per layer", "wegeft per layer output", "loretta rep", "loretta adp"]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_of_a_layer_are_finite_differences(method, family, trained):
    model = trained(method, family, dtype=torch.float64)
    layer = next(part for part in model.modules() if isinstance(part, BaseTunerLayer))
    named = {name: one.detach().clone() for name, one in layer.named_parameters() if "base_layer" not in name}
    features = torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def outputs(features, *values):
        return torch.func.functional_call(layer, dict(zip(named, values, strict=True)), (features,))

    inputs = tuple(one.double().requires_grad_() for one in (features, *named.values()))
    assert torch.autograd.gradcheck(outputs, inputs)


def test_a_tied_pair_gets_the_gradients_of_all_its_modules(trained):
    tied, own = (trained(method, "llama", dtype=torch.float64) for method in ("wegeft tied", "wegeft per layer"))
    tied_pairs = {name: one for name, one in tied.named_parameters() if "wegeft" in name}
    for name, one in own.named_parameters():
        if "wegeft" in name:  # the same function: each module has a copy of the shared pair
            one.data.copy_(tied_pairs[name.replace("layers.1.", "layers.0.")].data)
    gradients = {}
    for model in (tied, own):
        model(input_ids=torch.tensor([[1, 5, 9, 7]])).logits.square().sum().backward()
        gradients[model] = {name: one.grad for name, one in model.named_parameters() if "wegeft" in name}
    for name, gradient in gradients[tied].items():
        expected = gradients[own][name] + gradients[own][name.replace("layers.0.", "layers.1.")]
        torch.testing.assert_close(gradient, expected)

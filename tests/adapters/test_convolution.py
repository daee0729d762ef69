"""LoRA and DoRA of convolutions are what PEFT makes of them."""

import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

import modeconn as mc
from modeconn.errors import AdapterError
from modeconn.models.placing import check_fits, placed


class Net(nn.Module):
    """Convolutions over a line and over an image."""

    def __init__(self):
        super().__init__()
        self.line = nn.Conv1d(2, 6, 3)
        self.image = nn.Conv2d(1, 5, (3, 2), stride=2)

    def forward(self, values):
        return self.image(torch.tanh(self.line(values))[:, None])


def fresh():
    torch.manual_seed(0)
    return Net().double().eval()


@pytest.fixture(params=[{}, {"use_dora": True}, {"lora_bias": True}])
def point(request, tmp_path):
    torch.manual_seed(1)
    settings = {"r": 2, "lora_alpha": 3, "target_modules": ["line", "image"], **request.param}
    peft_model = get_peft_model(fresh().float(), LoraConfig(**settings))
    for parameter in peft_model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(torch.randn_like(parameter) * 0.3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Adapter 'default': . LoRA tensor.* have invalid shape")  # biases are vectors
        peft_model.save_pretrained(tmp_path / "a")
    return mc.Adapter.from_pretrained(tmp_path / "a")


@torch.no_grad()
def test_outputs_are_those_of_peft(point):
    values = torch.randn(3, 2, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    net = fresh()
    check_fits(net, point, "the base")
    before = net(values)
    with placed(net, point):
        found = net(values)
    expected = PeftModel.from_pretrained(fresh(), point.source).double().eval()(values)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert (found - before).abs().max() > 0.1


class Grouped(nn.Module):
    """Convolutions whose outputs read a part of the inputs each; the last is one for each channel."""

    def __init__(self):
        super().__init__()
        self.halves = nn.Conv2d(4, 6, 3, groups=2)
        self.channels = nn.Conv1d(6, 6, 3, groups=6)


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups > 1")
@pytest.mark.parametrize("settings", [{}, {"use_dora": True}])
@pytest.mark.parametrize(("module", "groups"), [("halves", 2), ("channels", 6)])
def test_groups_are_refused_with_the_reason(module, groups, settings, tmp_path):
    config = LoraConfig(r=6, target_modules=[module], init_lora_weights=False, **settings)
    get_peft_model(Grouped(), config).save_pretrained(tmp_path / "a")
    told = rf"(?s)the update of {module} in .* is no change of its kernel\n.*groups={groups}.*remedy: leave .*exclude_"
    with pytest.raises(AdapterError, match=told):
        mc.Adapter.from_pretrained(tmp_path / "a")


@pytest.mark.filterwarnings("ignore:LoRA adapter added to ConvNd layer with groups > 1")
def test_the_pair_of_a_convolution_with_groups_reaches_across_them():
    """Why it is refused: the change of an output by inputs of another group has no place in the kernel."""
    peft_model = get_peft_model(
        Grouped().double(), LoraConfig(r=6, target_modules=["halves"], init_lora_weights=False)
    ).double()
    values = torch.zeros(1, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    wrapped = peft_model.base_model.model.halves
    first_group = wrapped(values)[:, :3].sum()
    (gradient,) = torch.autograd.grad(first_group, values)
    assert gradient[:, 2:].abs().max() > 0.01  # inputs of the second group

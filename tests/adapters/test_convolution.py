"""LoRA and DoRA of convolutions are what PEFT makes of them."""

import warnings

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

import modeconn as mc
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

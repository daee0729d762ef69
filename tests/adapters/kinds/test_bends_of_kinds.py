"""Bends between ends whose files hold more than two factors: AdaLoRA, VB-LoRA and their like."""

import pytest
import torch
from kind_cases import CASES
from kind_oracle import load, loaded_by_peft
from peft_oracle import logits
from random_tasks import random_task

import modeconn as mc
from modeconn.errors import FitError

KINDS = ["adalora", "vblora", "vblora-top", "delora", "gralora", "loretta"]


def fit_task():
    """Random words, to train on and to choose by."""
    records = [{"prompt": one.prompt, "answer": one.answer} for one in random_task().split("test")]
    return mc.Task.from_records("words", dict.fromkeys(("train", "eval", "test"), records))


@pytest.fixture(params=KINDS)
def ends(request, kinds):
    family, config, settings, std = CASES[request.param]
    return [mc.Adapter.from_pretrained(kinds(family, config, seed, std=std, **settings)) for seed in (1, 2)]


@pytest.mark.parametrize("space", ["weights", "aligned-factors"])
def test_a_fitted_bend_is_an_adapter_that_peft_loads(space, ends, bases, tmp_path):
    """As plain LoRA, and in PEFT, read back and in memory the same function."""
    base = bases("llama")
    model = load("llama", base, *ends, dtype="float32")
    fit = mc.fit_curve(mc.BezierCurve.between(*ends, space=space), model, [fit_task()], num_steps=2, learning_rate=0.05)
    bend = fit.curve.points[1]
    saved = bend.save_pretrained(tmp_path / "bend")
    again = mc.Adapter.from_pretrained(saved)
    assert again.config.kind.name == "LORA"
    with model.at(bend) as module:
        found = logits(module)
    with model.at(again) as module:
        assert torch.equal(logits(module), found)
    torch.testing.assert_close(found, logits(loaded_by_peft("llama", base, saved, torch.float32)), rtol=0, atol=2e-5)


@pytest.mark.parametrize("name", ["adalora", "vblora"])
def test_bends_in_factors_are_refused_with_the_way_out(name, bases, kinds):
    """A pair of factors would be another coordinate than the three tensors of AdaLoRA, or the bank of VB-LoRA."""
    family, config, settings, std = CASES[name]
    points = [mc.Adapter.from_pretrained(kinds(family, config, seed, std=std, **settings)) for seed in (1, 2)]
    curve = mc.BezierCurve.between(*points, space="factors")
    with pytest.raises(FitError, match=r'(?s)cannot be fitted in factors space.*remedy: fit the curve in space="weig'):
        mc.fit_curve(curve, load("llama", bases("llama"), *points, dtype="float32"), [fit_task()], num_steps=1)

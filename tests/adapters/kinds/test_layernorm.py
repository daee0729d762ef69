"""LN tuning: parameters that take the place of the base's."""

import peft
import torch
from kind_oracle import load, made
from kind_points import Base, fails, kind_point, random

import modeconn as mc

TENSORS = {"norm.ln_tuning_layers.weight": random(4), "norm.ln_tuning_layers.bias": random(4, seed=1)}
BASE = Base({"norm.weight": random(4, seed=2), "norm.bias": random(4, seed=3)})


def test_parameters_are_replaced():
    point = kind_point("LN_TUNING", TENSORS).on(BASE)
    for name in ("weight", "bias"):
        expected = TENSORS[f"norm.ln_tuning_layers.{name}"] - BASE.weight(f"norm.{name}")
        torch.testing.assert_close(point.updates[f"norm.{name}"].dense(), expected)


def test_a_norm_that_one_end_lacks_stays_the_bases_there(bases, kinds):
    folders = [
        kinds("llama", peft.LNTuningConfig, 1, target_modules=names) for names in (["norm"], ["input_layernorm"])
    ]
    ends = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = load("llama", bases("llama"), *ends)
    found = made(mc.LinearPath(*ends)(0.25), model)
    for end, weight in zip(ends, (0.75, 0.25), strict=True):
        for name, change in made(end, model).items():
            torch.testing.assert_close(found[name], weight * change)


def test_the_start_of_training_is_a_copy_of_the_base(bases, kinds):
    """Without the base it cannot be told from a trained norm."""
    folder = kinds("llama", peft.LNTuningConfig, None, target_modules=["norm"])
    point = mc.Adapter.from_pretrained(folder, allow_zero=True)
    assert all(not change.any() for change in made(point, load("llama", bases("llama"), point)).values())


def test_another_tensor_is_left_over():
    fails("LN_TUNING", TENSORS | {"norm.weight": random(4)}, "would not be used", "ln_tuning_layers", "norm.weight")


def test_no_tensor_at_all():
    fails("LN_TUNING", {}, "holds no update", "ln_tuning_layers, of one module at least")


def test_an_unknown_setting():
    fails("LN_TUNING", TENSORS, "weight update is not known", "settings of LN_TUNING", "r=2", r=2)

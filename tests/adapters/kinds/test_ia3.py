"""(IA)^3: which side of a module is scaled, its bias, and what its file may hold."""

import pytest
import torch
from kind_points import Base, fails, kind_point, random

from modeconn.errors import AdapterError

OUTPUTS = {"q.ia3_l": random(6, 1)}
INPUTS = {"q.ia3_l": random(1, 5)}
WEIGHT, BIAS = random(6, 5, seed=1), random(6, seed=2)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("tensors", [OUTPUTS, INPUTS])
def test_the_change_scales_one_side_of_the_weight(tensors, transposed):
    base = Base({"q.weight": WEIGHT.T if transposed else WEIGHT}, transposed)
    point = kind_point("IA3", tensors).within(base)
    found = WEIGHT + point.updates["q.weight"].dense(WEIGHT)
    torch.testing.assert_close(found, tensors["q.ia3_l"] * WEIGHT)
    bound = kind_point("IA3", tensors).on(base).updates["q.weight"].dense(transposed=transposed)
    torch.testing.assert_close(bound.T if transposed else bound, found - WEIGHT)


def test_a_bias_is_scaled_with_the_outputs_where_there_is_one():
    point = kind_point("IA3", OUTPUTS)
    with_bias = point.on(Base({"q.weight": WEIGHT, "q.bias": BIAS}))
    torch.testing.assert_close(with_bias.updates["q.bias"].dense(), (OUTPUTS["q.ia3_l"][:, 0] - 1) * BIAS)
    assert sorted(point.on(Base({"q.weight": WEIGHT})).updates) == ["q.weight"]


def test_inputs_leave_the_bias_alone():
    assert sorted(kind_point("IA3", INPUTS).updates) == ["q.weight"]


@pytest.mark.parametrize("named", [None, ["q"], r"q", r".*\.other|q"])
def test_the_config_says_whether_inputs_are_scaled(named):
    assert kind_point("IA3", INPUTS, feedforward_modules=named).updates["q.weight"].shape == (-1, 5)


@pytest.mark.parametrize(
    ("tensors", "named", "told"),
    [
        (OUTPUTS, ["q"], ("ia3_l [1, in], as the module is one of feedforward_modules", "ia3_l [6, 1]")),
        (INPUTS, ["other"], ("expected: ia3_l [out, 1]", "ia3_l [1, 5]")),
        (INPUTS, "other", ("expected: ia3_l [out, 1]", "ia3_l [1, 5]")),
        ({"q.ia3_l": random(1, 5, 1, 1)}, None, ("ia3_l [1, 5, 1, 1]", "convolutions are not supported")),
        ({"q.ia3_l": random(5)}, None, ("ia3_l [5]", "use the adapter_config.json")),
    ],
)
def test_a_shape_that_is_not_the_configs(tensors, named, told):
    fails("IA3", tensors, "the tensors of q in the adapter do not fit", *told, feedforward_modules=named)


@pytest.mark.parametrize("value", ["(", 3, [1]])
def test_names_that_cannot_be_read(value):
    fails(
        "IA3", OUTPUTS, "settings that cannot be read", f"got: feedforward_modules={value!r}", feedforward_modules=value
    )


def test_another_tensor_is_left_over():
    fails("IA3", OUTPUTS | {"q.other": random(2)}, "would not be used", "an ia3_l of each module", "q.other")


def test_no_tensor_at_all():
    fails("IA3", {}, "holds no update", "an ia3_l of each module")


def test_an_unknown_setting():
    fails("IA3", OUTPUTS, "weight update is not known", "settings of IA3", "scale=2", scale=2)


def test_a_norm_needs_the_base():
    with pytest.raises(AdapterError, match=r"(?s)a function of the base model's weights.*point\.on\(model\)"):
        kind_point("IA3", OUTPUTS).norm()
    point = kind_point("IA3", OUTPUTS).on(Base({"q.weight": WEIGHT}))
    assert point.norm() == pytest.approx(float(((OUTPUTS["q.ia3_l"] - 1) * WEIGHT).norm()))

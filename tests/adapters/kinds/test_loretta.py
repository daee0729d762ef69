"""LoRETTA: updates and bottlenecks whose matrices are tensor-trains, and what a file may hold."""

import pytest
import torch
from kind_oracle import assert_gate, loaded_by_peft
from kind_points import PREFIX, fails, kind_point, random
from peft_oracle import logits

import modeconn as mc
from modeconn.adapters.methods import LorettaAdpConfig
from modeconn.errors import AdapterError, PathError
from modeconn.paths import LinearPath

# Matrices [6, 2] and [2, 4] as trains of two cores.
REP = {
    "q.loretta_rep_down.0": random(1, 4, 2),
    "q.loretta_rep_down.1": random(2, 3, 1),
    "q.loretta_rep_up.0": random(1, 2, 3, seed=1),
    "q.loretta_rep_up.1": random(3, 4, 1, seed=1),
}
SETTINGS = {"r": 2, "alpha": 3}
ADP = {
    "o.loretta_adp_down.0": random(1, 4, 2),
    "o.loretta_adp_down.1": random(2, 2, 1),
    "o.loretta_adp_up.0": random(1, 4, 2, seed=1),
    "o.loretta_adp_up.1": random(2, 2, 1, seed=1),
    "o.loretta_adp_down_bias": random(2),
    "o.loretta_adp_up_bias": random(4),
}
TARGETS = {"target_modules": ["o_proj", "down_proj"], "bottleneck": 4, "tensor_rank": 3, "scaling": 1.5}


def contracted(first, second, rows, columns):
    """The matrix of two cores."""
    return torch.einsum("anr,rmb->nm", first, second).reshape(rows, columns)


def test_the_update_is_the_product_of_two_trains():
    d0, d1, u0, u1 = REP.values()
    update = kind_point("LORETTA_REP", REP, **SETTINGS).updates["q.weight"]
    expected = 1.5 * (contracted(d0, d1, 6, 2) @ contracted(u0, u1, 2, 4)).T
    torch.testing.assert_close(update.dense(), expected)
    assert (update.shape, update.rank) == ((4, 6), 2)
    up, down = update.factors()
    torch.testing.assert_close(up @ down, expected)


@pytest.mark.parametrize("name", REP)
def test_one_core_of_zeros_is_no_update(name):
    assert kind_point("LORETTA_REP", REP | {name: torch.zeros_like(REP[name])}, **SETTINGS).is_zero


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ([1, 2, 3], ("would not be used", "q.loretta_rep_down.1")),
        ([0, 2, 3], ("cores of a tensor-train do not fit together: q in the adapter", "[1, 4, 2]")),
        ([0, 1, 3], ("lacks a tensor", f"expected: {PREFIX}q.loretta_rep_up.0")),
    ],
)
def test_a_missing_core(rest, told):
    fails("LORETTA_REP", {name: REP[name] for name in map(list(REP).__getitem__, rest)}, *told, **SETTINGS)


@pytest.mark.parametrize(
    ("changed", "settings", "told"),
    [
        ({"q.loretta_rep_up.1": random(2, 4, 1)}, {}, ("do not fit together: q in", "[1, 2, 3], [2, 4, 1]")),
        ({"q.loretta_rep_up.0": random(2, 3)}, {}, ("do not fit together: q in", "[2, 3]")),
        ({}, {"r": 5}, ("does not hold the matrix that it stands for: q in", "5 x 1 = 5 entries", "2 x 4 = 8")),
    ],
)
def test_cores_that_do_not_fit(changed, settings, told):
    fails("LORETTA_REP", REP | changed, *told, **(SETTINGS | settings))


def test_factors_of_different_scalings_are_not_averaged():
    ends = [kind_point("LORETTA_REP", REP, r=2, alpha=alpha) for alpha in (3, 4)]
    assert ends[0].fingerprint != ends[1].fingerprint
    with pytest.raises(PathError, match=r"(?s)scale their factors differently.*alpha"):
        LinearPath(*ends, space="factors")


def test_bottlenecks_are_joined_in_their_own_tensors(bases, kinds):
    folders = tuple(kinds("llama", LorettaAdpConfig, seed, **TARGETS) for seed in (1, 2))
    assert_gate("llama", bases("llama"), folders, space="factors")


@pytest.mark.parametrize("t", [0.0, 0.5])
def test_a_point_between_bottlenecks_is_what_peft_makes_of_the_averaged_tensors(t, bases, kinds, tmp_path):
    ends = [mc.Adapter.from_pretrained(kinds("llama", LorettaAdpConfig, seed, **TARGETS)) for seed in (1, 2)]
    point = LinearPath(*ends, space="factors")(t)
    folder = point.save_pretrained(tmp_path / "point")
    assert torch.allclose(point.vector, (1 - t) * ends[0].vector + t * ends[1].vector)
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], dtype="float32")
    plain = logits(model.module)
    with model.at(point) as module:
        found = logits(module)
    torch.testing.assert_close(found, logits(loaded_by_peft("llama", bases("llama"), folder, torch.float32)))
    assert not torch.allclose(found, plain, atol=1e-2)


def test_bottlenecks_have_no_weights_to_be_joined_in():
    point = kind_point("LORETTA_ADP", ADP, bottleneck=2)
    with pytest.raises(AdapterError, match=r'(?s)without a weight update.*LORETTA_ADP.*space="factors"'):
        LinearPath(point, kind_point("LORETTA_ADP", ADP, bottleneck=2))


def test_bottlenecks_of_different_scalings_are_not_averaged():
    ends = [kind_point("LORETTA_ADP", ADP, bottleneck=2, scaling=scaling) for scaling in (1.0, 2.0)]
    with pytest.raises(PathError, match=r"(?s)scale their factors differently.*scaling"):
        LinearPath(*ends, space="factors")


def test_the_start_of_a_bottleneck_changes_nothing(kinds):
    start = kinds("llama", LorettaAdpConfig, None, **TARGETS)
    with pytest.raises(AdapterError, match="changes nothing"):
        mc.Adapter.from_pretrained(start)
    silent = {"o.loretta_adp_up.1": torch.zeros(2, 2, 1)}
    assert not kind_point("LORETTA_ADP", ADP | silent, bottleneck=2).is_zero  # its bias acts
    assert kind_point("LORETTA_ADP", ADP | silent | {"o.loretta_adp_up_bias": torch.zeros(4)}, bottleneck=2).is_zero


@pytest.mark.parametrize("name", ADP)
def test_a_bottleneck_that_lacks_a_tensor(name):
    told = {
        "o.loretta_adp_down.1": ("cores of a tensor-train do not fit together: o in the adapter",),
        "o.loretta_adp_up.1": ("cores of a tensor-train do not fit together: o in the adapter",),
        "o.loretta_adp_down_bias": ("would not be used", "o.loretta_adp_down.0"),
    }.get(name, ("lacks a tensor", f"expected: {PREFIX}{name}"))
    fails("LORETTA_ADP", {key: value for key, value in ADP.items() if key != name}, *told, bottleneck=2)


@pytest.mark.parametrize(
    ("changed", "settings", "told"),
    [
        ({}, {"bottleneck": 3}, ("the tensors of o in the adapter do not fit", "down_bias [3], the bottleneck")),
        ({"o.loretta_adp_up_bias": random(5)}, {}, ("does not hold the matrix", "5 x 2 = 10 entries", "4 x 2 = 8")),
        ({"o.loretta_adp_up_bias": random(4, 1)}, {}, ("do not fit together", "up_bias [out]", "up_bias [4, 1]")),
    ],
)
def test_a_bottleneck_of_shapes_that_do_not_fit(changed, settings, told):
    fails("LORETTA_ADP", ADP | changed, *told, **({"bottleneck": 2} | settings))


def test_a_file_without_bottlenecks():
    heads = {"score.weight": random(3, 4)}
    told = "holds no adapter of a module", "cores and biases of loretta_adp", "saved modules only: score.weight"
    fails("LORETTA_ADP", heads, *told, modules_to_save=["score"])


@pytest.mark.parametrize("kind", ["LORETTA_REP", "LORETTA_ADP"])
def test_an_unknown_setting(kind):
    fails(kind, {}, "settings whose weight update is not known", f"settings of {kind}", "beta=1", beta=1)


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("LORETTA_REP", "r", 0),
        ("LORETTA_REP", "alpha", None),
        ("LORETTA_ADP", "bottleneck", 1.5),
        ("LORETTA_ADP", "scaling", 0),
    ],
)
def test_a_setting_of_the_wrong_kind(kind, key, value):
    fails(kind, {}, "settings that cannot be read", f"got: {key}={value!r}", **{key: value})

"""WeGeFT: updates that the base's weight generates, tied or not, and what a file may hold."""

import pytest
import torch
from kind_points import PREFIX, Base, fails, kind_point, random

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.part import LowRank
from modeconn.errors import PathError
from modeconn.paths import LinearPath

INPUT = {"a.q.wegeft_phi": random(2, 5), "a.q.wegeft_psi": random(2, 5, seed=1)}
OUTPUT = {"a.q.wegeft_phi": random(6, 2), "a.q.wegeft_psi": random(2, 6, seed=1)}
ALONE = {"r": 2, "alpha": 3, "tied": False}
TIED = {"r": 2, "alpha": 3, "tied_modules": {"*.q": ["a.q", "b.q"]}}
BASE = Base({"a.q.weight": random(6, 5, seed=2), "b.q.weight": random(4, 5, seed=3)})


@pytest.mark.parametrize("form", ["input", "output"])
def test_the_update_is_made_of_the_weight(form):
    phi, psi = (INPUT if form == "input" else OUTPUT).values()
    weight = BASE.weight("a.q.weight")
    point = kind_point("WEGEFT", INPUT if form == "input" else OUTPUT, **ALONE, form=form)
    expected = 1.5 * (weight @ phi.T @ psi if form == "input" else phi @ psi @ weight)
    torch.testing.assert_close(point.updates["a.q.weight"].dense(weight), expected)
    torch.testing.assert_close(point.on(BASE).updates["a.q.weight"].dense(), expected)


def test_tied_modules_share_one_pair():
    point = kind_point("WEGEFT", INPUT, **TIED).on(BASE)
    phi, psi = INPUT.values()
    for name in ("a.q.weight", "b.q.weight"):
        torch.testing.assert_close(point.updates[name].dense(), 1.5 * BASE.weight(name) @ phi.T @ psi)


def test_a_bound_update_is_low_rank():
    part = kind_point("WEGEFT", INPUT, **TIED).on(BASE).updates["b.q.weight"].parts[0]
    assert isinstance(part, LowRank)
    assert part.down.shape == (2, 5)


@pytest.mark.parametrize("setting", [{"alpha": 4}, {"form": "output"}])
def test_settings_count(setting):
    square = {"a.q.wegeft_phi": random(2, 2), "a.q.wegeft_psi": random(2, 2, seed=1)}
    ends = [kind_point("WEGEFT", square, **(ALONE | one)) for one in ({}, setting)]
    assert ends[0].fingerprint != ends[1].fingerprint
    with pytest.raises(PathError, match=r"(?s)scale their factors differently"):
        LinearPath(*ends, space="factors")


def test_pairs_that_serve_other_modules_are_no_common_coordinates():
    fewer = TIED | {"tied_modules": {"*.q": ["a.q"]}}
    ends = [kind_point("WEGEFT", INPUT, **settings) for settings in (TIED, fewer)]
    with pytest.raises(PathError, match="different scalings in tied_modules"):
        LinearPath(*ends, space="factors")


def test_the_name_of_a_group_does_not_count():
    renamed = TIED | {"tied_modules": {"queries": ["a.q", "b.q"]}}
    ends = [kind_point("WEGEFT", INPUT, **settings) for settings in (TIED, renamed)]
    assert LinearPath(*ends, space="factors")(0.5).updates.keys() == {"a.q.weight", "b.q.weight"}


def test_tied_modules_that_are_not_named():
    fails("WEGEFT", INPUT, "does not say which modules it updates", "tied_modules", "got: None", r=2)


@pytest.mark.parametrize("name", INPUT)
def test_a_missing_tensor(name):
    rest = {key: value for key, value in INPUT.items() if key != name}
    fails("WEGEFT", rest, "lacks a tensor", f"expected: {PREFIX}{name}", **TIED)


def test_a_pair_that_no_group_uses():
    extra = {"b.q.wegeft_phi": random(2, 5), "b.q.wegeft_psi": random(2, 5)}
    fails("WEGEFT", INPUT | extra, "would not be used", "wegeft_phi and wegeft_psi", "b.q.wegeft_phi", **TIED)


@pytest.mark.parametrize(
    ("tensors", "settings", "told"),
    [
        (INPUT, {"r": 3}, ("phi [r, in] and psi [r, in] with r = 3", "phi [2, 5], psi [2, 5]")),
        (INPUT | {"a.q.wegeft_psi": random(2, 6)}, {}, ("phi [r, in]", "phi [2, 5], psi [2, 6]")),
        (INPUT, {"form": "output"}, ("phi [out, r] and psi [r, out] with r = 2", "phi [2, 5]")),
        (INPUT | {"a.q.wegeft_phi": random(5)}, {}, ("phi [r, in]", "phi [5]")),
    ],
)
def test_shapes_that_do_not_fit(tensors, settings, told):
    fails("WEGEFT", tensors, "the tensors of a.q in the adapter do not fit together", *told, **(ALONE | settings))


@pytest.mark.parametrize(
    ("key", "value"),
    [("r", 0), ("alpha", "3"), ("form", "both"), ("tied", 1), ("tied_modules", {"*": []}), ("tied_modules", ["a"])],
)
def test_a_setting_of_the_wrong_kind(key, value):
    fails("WEGEFT", INPUT, "settings that cannot be read", f"got: {key}={value!r}", **(TIED | {key: value}))


def test_an_unknown_setting():
    fails("WEGEFT", INPUT, "weight update is not known", "settings of WEGEFT", "beta=1", **TIED, beta=1)


def test_a_line_of_bound_ends_can_be_saved_as_lora(tmp_path):
    ends = [kind_point("WEGEFT", INPUT, **(TIED | {"alpha": alpha})) for alpha in (3, 9)]
    middle = LinearPath(*ends)(0.5).on(BASE)
    saved = Adapter.from_pretrained(middle.save_pretrained(tmp_path / "middle"))
    for name in ("a.q.weight", "b.q.weight"):
        first, second = (end.updates[name].dense(BASE.weight(name)) for end in ends)
        torch.testing.assert_close(saved.updates[name].dense(), (first + second) / 2)

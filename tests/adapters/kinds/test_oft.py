"""OFT: rotations, their approximations, and what a file may hold."""

import pytest
import torch
from kind_points import Base, fails, kind_point, random
from peft.tuners.oft.layer import OFTRotationModule

from modeconn.errors import AdapterError, PathError
from modeconn.paths import LinearPath

ENTRIES = 0.4 * random(2, 3)  # two blocks of 3
SHARED = 0.4 * random(1, 3)
WEIGHT = random(4, 6, seed=1)
BASE = Base({"q.weight": WEIGHT})
OFT = {"oft_block_size": 3, "r": 0, "peft_version": "0.21.2"}
EXACT = OFT | {"use_cayley_neumann": False}


def rotated(entries, name="oft_R", **settings):
    """The weight with the change in it."""
    point = kind_point("OFT", {f"q.{name}.weight": entries}, **(OFT | settings)).on(BASE)
    return WEIGHT + point.updates["q.weight"].dense()


@pytest.mark.parametrize("entries", [ENTRIES, SHARED])
def test_the_exact_form_keeps_the_lengths_and_angles_of_rows(entries):
    found = rotated(entries, block_share=len(entries) == 1, use_cayley_neumann=False)
    torch.testing.assert_close(found @ found.T, WEIGHT @ WEIGHT.T, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, WEIGHT, atol=0.1)


def test_many_terms_of_the_series_are_the_exact_form_of_the_opposite_rotation():
    """PEFT has another sign in either form."""
    torch.testing.assert_close(
        rotated(ENTRIES / 4, num_cayley_neumann_terms=30), rotated(-ENTRIES / 4, use_cayley_neumann=False)
    )


@pytest.mark.parametrize("terms", range(1, 9))
def test_any_number_of_terms_is_summed_as_in_peft(terms):
    reference = OFTRotationModule(2, 3, 3, 6, use_cayley_neumann=True, num_cayley_neumann_terms=terms)
    reference.weight.data.copy_(ENTRIES)
    expected = WEIGHT @ reference.get_weight().T
    torch.testing.assert_close(rotated(ENTRIES, num_cayley_neumann_terms=terms), expected.detach())


@pytest.mark.parametrize("eps", [0.01, 100.0])
def test_the_bounded_form_scales_blocks_of_a_large_norm(eps):
    reference = OFTRotationModule(2, 3, 3, 6, coft=True, eps=eps, use_cayley_neumann=False)
    reference.weight.data.copy_(ENTRIES)
    expected = WEIGHT @ reference.get_weight().T
    found = rotated(ENTRIES, coft=True, eps=eps, use_cayley_neumann=False)
    torch.testing.assert_close(found, expected.detach())
    assert torch.allclose(found, rotated(ENTRIES, use_cayley_neumann=False)) == (eps == 100.0)


def test_rows_of_a_table_are_turned_the_other_way():
    torch.testing.assert_close(
        rotated(ENTRIES, "oft_embedding_R", use_cayley_neumann=False), rotated(-ENTRIES, use_cayley_neumann=False)
    )


@pytest.mark.parametrize(
    "setting",
    [{"coft": True, "eps": 0.1}, {"use_cayley_neumann": False}, {"num_cayley_neumann_terms": 4}],
)
def test_settings_count(setting):
    tensors = {"q.oft_R.weight": ENTRIES}
    ends = [kind_point("OFT", tensors, **OFT), kind_point("OFT", tensors, **(OFT | setting))]
    assert ends[0].fingerprint != ends[1].fingerprint
    with pytest.raises(PathError, match=rf"(?s)scale their factors differently.*{next(iter(setting))}"):
        LinearPath(*ends, space="factors")


def test_a_shared_block_counts():
    tensors = {"q.oft_R.weight": SHARED}
    points = [kind_point("OFT", tensors, **OFT, block_share=shared) for shared in (False, True)]
    assert points[0].fingerprint != points[1].fingerprint
    assert [point.updates["q.weight"].shape for point in points] == [(-1, 3), (-1, -1)]


def test_a_shared_block_that_does_not_divide_the_inputs():
    point = kind_point("OFT", {"q.oft_R.weight": random(1, 6)}, **OFT, block_share=True)
    with pytest.raises(AdapterError, match=r"(?s)does not fit the base.*that blocks of 4 divide.*\[4, 6\].*remedy"):
        point.on(BASE)


@pytest.mark.parametrize("entries", [random(2, 4), random(3), random(2, 3, 1)])
def test_entries_that_are_no_triangles(entries):
    told = "the tensors of q in the adapter do not fit", "oft_R [blocks, b (b - 1) / 2]", f"oft_R {list(entries.shape)}"
    fails("OFT", {"q.oft_R.weight": entries}, *told, **OFT)


def test_many_blocks_where_one_should_be_shared():
    fails(
        "OFT", {"q.oft_R.weight": ENTRIES}, "do not fit", "oft_R [1, b (b - 1) / 2]", "[2, 3]", **OFT, block_share=True
    )


def test_another_tensor_is_left_over():
    tensors = {"q.oft_R.weight": ENTRIES, "q.oft_s": random(4, 1)}
    fails("OFT", tensors, "would not be used", "an oft_R or oft_embedding_R of each module", "q.oft_s", **OFT)


WITHOUT_VERSION = {key: value for key, value in OFT.items() if key != "peft_version"}


@pytest.mark.parametrize("version", ["0.17.1", "0.9", "broken"])
def test_a_series_of_an_old_peft(version):
    settings = OFT | {"peft_version": version, "use_cayley_neumann": True}
    told = f"use_cayley_neumann=True of PEFT {version}: before 0.18", "train the adapter again with a current PEFT"
    fails("OFT", {"q.oft_R.weight": ENTRIES}, "weight update is not known", *told, **settings)


@pytest.mark.parametrize("settings", [WITHOUT_VERSION, WITHOUT_VERSION | {"peft_version": None}])
def test_a_series_without_a_version_is_of_an_old_peft(settings):
    """Every PEFT since 0.18 writes its version."""
    told = "use_cayley_neumann=True without a peft_version, which PEFT writes since 0.18: before", "train the adapter"
    fails("OFT", {"q.oft_R.weight": ENTRIES}, "weight update is not known", *told, **settings, use_cayley_neumann=True)


@pytest.mark.parametrize("more", [{"use_cayley_neumann": False}, {"num_cayley_neumann_terms": 2}, {"coft": True}])
def test_what_no_version_changed_needs_none(more):
    """The exact form, bounded or not, and a series of two terms, are those of PEFT 0.16 to 0.21."""
    settings = {"use_cayley_neumann": "num_cayley_neumann_terms" in more, **more}
    tensors = {"q.oft_R.weight": ENTRIES}
    found, expected = (
        kind_point("OFT", tensors, **(one | settings)).on(BASE).updates["q.weight"].dense()
        for one in (WITHOUT_VERSION, OFT)
    )
    assert torch.equal(found, expected)
    assert found.norm() > 1e-4


@pytest.mark.parametrize("version", ["0.18.0", "0.21.2", "1.0", "0.19.0.dev0@abc"])
def test_a_series_of_a_new_peft(version):
    settings = OFT | {"peft_version": version, "use_cayley_neumann": True}
    assert kind_point("OFT", {"q.oft_R.weight": ENTRIES}, **settings).updates


def test_a_rotation_of_peft_before_its_block_sizes():
    told = "holds rotations of PEFT before 0.16", "got: q.oft_r", "train the adapter again"
    fails("OFT", {"q.oft_r": random(2, 3, 3)}, *told, r=2, use_cayley_neumann=False)


def test_a_series_that_nothing_tells():
    told = "neither use_cayley_neumann nor peft_version", "train the adapter again"
    fails("OFT", {"q.oft_R.weight": ENTRIES}, "weight update is not known", *told, oft_block_size=3)


@pytest.mark.parametrize(
    ("key", "value"),
    [("coft", "yes"), ("eps", 0.0), ("num_cayley_neumann_terms", 0), ("num_cayley_neumann_terms", True)],
)
def test_a_setting_of_the_wrong_kind(key, value):
    fails("OFT", {"q.oft_R.weight": ENTRIES}, "cannot be read", f"got: {key}={value!r}", **(OFT | {key: value}))


def test_an_unknown_setting():
    told = "weight update is not known", "settings of OFT", "scaled=True"
    fails("OFT", {"q.oft_R.weight": ENTRIES}, *told, **OFT, scaled=True)

"""FourierFT: where the entries of the spectrum lie, and what a file may hold."""

import math

import pytest
import torch
from kind_points import Base, fails, kind_point, random

from modeconn.errors import AdapterError, PathError
from modeconn.paths import LinearPath

SPECTRUM = {"q.fourierft_spectrum": random(3)}
BASE = Base({"q.weight": random(4, 6)})


def by_hand(values, rows, columns, seed, scaling):
    """The sum of plane waves, one an entry."""
    places = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(seed))
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    total = torch.zeros(rows, columns)
    for place, value in zip(places.tolist(), values.tolist(), strict=False):
        phase = place // columns * row / rows + place % columns * column / columns
        total += value * torch.cos(2 * math.pi * phase)
    return total * scaling / (rows * columns)


@pytest.mark.parametrize("transposed", [False, True])
def test_the_change_is_a_sum_of_waves(transposed):
    base = Base({"q.weight": random(6, 4) if transposed else random(4, 6)}, transposed)
    point = kind_point("FOURIERFT", SPECTRUM, random_loc_seed=5, scaling=9.0).on(base)
    found = point.updates["q.weight"].dense(transposed=transposed)
    expected = by_hand(SPECTRUM["q.fourierft_spectrum"], 4, 6, 5, 9.0)
    torch.testing.assert_close(found.T if transposed else found, expected)


def test_settings_that_are_not_there_have_the_defaults_of_peft():
    written = kind_point("FOURIERFT", SPECTRUM, random_loc_seed=777, scaling=150.0)
    assert kind_point("FOURIERFT", SPECTRUM).fingerprint == written.fingerprint


@pytest.mark.parametrize("setting", [{"random_loc_seed": 1}, {"scaling": 151.0}])
def test_seed_and_scaling_count(setting):
    ends = [kind_point("FOURIERFT", SPECTRUM), kind_point("FOURIERFT", SPECTRUM, **setting)]
    assert ends[0].fingerprint != ends[1].fingerprint
    with pytest.raises(PathError, match=rf"(?s)scale their factors differently.*{next(iter(setting))}"):
        LinearPath(*ends, space="factors")


def test_only_the_base_knows_the_shape():
    point = kind_point("FOURIERFT", SPECTRUM)
    assert point.updates["q.weight"].shape == (-1, -1)
    assert point.updates["q.weight"].rank == 0
    with pytest.raises(AdapterError, match=r"(?s)Spectrum is a function of the base model's weights.*none"):
        point.updates["q.weight"].dense()


def test_a_base_with_fewer_entries_than_the_spectrum():
    point = kind_point("FOURIERFT", {"q.fourierft_spectrum": random(25)})
    with pytest.raises(
        AdapterError, match=r"(?s)does not fit the base.*at most 24 entries.* \[4, 6\].*got: 25.*remedy"
    ):
        point.on(BASE)


def test_a_spectrum_that_is_no_vector():
    wrong = {"q.fourierft_spectrum": random(3, 1)}
    fails("FOURIERFT", wrong, "the tensors of q in the adapter do not fit", "a vector", "fourierft_spectrum [3, 1]")


def test_another_tensor_is_left_over():
    fails(
        "FOURIERFT",
        SPECTRUM | {"q.indices": random(3)},
        "would not be used",
        "a fourierft_spectrum of each",
        "q.indices",
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [("random_loc_seed", None), ("scaling", 0.0), ("n_frequency", 0), ("n_frequency_pattern", {"q": "many"})],
)
def test_a_setting_of_the_wrong_kind(key, value):
    fails("FOURIERFT", SPECTRUM, "settings that cannot be read", f"got: {key}={value!r}", **{key: value})


def test_an_unknown_setting():
    fails("FOURIERFT", SPECTRUM, "weight update is not known", "settings of FOURIERFT", "alpha=3", alpha=3)

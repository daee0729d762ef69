"""Every kind of adapter is, at both ends and between, what PEFT makes of it."""

import pytest
import torch
from kind_cases import CASES, ONE_OF_EACH
from kind_oracle import (
    assert_average_of_factors,
    assert_gate,
    assert_line,
    assert_logits,
    assert_round_trip,
    assert_tensors_matter,
    changes,
)

import modeconn as mc
from modeconn.adapters.summary import rows_of
from modeconn.errors import AdapterError

OWN_PLACES = ("vblora-top",)  # which vectors have the largest logits differs between two adapters
STARTS_AT_THE_BASE = [
    "adalora",
    "boft",
    "delora",
    "gralora",
    "hra",
    "ia3",
    "loha",
    "lokr",
    "lokr-pairs",
    "loretta",
    "miss",
    "miss-bat",
    "oft",
    "randlora",
    "road",
    "shira",
    "vera",
    "vera-drawn",
    "wegeft",
]
HELD_TWICE = ("randlora", "vblora")  # copies beside each module; logits that are not used
pytestmark = [
    pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension"),  # BOFT has a kernel of its own
    pytest.mark.filterwarnings("ignore:Setting boft_n_butterfly_factor to 1"),
    pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False but the target module is `Conv1D`"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type"),  # a norm of Llama
    pytest.mark.filterwarnings("ignore:Specified to not load vera_A and vera_B"),
    pytest.mark.filterwarnings("ignore:Specified to not save vera_A and vera_B"),
    pytest.mark.filterwarnings("ignore:The symmetric initialization can NOT be performed when r is odd"),
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),
    pytest.mark.filterwarnings("ignore:Specified to not load"),
    pytest.mark.filterwarnings("ignore:Specified to not save"),
]


@pytest.fixture
def ends(request, bases, kinds):
    """Family, base and the folders of two adapters of a case."""
    family, config, settings, std = CASES[request.param]
    return family, bases(family), tuple(kinds(family, config, seed, std=std, **settings) for seed in (1, 2))


def of(names):
    """The cases of these names."""
    return pytest.mark.parametrize("ends", names, indirect=True)


@of(CASES)
def test_logits_are_those_of_peft_in_float64(ends):
    family, base, folders = ends
    for folder in folders:
        assert_logits(family, base, folder, "float64", 1e-9)


@of(ONE_OF_EACH)
def test_logits_are_those_of_peft_in_float32(ends):
    family, base, folders = ends
    assert_logits(family, base, folders[0], "float32", 2e-5)


@of(ONE_OF_EACH)
def test_logits_are_close_to_those_of_peft_in_bfloat16(ends):
    family, base, folders = ends
    assert_logits(family, base, folders[0], "bfloat16", 0.015)


@of(CASES)
def test_a_line_is_the_line_between_merged_weights(ends):
    assert_line(*ends, t=0.3)


@of([name for name in CASES if name not in OWN_PLACES])
def test_the_midpoint_of_factors_is_what_peft_makes_of_the_averaged_tensors(ends, tmp_path):
    assert_average_of_factors(*ends, tmp_path / "average")


@of(ONE_OF_EACH)
def test_a_path_is_evaluated_and_its_ends_agree_with_peft(ends):
    assert_gate(*ends, space="weights")


@of([name for name in ONE_OF_EACH if name not in OWN_PLACES])
def test_a_path_in_factors_is_evaluated_and_its_ends_agree_with_peft(ends):
    assert_gate(*ends, space="factors")


@of(ONE_OF_EACH)
def test_logits_are_bit_equal_after_saving(ends, tmp_path):
    family, base, folders = ends
    assert_round_trip(family, base, folders[0], tmp_path / "saved")


@of([name for name in CASES if not name.startswith(HELD_TWICE)])
def test_the_fingerprint_depends_on_every_tensor(ends):
    _, _, folders = ends
    assert_tensors_matter(folders[0])


@pytest.mark.parametrize("name", STARTS_AT_THE_BASE)
def test_the_start_of_training_changes_nothing(name, kinds):
    family, config, settings, _ = CASES[name]
    start = kinds(family, config, None, **settings)
    with pytest.raises(
        AdapterError, match=r"(?s)changes nothing.*all zero, as they are before the first training step"
    ):
        mc.Adapter.from_pretrained(start)
    assert mc.Adapter.from_pretrained(start, allow_zero=True).is_zero


@pytest.mark.parametrize(
    "names",
    [
        ("loha", "ia3"),
        ("oft", "fourier"),
        ("vera-drawn", "adalora"),
        ("ln", "wegeft"),
        ("loretta-gpt2", "ia3-gpt2"),
        ("hra", "miss"),
        ("shira", "delora"),
        ("vblora-top", "randlora"),
    ],
    ids="-and-".join,
)
def test_a_line_between_two_kinds_is_the_line_between_merged_weights(names, bases, kinds):
    cases = [CASES[name] for name in names]
    folders = tuple(kinds(case.family, case.config, 1, std=case.std, **case.settings) for case in cases)
    assert_line(cases[0].family, bases(cases[0].family), folders, t=0.4)


@of(["ia3", "oft", "boft", "fourier", "lokr", "ln"])
def test_a_line_without_factors_cannot_be_saved_as_an_adapter(ends, tmp_path):
    first, second = (mc.Adapter.from_pretrained(folder) for folder in ends[2])
    with pytest.raises(AdapterError, match=r"(?s)no factors.*expected: low-rank parts only.*remedy: "):
        mc.LinearPath(first, second)(0.5).save_pretrained(tmp_path / "middle")


@of(CASES)
def test_the_rank_that_is_told_bounds_that_of_the_change(ends):
    family, base, (folder, _) = ends
    expected = changes(family, base, folder)
    for row in rows_of(mc.Adapter.from_pretrained(folder)):
        if row.rank is not None and row.parameter in expected and len(row.shape) == 2:
            assert torch.linalg.matrix_rank(expected[row.parameter], rtol=1e-6) <= row.rank, row.parameter


@pytest.mark.parametrize(
    ("name", "ranks"),
    [("hra", {4}), ("loha-bert", {4}), ("vera", {4}), ("wegeft", {3}), ("miss", {4})]
    + [(name, {None}) for name in ("lokr", "oft", "randlora", "shira", "miss-bat", "road", "boft")],
)
def test_a_rank_is_told_where_the_settings_bound_it(name, ranks, kinds):
    family, config, settings, std = CASES[name]
    point = mc.Adapter.from_pretrained(kinds(family, config, 1, std=std, **settings))
    assert {row.rank for row in rows_of(point) if row.kind != "saved"} == ranks

"""VeRA: the shared matrices, saved or drawn anew, and what its file may hold."""

import pytest
import torch
from kind_points import Base, fails, kind_point, random

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.kinds.vera import drawn
from modeconn.errors import AdapterError, PathError
from modeconn.paths import LinearPath

VECTORS = {
    "q.vera_lambda_b": random(6),
    "q.vera_lambda_d": random(2),
    "v.vera_lambda_b": random(4, seed=1),
    "v.vera_lambda_d": random(2, seed=1),
}
SHARED = {"base_model.vera_A": random(2, 7), "base_model.vera_B": random(6, 2)}
BASE = Base({"q.weight": random(6, 5), "v.weight": random(4, 7)})
DRAWN = {"r": 2, "save_projection": False}


def expected(name, down, up, columns):
    rows, middle = VECTORS[f"{name}.vera_lambda_b"], VECTORS[f"{name}.vera_lambda_d"]
    return rows[:, None] * up[: len(rows)] @ (middle[:, None] * down[:, :columns])


@pytest.mark.parametrize("saved", [True, False])
def test_each_module_takes_its_corner_of_the_shared_matrices(saved):
    shared = SHARED if saved else {}
    down, up = SHARED.values() if saved else drawn(3, 2, 6, 7)
    point = kind_point("VERA", VECTORS | shared, r=2, save_projection=saved, projection_prng_key=3).within(BASE)
    for name, columns in (("q", 5), ("v", 7)):
        torch.testing.assert_close(point.updates[f"{name}.weight"].dense(), expected(name, down, up, columns))


def test_a_saved_corner_needs_the_weight_only():
    update = kind_point("VERA", VECTORS | SHARED, r=2).updates["q.weight"]
    torch.testing.assert_close(update.dense(BASE.weight("q.weight")), expected("q", *SHARED.values(), 5))


def test_a_drawn_corner_needs_the_whole_base():
    update = kind_point("VERA", VECTORS, **DRAWN).updates["q.weight"]
    with pytest.raises(AdapterError, match=r"(?s)VeRA is a function of the base model's weights.*point\.on\(model\)"):
        update.dense(BASE.weight("q.weight"))


def test_a_drawn_matrix_depends_on_the_largest_module():
    """The last bits as well: PEFT draws A before B from one generator, whatever a module takes of them."""
    wide = kind_point("VERA", VECTORS, **DRAWN).on(BASE).updates["q.weight"].dense()
    alone = {name: value for name, value in VECTORS.items() if name.startswith("q.")}
    narrow = kind_point("VERA", alone, **DRAWN).on(BASE).updates["q.weight"].dense()
    assert not torch.allclose(wide, narrow)


def test_the_shared_matrices_are_drawn_once():
    point = kind_point("VERA", VECTORS, **DRAWN)
    downs = [point.within(BASE).updates[f"{name}.weight"].parts[0].down for name in ("q", "v", "q")]
    assert len({down.untyped_storage().data_ptr() for down in downs}) == 1


def test_a_bound_point_has_low_rank_factors():
    update = kind_point("VERA", VECTORS | SHARED, r=2).on(BASE).updates["q.weight"]
    assert update.rank == 2
    up, down = update.factors()
    torch.testing.assert_close(up @ down, update.dense())


def test_the_seed_counts_where_the_matrices_are_drawn():
    ends = [kind_point("VERA", VECTORS, projection_prng_key=key, **DRAWN) for key in (0, 1)]
    assert ends[0].fingerprint != ends[1].fingerprint
    with pytest.raises(PathError, match=r"(?s)scale their factors differently.*projection_prng_key"):
        LinearPath(*ends, space="factors")


@pytest.mark.parametrize("name", ["q.vera_lambda_d", "v.vera_lambda_d"])
def test_a_missing_vector(name):
    rest = {key: value for key, value in VECTORS.items() if key != name}
    fails("VERA", rest, "lacks a tensor", name, **DRAWN)


def test_a_vector_without_its_partner_is_left_over():
    rest = {key: value for key, value in VECTORS.items() if key != "q.vera_lambda_b"}
    fails(
        "VERA", rest, "would not be used", "vera_lambda_b and vera_lambda_d of each module", "q.vera_lambda_d", **DRAWN
    )


@pytest.mark.parametrize("letter", ["A", "B"])
def test_a_missing_shared_matrix(letter):
    rest = {name: value for name, value in SHARED.items() if not name.endswith(letter)}
    told = (
        "lacks the random matrix",
        f"base_model.vera_{letter} of rank 2, as save_projection is true",
        "no such tensor",
    )
    fails("VERA", VECTORS | rest, *told, r=2)


def test_a_shared_matrix_of_another_rank():
    wrong = {"base_model.vera_B": random(6, 3)}
    fails("VERA", VECTORS | SHARED | wrong, "lacks the random matrix", "vera_B of rank 2", "of shape [6, 3]", r=2)


def test_shared_matrices_that_the_config_does_not_know():
    fails("VERA", VECTORS | SHARED, "would not be used", "base_model.vera_A, base_model.vera_B", **DRAWN)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"q.vera_lambda_d": random(3)}, ("vera_lambda_d [r] with r = 2", "vera_lambda_d [3]")),
        ({"q.vera_lambda_b": random(6, 1)}, ("vera_lambda_b [out]", "vera_lambda_b [6, 1]")),
        ({"q.vera_lambda_b": random(9)}, ("vera_lambda_b of at most 6, the rows of vera_B", "vera_lambda_b [9]")),
    ],
)
def test_vectors_that_do_not_fit(changed, told):
    fails("VERA", VECTORS | SHARED | changed, "the tensors of q in the adapter do not fit together", *told, r=2)


@pytest.mark.parametrize(("key", "value"), [("r", "2"), ("projection_prng_key", None), ("save_projection", "yes")])
def test_a_setting_of_the_wrong_kind(key, value):
    fails("VERA", VECTORS | SHARED, "settings that cannot be read", f"got: {key}={value!r}", **{"r": 2, key: value})


def test_an_unknown_setting():
    fails("VERA", VECTORS | SHARED, "weight update is not known", "settings of VERA", "share=3", r=2, share=3)


@pytest.mark.parametrize("early", [True, False])
def test_a_line_that_is_bound_to_a_base_can_be_saved_as_lora(early, tmp_path):
    ends = kind_point("VERA", VECTORS, **DRAWN), kind_point("VERA", VECTORS, projection_prng_key=1, **DRAWN)
    path = LinearPath(*ends)
    middle = path.on(BASE)(0.5) if early else path(0.5).within(BASE)
    saved = Adapter.from_pretrained(middle.save_pretrained(tmp_path / "middle"))
    for name in ("q.weight", "v.weight"):
        assert saved.updates[name].rank == 4
        first, second = (end.on(BASE).updates[name].dense() for end in ends)
        torch.testing.assert_close(saved.updates[name].dense(), (first + second) / 2)

"""Alignment changes no update and makes the factors of one function equal, whatever gauge they were written in."""

import math

import pytest
import torch
from peft_oracle import load_peft, logits
from points import PREFIX, assert_updates, dense, dense_sum, make_point, make_tensors

from modeconn.adapters import Adapter
from modeconn.adapters.gauge import align, aligned
from modeconn.paths import LinearPath

NAMES = ("layers.0.q", "layers.1.v")
GAUGE = torch.tensor([[2.0, 1.0], [0.5, -1.5]], dtype=torch.float64)


def rewritten(tensors, gauge):
    """The same function in another gauge, (B G, G^-1 A)."""
    turned = {}
    for name, value in tensors.items():
        changed = value.double() @ gauge if name.endswith("lora_B.weight") else torch.linalg.inv(gauge) @ value.double()
        turned[name] = changed.float()
    return turned


def repeated(tensors):
    """Factors of rank 2 whose second direction repeats the first: an update of rank 1."""
    copies = {name: value.clone() for name, value in tensors.items()}
    for name, value in copies.items():
        rows = value.T if name.endswith("lora_B.weight") else value
        rows[1] = rows[0]
    return copies


def untrained(tensors):
    """Factors as before the first step: B is zero."""
    return {name: value * (0 if name.endswith("lora_B.weight") else 1) for name, value in tensors.items()}


def pair_of(point, name):
    """The factors of a point that has one part for each parameter, in float64."""
    (part,) = point.updates[f"{name}.weight"].parts
    assert part.scaling == 1.0
    return part.up.double(), part.down.double()


def distance(first, second):
    """The L2 distance of two points' own tensors."""
    return float((first.vector.double() - second.vector.double()).norm())


POINTS = {
    "as-it-is": (make_tensors(2), {}),
    "higher-rank": (make_tensors(2, rank=4), {"r": 4}),
    "rank-above-the-shape": (make_tensors(2, rank=7), {"r": 7}),
    "other-scaling": (make_tensors(2), {"lora_alpha": 11}),
    "negative-scaling": (make_tensors(2), {"lora_alpha": -3}),
    "rank-stable": (make_tensors(2, rank=3), {"r": 3, "use_rslora": True}),
    "rank-deficient": (repeated(make_tensors(2)), {}),
}


@pytest.fixture(scope="module", params=POINTS)
def case(request):
    """A point, and its updates in float64."""
    tensors, settings = POINTS[request.param]
    rank, alpha = settings.get("r", 2), settings.get("lora_alpha", 3)
    scaling = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return make_point(tensors, **settings), dense(tensors, scaling=scaling)


@pytest.fixture(scope="module")
def old():
    return make_point(make_tensors(1), fields={"name": "old"})


@pytest.fixture(scope="module")
def new():
    return make_point(make_tensors(2), fields={"name": "new"})


def test_no_update_changes(case, old):
    point, updates = case
    forth, back = align(point, to=old), align(old, to=point)
    assert_updates(forth.point, updates)
    assert_updates(back.reference, updates)
    assert_updates(forth.reference, dense(make_tensors(1)))


def test_both_ends_get_one_layout_and_one_scaling(case, old):
    alignment = align(case[0], to=old)
    assert alignment.point.layout == alignment.reference.layout
    for name in NAMES:
        for end in (alignment.point, alignment.reference):
            assert pair_of(end, name)[1].shape[0] == max(case[0].updates[f"{name}.weight"].rank, 2)
            assert end.config.scaling(name) == 1.0


def test_the_layout_of_points_of_one_rank_stays(old, new):
    assert align(new, to=old).point.layout == old.layout


def test_the_factors_of_both_ends_have_the_least_norm(case, old):
    alignment = align(case[0], to=old)
    for point, updates in ((alignment.point, case[1]), (alignment.reference, dense(make_tensors(1)))):
        for name in NAMES:
            up, down = pair_of(point, name)
            nuclear = torch.linalg.matrix_norm(updates[f"{name}.weight"], "nuc")
            assert float((up**2).sum() + (down**2).sum()) == pytest.approx(2 * float(nuclear), rel=1e-5)


@pytest.mark.parametrize("gauge", [GAUGE, -torch.eye(2, dtype=torch.float64), GAUGE / 50])
def test_one_function_in_two_gauges_gets_the_same_factors(gauge):
    tensors = make_tensors(1)
    point, twin = make_point(tensors), make_point(rewritten(tensors, gauge))
    alignment = align(twin, to=point)
    assert distance(point, twin) > 0.5 * float(point.vector.norm())
    assert distance(alignment.reference, alignment.point) < 3e-6 * float(alignment.reference.vector.norm())


def test_equal_singular_values_do_not_hide_the_gauge():
    generator = torch.Generator().manual_seed(0)
    tensors = {
        name: torch.linalg.qr(torch.randn(max(value.shape), 2, generator=generator)).Q
        for name, value in make_tensors(1).items()
    }
    tensors = {name: value.T.contiguous() if "lora_A" in name else value for name, value in tensors.items()}
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    alignment = align(make_point(rewritten(tensors, turn)), to=make_point(tensors))
    assert distance(alignment.reference, alignment.point) < 1e-6


def test_rounding_is_no_direction_of_an_update_of_lower_rank():
    tensors = make_tensors(1)
    tensors |= {name: value for name, value in repeated(tensors).items() if name.endswith("lora_B.weight")}
    alignment = align(make_point(rewritten(tensors, GAUGE)), to=make_point(tensors))
    for name in NAMES:
        assert not pair_of(alignment.reference, name)[0][:, 1].any()
    assert distance(alignment.reference, alignment.point) < 1e-6


def test_one_function_at_two_ranks_and_scalings_gets_the_same_factors():
    tensors = make_tensors(1)
    wide = {}
    for name in NAMES:
        up, down = (tensors[f"{PREFIX}{name}.lora_{kind}.weight"] for kind in ("B", "A"))
        wide[f"{PREFIX}{name}.lora_B.weight"] = torch.cat([up, up], dim=1)  # dW twice: half the scaling
        wide[f"{PREFIX}{name}.lora_A.weight"] = torch.cat([down, down], dim=0)
    alignment = align(make_point(wide, r=4, lora_alpha=3), to=make_point(tensors))
    assert distance(alignment.reference, alignment.point) < 3e-6 * float(alignment.reference.vector.norm())


def test_no_rotation_or_reflection_is_nearer(old, new):
    alignment = align(new, to=old)
    angles = torch.linspace(0, 2 * math.pi, 721, dtype=torch.float64)
    for name in NAMES:
        up, down = pair_of(alignment.point, name)
        up_to, down_to = pair_of(alignment.reference, name)

        def squared(turn, up=up, down=down, up_to=up_to, down_to=down_to):
            return float(((up @ turn - up_to) ** 2).sum() + ((turn.T @ down - down_to) ** 2).sum())

        tried = []
        for angle in angles:
            cosine, sine = angle.cos(), angle.sin()
            tried += [
                squared(torch.tensor([[cosine, -sine * k], [sine, cosine * k]], dtype=torch.float64)) for k in (1, -1)
            ]
        assert squared(torch.eye(2, dtype=torch.float64)) <= min(tried) * (1 + 1e-6)
        assert max(tried) > 1.5 * min(tried)


def test_aligning_again_moves_nothing(old, new):
    once = align(new, to=old)
    again = align(once.point, to=once.reference)
    assert again.report["gauge_share"].abs().max() < 1e-5


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_weights_minus_aligned_factors_is_the_product_of_the_differences(old, new, t):
    alignment = align(new, to=old)
    factors, weights = (LinearPath(old, new, space=space)(t) for space in ("aligned-factors", "weights"))
    for name in NAMES:
        up, down = (
            b - a for a, b in zip(pair_of(alignment.reference, name), pair_of(alignment.point, name), strict=True)
        )
        found = weights.updates[f"{name}.weight"].dense() - factors.updates[f"{name}.weight"].dense()
        torch.testing.assert_close(found.double(), t * (1 - t) * up @ down, rtol=1e-5, atol=1e-5)


def test_a_parameter_of_one_end_grows_with_the_square_of_t(old):
    tensors = make_tensors(2, modules={"layers.1.v": (4, 5), "layers.2.k": (3, 5)})
    line = LinearPath(old, make_point(tensors), space="aligned-factors")
    updates = dense(make_tensors(1)), dense(tensors)
    assert_updates(line.start, dense_sum((1, updates[0]), (0, updates[1])))
    assert_updates(line.end, dense_sum((0, updates[0]), (1, updates[1])))
    middle = line(0.5)
    assert_updates(
        Adapter(middle.config, {"layers.2.k.weight": middle.updates["layers.2.k.weight"]}, {}),
        {"layers.2.k.weight": 0.25 * updates[1]["layers.2.k.weight"]},
    )


@pytest.mark.parametrize("first", [True, False])
def test_an_untrained_end_has_no_factors(new, first):
    zero = make_point(untrained(make_tensors(1)))
    points = aligned([zero, new] if first else [new, zero])
    assert not points[0 if first else 1].vector.any()
    assert_updates(points[1 if first else 0], dense(make_tensors(2)))


def test_a_combination_is_aligned_as_one_pair(old, new):
    updates = dense_sum((0.25, dense(make_tensors(1))), (0.75, dense(make_tensors(2))))
    alignment = align(0.25 * old + 0.75 * new, to=old)
    assert_updates(alignment.point, updates)
    assert {update.rank for update in alignment.point.updates.values()} == {4}


def test_saved_modules_pass_unchanged():
    heads = {"score.weight": (3, 5), "score.bias": (3,)}
    points = [make_point(make_tensors(k, heads=heads), modules_to_save=["score"]) for k in (1, 2)]
    for before, after in zip(points, aligned(points), strict=True):
        assert sorted(after.saved) == ["score.bias", "score.weight"]
        assert all(torch.equal(after.saved[name], before.saved[name]) for name in before.saved)


def test_many_points_are_aligned_to_the_first_one_by_one(old, new):
    third = make_point(make_tensors(3), lora_alpha=5)
    points = aligned([old, new, third])
    for point, turned in zip((new, third), points[1:], strict=True):
        alignment = align(point, to=old)
        assert torch.equal(turned.vector, alignment.point.vector)
        assert torch.equal(points[0].vector, alignment.reference.vector)


def test_one_wide_point_widens_all(old, new):
    wide = make_point(make_tensors(3, rank=5), r=5)
    assert [{update.rank for update in point.updates.values()} for point in aligned([old, new, wide])] == [{5}] * 3


def test_the_points_keep_their_names_and_what_was_noted():
    points = [make_point(make_tensors(k), fields={"name": f"p{k}", "provenance": {"labels": ["a"]}}) for k in (1, 2)]
    found = aligned(points)
    assert [point.name for point in found] == ["p1", "p2"]
    assert all(point.provenance == {"labels": ["a"]} for point in found)


FAMILIES = {
    "llama-patterns": ("llama", {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.0.*": 5}}, {}),
    "llama-embedding": (
        "llama",
        {"target_modules": ["embed_tokens", "lm_head"], "r": 3},
        {"target_modules": ["q_proj"]},
    ),
    "gpt2-conv1d": ("gpt2", {"r": 3}, {"target_modules": ["c_attn", "c_fc"]}),
    "bert-head": ("bert", {"target_modules": ["word_embeddings", "query"]}, {"r": 2}),
    "t5": ("t5", {}, {"use_rslora": True}),
}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize("case", FAMILIES)
def test_plain_peft_computes_the_same_with_the_aligned_points(case, adapters, bases, tmp_path):
    family, *settings = FAMILIES[case]
    folders = [adapters(family, seed, **own) for seed, own in zip((1, 2), settings, strict=True)]
    points = aligned([Adapter.from_pretrained(folder) for folder in folders])
    for folder, point in zip(folders, points, strict=True):
        expected = logits(load_peft(family, bases(family), folder))
        found = logits(load_peft(family, bases(family), point.save_pretrained(tmp_path / point.name)))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

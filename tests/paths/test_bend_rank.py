"""Bends of a rank of their own: the nearest points below the line's rank, the line itself above."""

import pytest
import torch
from kind_points import kind_point, random
from points import dense, dense_sum, make_point, make_tensors

import modeconn as mc
from modeconn.errors import PathError

BETWEEN = {
    "bezier": lambda *ends, **options: mc.BezierCurve.between(*ends, num_bends=3, **options),
    "chain": lambda *ends, **options: mc.PolygonalChain.between(*ends, num_bends=3, **options),
    "piecewise": lambda *ends, **options: mc.PiecewiseBezier.between(*ends, num_segments=2, degree=2, **options),
}
SHARES = (0.25, 0.5, 0.75)


@pytest.fixture(params=BETWEEN)
def between(request):
    return BETWEEN[request.param]


def tensors():
    """Of two ends: ranks 2 and 3, one module in common."""
    return make_tensors(1), make_tensors(2, rank=3, modules={"layers.1.v": (4, 5), "layers.1.o": (5, 4)})


def ends():
    return make_point(tensors()[0]), make_point(tensors()[1], r=3, lora_alpha=4.5)


def line_at(t):
    """The dense updates of the line, float64."""
    first, second = (dense(one, scaling=1.5) for one in tensors())
    return dense_sum((1 - t, first), (t, second))


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_a_smaller_rank_gives_the_nearest_points_and_loses_the_other_singular_values(between, rank):
    for bend, t in zip(between(*ends(), bend_rank=rank).bends, SHARES, strict=True):
        for name, whole in line_at(t).items():
            found = bend.updates[name]
            left, values, right = torch.linalg.svd(whole, full_matrices=False)
            nearest = (left[:, :rank] * values[:rank]) @ right[:rank]
            torch.testing.assert_close(found.dense().double(), nearest, rtol=1e-5, atol=1e-5)
            lost = (found.dense().double() - whole).norm()
            torch.testing.assert_close(lost, values[rank:].norm(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 4, 5, 9])
def test_every_module_of_every_bend_has_the_rank(between, rank):
    curve = between(*ends(), bend_rank=rank)
    assert {update.rank for bend in curve.bends for update in bend.updates.values()} == {rank}
    assert {tensor.shape[0] for bend in curve.bends for name, tensor in bend.tensors.items() if "_A." in name} == {rank}


def test_the_default_is_the_rank_of_both_ends(between):
    ranks = {name: update.rank for name, update in between(*ends()).bends[0].updates.items()}
    assert ranks == {"layers.0.q.weight": 2, "layers.1.o.weight": 3, "layers.1.v.weight": 5}


@pytest.mark.parametrize("rank", [5, 9])
def test_a_rank_that_suffices_begins_as_the_line(between, rank):
    line, curve = mc.LinearPath(*ends()), between(*ends(), bend_rank=rank)
    for t in (0.1, 0.5, 0.8):
        assert (curve(t) - line(t)).norm() < 1e-6 * line(t).norm()


def test_the_columns_that_fill_up_are_zero_over_rows_of_the_size_of_the_others():
    bend = mc.BezierCurve.between(*ends(), bend_rank=40).bends[0]
    up, down = bend.updates["layers.1.v.weight"].factors()
    assert torch.equal(up[:, 5:], torch.zeros(4, 35))
    size, others = (rows.square().mean().sqrt() for rows in (down[5:], down[:5]))
    assert 0.7 < size / others < 1.4
    assert torch.linalg.matrix_rank(down) == 5  # of 5 columns: the rows are not all alike


def test_the_same_curve_is_made_again():
    first, second = (mc.BezierCurve.between(*ends(), bend_rank=9).bends[0].tensors for _ in range(2))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_heads_stay_on_the_line():
    heads = {"classifier.weight": (3, 5)}
    pair = [make_point(make_tensors(seed, heads=heads), modules_to_save=["classifier"]) for seed in (1, 2)]
    for rank in (1, 9):
        bend = mc.BezierCurve.between(*pair, bend_rank=rank).bends[0]
        torch.testing.assert_close(
            bend.saved["classifier.weight"], mc.LinearPath(*pair)(0.5).saved["classifier.weight"]
        )


def test_a_saved_curve_keeps_its_ranks(tmp_path):
    curve = mc.BezierCurve.between(*ends(), bend_rank=7)
    again = mc.load_path(mc.save_path(curve, tmp_path / "path"))
    assert [point.fingerprint for point in again.points] == [point.fingerprint for point in curve.points]


@pytest.mark.parametrize("rank", [0, -3, 2.0])
def test_a_rank_that_is_none(between, rank):
    with pytest.raises(
        PathError, match=rf"cannot have {rank} as the rank of its bends\n  expected: a whole number from 1"
    ):
        between(*ends(), bend_rank=rank)


@pytest.mark.parametrize("space", ["factors", "aligned-factors"])
def test_in_factors_space_a_bend_has_no_rank_of_its_own(between, space):
    pair = make_point(make_tensors(1)), make_point(make_tensors(2))
    with pytest.raises(
        PathError, match=rf'(?s)space="{space}" have no rank.*bend_rank=None.*got: bend_rank=2.*leave it'
    ):
        between(*pair, space=space, bend_rank=2)


def test_ends_without_factors_have_no_nearest_point(between):
    pair = [kind_point("IA3", {"q.ia3_l": random(6, 1, seed=seed)}, target_modules=["q"]) for seed in (1, 2)]
    with pytest.raises(PathError, match=r"(?s)cannot get the rank 2.*low-rank.*no factors of q.*truncated\(point.on"):
        between(*pair, bend_rank=2)


def test_ends_that_are_no_adapters_have_no_rank(between):
    pair = [mc.module_point(torch.nn.Linear(2, 3), name=name) for name in "ab"]
    with pytest.raises(PathError, match=r"(?s)cannot get the rank 2.*got: no update of a matrix"):
        between(*pair, bend_rank=2)

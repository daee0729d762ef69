"""The tables against dense matrices: by module, and all modules as one block-diagonal matrix."""

import numpy as np
import pandas as pd
import pytest
import torch
from kind_points import Base, kind_point, random
from points import MODULES, dense, make_point, make_tensors
from scipy.linalg import block_diag, orth, subspace_angles
from torch import nn

import modeconn as mc
from modeconn.adapters.kinds.full import FULL
from modeconn.errors import AdapterError, EvaluationError
from modeconn.geometry.intruders import count_intruders
from modeconn.geometry.measure import measure_geometry

SEEDS = {"a": 0, "b": 1, "c": 2}


def point(seed, name, **arguments):
    return make_point(make_tensors(seed, **arguments), fields={"name": name})


@pytest.fixture
def points():
    return [point(seed, name) for name, seed in SEEDS.items()]


@pytest.fixture
def changes():
    """Name of a point -> parameter -> dense update."""
    return {name: {key: one.numpy() for key, one in dense(make_tensors(seed)).items()} for name, seed in SEEDS.items()}


def row_of(frame, **values):
    (row,) = frame.loc[np.logical_and.reduce([frame[key] == value for key, value in values.items()])].to_dict("records")
    return row


def test_every_module_has_its_measures(points, changes):
    found = measure_geometry(points).modules
    assert len(found) == 3 * len(MODULES)
    for name, updates in changes.items():
        for parameter, change in updates.items():
            values = np.linalg.svd(change, compute_uv=False)[:2]
            row = row_of(found, point=name, parameter=parameter)
            shares = values / values.sum()
            assert row["norm"] == pytest.approx(np.linalg.norm(change), rel=1e-9)
            assert row["spectral_norm"] == pytest.approx(values[0], rel=1e-9)
            assert row["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-9)
            assert row["effective_rank"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-9)
            assert (row["rank"], row["num_rows"], row["num_columns"]) == (2, *change.shape)
            assert (row["module"], row["layer"]) == (f"layers.*.{parameter[9:]}", int(parameter[7]))


def test_totals_are_those_of_the_block_diagonal_matrix(points, changes):
    totals, pairs = measure_geometry(points).points, measure_geometry(points).pairs
    blocks = {name: block_diag(*updates.values()) for name, updates in changes.items()}
    for name, block in blocks.items():
        values = np.linalg.svd(block, compute_uv=False)[:4]
        row, shares = row_of(totals, point=name), values / values.sum()
        assert row["norm"] == pytest.approx(np.linalg.norm(block))
        assert row["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2)
        assert row["effective_rank"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()))
        assert (row["rank"], row["num_matrices"]) == (4, 2)
    for first, second in (("a", "b"), ("a", "c"), ("b", "c")):
        one, other = blocks[first], blocks[second]
        row = row_of(pairs, first=first, second=second)
        assert row["cosine"] == pytest.approx((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))
        assert row["distance"] == pytest.approx(np.linalg.norm(one - other))
        angles = subspace_angles(orth(one), orth(other))
        assert row["column_overlap"] == pytest.approx(np.mean(np.cos(angles) ** 2))
        inside = np.linalg.norm(one @ orth(other.T)) ** 2 / np.linalg.norm(one) ** 2
        assert row["first_in_second_rows"] == pytest.approx(inside)
        both = one * other != 0
        assert row["sign_agreement"] == pytest.approx(np.mean(one[both] * other[both] > 0))


def test_what_only_one_point_changes_counts_in_its_norm(changes):
    half = make_point(make_tensors(1, modules={"layers.0.q": (6, 5)}), fields={"name": "b"})
    found = measure_geometry([point(0, "a"), half])
    assert found.overlaps["parameter"].tolist() == ["layers.0.q.weight"]
    one, other = changes["a"]["layers.0.q.weight"], dense(make_tensors(1, modules={"layers.0.q": (6, 5)}))
    inner = float((one * other["layers.0.q.weight"].numpy()).sum())
    whole = np.linalg.norm(block_diag(*changes["a"].values()))
    (row,) = found.pairs.to_dict("records")
    assert row["cosine"] == pytest.approx(inner / whole / np.linalg.norm(other["layers.0.q.weight"]))
    assert row["num_shared"] == 1


def test_points_without_a_module_in_common_are_orthogonal():
    first = make_point(make_tensors(0, modules={"layers.0.q": (6, 5)}), fields={"name": "a"})
    second = make_point(make_tensors(1, modules={"layers.1.v": (4, 5)}), fields={"name": "b"})
    found = measure_geometry([first, second])
    (row,) = found.pairs.to_dict("records")
    assert (row["num_shared"], row["cosine"]) == (0, 0.0)
    assert row["distance"] == pytest.approx((first.norm() ** 2 + second.norm() ** 2) ** 0.5)
    assert np.isnan(row["column_overlap"])
    assert len(found.overlaps) == 0


def test_the_gauge_of_the_factors_changes_nothing(points):
    turned = make_tensors(0)
    gauge = random(2, 2, seed=9)
    for name in turned:
        turned[name] = turned[name] @ gauge if "lora_B" in name else torch.linalg.inv(gauge) @ turned[name]
    again = [make_point(turned, fields={"name": "a"}), *points[1:]]
    for table in ("modules", "overlaps", "points", "pairs"):
        ours, theirs = (getattr(measure_geometry(given), table) for given in (points, again))
        pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)


def test_with_a_base_norms_are_relative_to_it(points):
    weights = {
        name: random(*shape, seed=5) for name, shape in zip(dense(make_tensors(0)), MODULES.values(), strict=True)
    }
    found = measure_geometry(points, base=Base(weights))
    for row in found.modules.to_dict("records"):
        assert row["relative_norm"] == pytest.approx(row["norm"] / float(weights[row["parameter"]].norm()), rel=1e-6)
    both = sum(float(one.square().sum()) for one in weights.values()) ** 0.5
    assert found.points["base_norm"].tolist() == pytest.approx([both] * 3, rel=1e-6)


def test_updates_are_held_against_the_bases_directions(points, changes):
    weights = {
        name: random(*shape, seed=5) for name, shape in zip(dense(make_tensors(0)), MODULES.values(), strict=True)
    }
    found = measure_geometry(points, base=Base(weights), principal=2)
    for row in found.modules.to_dict("records"):
        weight, change = weights[row["parameter"]].double().numpy(), changes[row["point"]][row["parameter"]]
        left, _, right = np.linalg.svd(weight, full_matrices=False)
        top, bottom = left[:, :2].T @ change, change @ right[-2:].T
        assert row["top_columns"] == pytest.approx(np.linalg.norm(top) ** 2 / np.linalg.norm(change) ** 2)
        assert row["bottom_rows"] == pytest.approx(np.linalg.norm(bottom) ** 2 / np.linalg.norm(change) ** 2)
        assert row["intruders"] == count_intruders(weight, weight + change)
        assert row["looked_at"] == min(weight.shape)
    first = found.modules[found.modules["point"] == "a"]
    total = row_of(found.points, point="a")
    assert total["intruders"] == first["intruders"].sum()
    assert total["top_columns"] == pytest.approx((first["top_columns"] * first["norm"] ** 2).sum() / total["norm"] ** 2)


def test_full_fine_tunes_are_compared_with_adapters():
    weight = {"layers.0.q.weight": random(6, 5), "layers.0.q.bias": random(6)}
    moved = {name: value + 0.1 * random(*value.shape, seed=3) for name, value in weight.items()}
    whole = kind_point("FULL", {f"base_model.model.{name}": value for name, value in moved.items()})
    assert whole.config.kind is FULL
    lora = make_point(make_tensors(1, modules={"layers.0.q": (6, 5)}), fields={"name": "lora"})
    names = {name.removeprefix("base_model.model."): update for name, update in whole.updates.items()}
    whole = mc.Adapter(whole.config, names, {}, name="full")
    found = measure_geometry([whole, lora], base=Base(weight))
    change = (moved["layers.0.q.weight"] - weight["layers.0.q.weight"]).double().numpy()
    assert row_of(found.modules, point="full", parameter="layers.0.q.weight")["norm"] == pytest.approx(
        np.linalg.norm(change), rel=1e-6
    )
    vector = row_of(found.modules, point="full", parameter="layers.0.q.bias")
    assert vector["norm"] == pytest.approx(0.1 * float(random(6, seed=3).norm()), rel=1e-5)
    assert np.isnan(vector["stable_rank"])
    other = dense(make_tensors(1, modules={"layers.0.q": (6, 5)}))["layers.0.q.weight"].numpy()
    cosine = (change * other).sum() / np.linalg.norm(change) / np.linalg.norm(other)
    assert found.overlaps["cosine"].tolist() == pytest.approx([cosine], rel=1e-5)


def test_increments_are_points_too(points):
    step = points[1] - points[0]
    found = measure_geometry([points[0], mc.Adapter(step.config, step.updates, {}, name="b - a")])
    assert row_of(found.points, point="b - a")["norm"] == pytest.approx(float(step.norm()))
    assert row_of(found.points, point="b - a")["rank"] == 8


def test_layers_are_in_the_order_of_their_numbers():
    modules = {f"layers.{number}.q": (4, 5) for number in (0, 2, 10)}
    found = measure_geometry([point(0, "a", modules=modules)])
    assert found.modules["layer"].tolist() == [0, 2, 10]
    assert found.pairs.empty


def test_drift_follows_the_run(points, changes):
    found = measure_geometry(points).drift()
    blocks = [block_diag(*updates.values()) for updates in changes.values()]
    steps = [np.linalg.norm(b - a) for a, b in zip([np.zeros_like(blocks[0]), *blocks], blocks, strict=False)]
    assert found["point"].tolist() == ["a", "b", "c"]
    assert found["distance_from_previous"].tolist() == pytest.approx(steps)
    assert found["travelled"].tolist() == pytest.approx(np.cumsum(steps))
    assert found["distance_from_first"].tolist()[1:] == pytest.approx(
        [np.linalg.norm(b - blocks[0]) for b in blocks[1:]]
    )
    angles = subspace_angles(orth(blocks[2]), orth(blocks[1]))
    assert found["column_overlap_from_previous"][2] == pytest.approx(np.mean(np.cos(angles) ** 2))


def test_a_run_of_one_checkpoint_has_gone_its_norm(points):
    (row,) = measure_geometry(points[:1]).drift().to_dict("records")
    assert row["travelled"] == row["distance_from_previous"] == pytest.approx(points[0].norm())


def test_progress_is_told(points):
    told = []
    measure_geometry(points, progress=lambda *one: told.append(one))
    assert told == [(1, 2, "parameters"), (2, 2, "parameters")]


def test_points_that_cannot_be_measured(points):
    with pytest.raises(AdapterError, match=r"(?s)nothing whose geometry.*expected: one checkpoint.*got: none"):
        measure_geometry([])
    with pytest.raises(AdapterError, match=r"(?s)cannot be told apart.*got: more than once: a.*remedy: name them"):
        measure_geometry([points[0], points[0]])
    bare = mc.module_point(nn.Linear(2, 2), name="bare")
    with pytest.raises(AdapterError, match=r"(?s)no weight update.*got: bare \(MODULE\).*remedy: leave out"):
        measure_geometry([points[0], bare])
    with pytest.raises(AdapterError, match=r"(?s)different shapes|shape"):
        measure_geometry([points[0], point(1, "b", modules={"layers.0.q": (6, 4)})])


def test_settings_that_mean_nothing(points):
    with pytest.raises(EvaluationError, match=r"(?s)no directions.*got: directions=0, principal=0"):
        measure_geometry(points, directions=0)
    with pytest.raises(EvaluationError, match=r"(?s)singular directions.*got: principal=4 and no base.*--base-model"):
        measure_geometry(points, principal=4)
    with pytest.raises(EvaluationError, match=r"(?s)intruder.*threshold=2"):
        measure_geometry(points, threshold=2.0)

"""Another gauge changes the factors and nothing else."""

import math

import pytest
import torch
from peft_oracle import load_peft, logits
from points import assert_updates, dense, dense_sum, make_point, make_tensors

from modeconn.adapters import Adapter
from modeconn.adapters.gauge import regauge

TENSORS = make_tensors(1)


def gauges(point, changed):
    """The matrices G with `up' = up G`, found by least squares."""
    for name in point.updates:
        up, other = (one.updates[name].parts[0].up.double() for one in (point, changed))
        yield torch.linalg.lstsq(up, other).solution


@pytest.fixture(scope="module")
def point():
    return make_point(TENSORS, fields={"name": "old"})


@pytest.mark.parametrize(("strength", "tolerance"), [(0.0, 1e-6), (1.0, 1e-6), (3.0, 2e-5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_update_changes(point, strength, tolerance, seed):
    assert_updates(regauge(point, seed=seed, strength=strength), dense(TENSORS), tolerance=tolerance)


def test_the_factors_change_and_their_layout_does_not(point):
    changed = regauge(point, seed=0)
    assert changed.layout == point.layout
    assert changed.config == point.config
    assert float((changed.vector - point.vector).norm()) > 0.5 * float(point.vector.norm())


def test_the_seed_decides_the_gauge(point):
    assert torch.equal(regauge(point, seed=3).vector, regauge(point, seed=3).vector)
    assert not torch.equal(regauge(point, seed=3).vector, regauge(point, seed=4).vector)


@pytest.mark.parametrize("strength", [0.0, 0.5, 2.0])
def test_the_strength_bounds_the_condition_number(strength):
    point = make_point(make_tensors(1, rank=4, modules={f"m{k}": (9, 8) for k in range(12)}), r=4)
    numbers = [float(torch.linalg.cond(gauge)) for gauge in gauges(point, regauge(point, seed=0, strength=strength))]
    assert max(numbers) <= math.exp(2 * strength) * (1 + 1e-5)
    assert max(numbers) > math.exp(1.2 * strength) * (1 - 1e-5)


def test_every_parameter_has_a_gauge_of_its_own(point):
    first, second = gauges(point, regauge(point, seed=0))
    assert (first - second).abs().max() > 0.1


def test_orthogonal_gauges_are_rotations_and_reflections():
    point = make_point(make_tensors(1, modules={f"m{k}": (9, 8) for k in range(12)}))
    signs = {round(float(torch.linalg.det(gauge))) for gauge in gauges(point, regauge(point, seed=0, strength=0.0))}
    assert signs == {1, -1}


def test_the_mirror_gauge_turns_every_sign(point):
    assert torch.equal(regauge(point, seed=0, flip=True).vector, -point.vector)


def test_a_combination_becomes_one_pair(point):
    combination = 0.5 * point + 0.25 * make_point(make_tensors(2))
    changed = regauge(combination, seed=0)
    assert changed.layout == combination.layout
    assert_updates(changed, dense_sum((0.5, dense(TENSORS)), (0.25, dense(make_tensors(2)))))
    assert torch.equal(regauge(combination, seed=0, flip=True).vector, -combination.vector)


def test_a_multiple_of_a_checkpoint_keeps_its_multiple(point):
    assert_updates(regauge(0.5 * point, seed=0), dense(TENSORS, scaling=0.75))


def test_the_result_is_named(point):
    assert (regauge(point, seed=0).name, regauge(point, seed=0, name="twin").name) == ("old regauged", "twin")


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("llama", {"target_modules": ["embed_tokens", "lm_head", "q_proj"], "rank_pattern": {"q_proj": 2}}),
        ("gpt2", {}),
        ("bert", {"use_rslora": True}),
    ],
)
def test_plain_peft_computes_the_same_in_the_other_gauge(family, settings, adapters, bases, tmp_path):
    source = adapters(family, 1, **settings)
    saved = regauge(Adapter.from_pretrained(source), seed=0).save_pretrained(tmp_path / "twin")
    found, expected = (logits(load_peft(family, bases(family), folder)) for folder in (saved, source))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)

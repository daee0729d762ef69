"""Points that have no gauge, or cannot be compared: the message says why and what to do instead."""

import math

import pytest
import torch
from points import make_point, make_tensors
from tiny import make_base

from modeconn.adapters import Adapter, Dense, Update
from modeconn.adapters.gauge import align, aligned, regauge
from modeconn.adapters.kinds.kind import Kind, Parts
from modeconn.adapters.kinds.table import KINDS
from modeconn.errors import AdapterError


@pytest.fixture(scope="module")
def old():
    return make_point(make_tensors(1), fields={"name": "old"})


def refused(*parts):
    """An error whose message holds these parts in this order."""
    return pytest.raises(AdapterError, match="(?s)" + ".*".join(parts))


def test_an_update_without_factors(old):
    updates = {**old.updates, "layers.1.v.weight": Update.of(Dense(torch.ones(4, 5)))}
    point = Adapter(old.config, updates, {}, name="merged")
    with refused("layers.1.v.weight in merged has no gauge", "got: Dense", 'remedy: join it in space="weights"'):
        align(point, to=old)


def test_factors_that_only_the_base_gives(old):
    start = make_point(make_tensors(2), init_lora_weights="pissa", fields={"name": "pissa"})
    with refused(
        "pissa has no gauge", "got: SinceStart", r"remedy: bind the point to its base first, point.on\(model\)"
    ):
        align(start, to=old)


def test_a_point_without_an_update(old, monkeypatch):
    kind = Kind("PROMPTS", lambda *_: Parts({}, {}), frozenset({"r", "lora_alpha"}), has_update=False)
    monkeypatch.setitem(KINDS, kind.name, kind)
    prompts = make_point({"prompt": torch.ones(2, 3)}, peft_type="PROMPTS", fields={"name": "soft"})
    with refused("soft has no gauge", "expected: an adapter with a weight update", "got: PROMPTS", 'space="factors"'):
        align(prompts, to=old)
    with refused("soft has no gauge"):
        regauge(prompts, seed=0)


def test_full_fine_tunes_have_another_symmetry(tmp_path):
    points = [Adapter.from_pretrained(make_base(tmp_path / str(seed), "llama", seed=seed)) for seed in (1, 2)]
    with refused(
        "has no gauge of factors", "got: a full fine-tune", "order of its units", "modeconn.adapters.symmetry"
    ):
        align(points[1], to=points[0])


def test_points_of_other_shapes(old):
    other = make_point(make_tensors(2, modules={"layers.0.q": (6, 4)}), fields={"name": "narrow"})
    with refused("old and narrow cannot be combined", r"layers.0.q.weight \[6, 5\] and \[6, 4\]"):
        align(other, to=old)


def test_points_of_other_bases():
    points = [make_point(make_tensors(k), fields={"provenance": {"base_fingerprint": str(k)}}) for k in (1, 2)]
    with refused("belong to different base models"):
        align(points[0], to=points[1])


def test_nothing_to_align():
    with refused("nothing to align", "got: none"):
        aligned([])


@pytest.mark.parametrize("strength", [-0.1, 3.5, math.nan, math.inf])
def test_a_strength_out_of_range(old, strength):
    match = f"(?s)cannot put old in another gauge.*strength from 0 to 3.*got: strength={strength:g}.*remedy: use"
    with pytest.raises(AdapterError, match=match):
        regauge(old, seed=0, strength=strength)


def test_another_gauge_of_an_update_without_factors(old):
    merged = Adapter(old.config, {"m.weight": Update.of(Dense(torch.ones(4, 5)))}, {}, name="merged")
    with pytest.raises(AdapterError, match=r"(?s)m\.weight in merged has no gauge.*got: Dense"):
        regauge(merged, seed=0)

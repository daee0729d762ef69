"""The tables of real adapters against what PEFT makes of them, with the base on disk."""

import numpy as np
import pytest
from peft_oracle import load_base, load_peft, updates
from tiny import TASK_TYPES

import modeconn as mc
from modeconn.adapters.full import FullModel
from modeconn.errors import AdapterError
from modeconn.geometry.increments import increments
from modeconn.geometry.measure import measure_geometry


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_numbers_are_those_of_pefts_updates(family, adapters, bases):
    folders = [adapters(family, seed) for seed in (1, 2)]
    base = FullModel.open(bases(family), task_type=TASK_TYPES[family], strict=False)
    found = measure_geometry([mc.Adapter.from_pretrained(one) for one in folders], base=base, principal=3)
    modules = found.modules.set_index(["point", "parameter"]).to_dict("index")
    cosines = found.overlaps.set_index("parameter")["cosine"].to_dict()
    changes = [updates(load_peft(family, bases(family), folder)) for folder in folders]
    weights = dict(load_base(family, bases(family)).named_parameters())
    turn = np.transpose if family == "gpt2" else np.asarray  # GPT-2 stores [in, out]
    for name in changes[0]:
        one, other = (turn(each[name].detach().double().numpy()) for each in changes)
        row, weight = modules[f"{family}-1", name], turn(weights[name].detach().double().numpy())
        values = np.linalg.svd(one, compute_uv=False)
        assert row["norm"] == pytest.approx(np.linalg.norm(one), rel=1e-5)
        assert row["stable_rank"] == pytest.approx((values**2).sum() / values[0] ** 2, rel=1e-5)
        assert row["relative_norm"] == pytest.approx(np.linalg.norm(one) / np.linalg.norm(weight), rel=1e-5)
        left = np.linalg.svd(weight)[0][:, :3]
        assert row["top_columns"] == pytest.approx((np.linalg.norm(left.T @ one) / np.linalg.norm(one)) ** 2, rel=1e-4)
        cosine = (one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other)
        assert cosines[name] == pytest.approx(cosine, abs=1e-5)


def test_increments_are_pefts_differences(adapters, bases):
    folders = [adapters("llama", seed) for seed in (1, 2)]
    first, second = increments([mc.Adapter.from_pretrained(one) for one in folders])
    changes = [updates(load_peft("llama", bases("llama"), folder)) for folder in folders]
    found = measure_geometry([first, second]).points.set_index("point")["norm"]
    expected = sum(float((changes[1][name] - changes[0][name]).norm()) ** 2 for name in changes[0]) ** 0.5
    assert found["step to llama-2"] == pytest.approx(expected, rel=1e-5)
    assert found["step to llama-1"] == pytest.approx(first.norm())


def test_heads_are_left_out_and_may_differ(adapters):
    points = [mc.Adapter.from_pretrained(adapters("bert", seed)) for seed in (1, 2)]
    assert points[0].saved
    larger = {name: value.repeat_interleave(2, dim=0) for name, value in points[1].saved.items()}
    other = mc.Adapter(points[1].config, points[1].updates, larger, name="larger", provenance={"labels": ["a", "b"]})
    found = measure_geometry([points[0], other])
    assert not found.modules["parameter"].str.contains("classifier").any()
    assert found.pairs["num_shared"].tolist() == [4]
    assert [point.saved for point in increments([points[0], other])] == [{}, {}]


def test_kinds_that_are_functions_of_the_base_need_it(adapters, bases):
    dora = mc.Adapter.from_pretrained(adapters("llama", 1, use_dora=True))
    with pytest.raises(AdapterError, match=r"(?s)not known without the base.*got: no base, and llama-1 \(LORA\)"):
        measure_geometry([dora])
    found = measure_geometry([dora], base=FullModel.open(bases("llama"), strict=False))
    change = updates(load_peft("llama", bases("llama"), adapters("llama", 1, use_dora=True)))
    assert found.points["norm"][0] == pytest.approx(
        sum(float(one.norm()) ** 2 for one in change.values()) ** 0.5, rel=1e-4
    )

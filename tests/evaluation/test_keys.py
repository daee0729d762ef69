import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from evaluation_tasks import make_task

import modeconn as mc
from modeconn.evaluation.keys import point_keys

POSITIONS = [0.0, 0.25, 1.0]


def test_a_key_is_the_same_whenever_the_point_is(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]
) -> None:
    first, second = (
        point_keys(mc.LinearPath(*ends), model, [model.encode(task) for task in tasks], POSITIONS) for _ in range(2)
    )
    assert first == second
    assert len(set(first)) == 3


def test_whatever_decides_the_numbers_changes_every_key(ends: list[mc.Adapter], model: mc.AdapterModel) -> None:
    line, task = mc.LinearPath(*ends), make_task("one", 0)
    named_alike = mc.LinearPath(ends[0], replace(ends[1] * 2.0, name=ends[1].name), name=line.name)
    narrow = mc.AdapterModel.from_pretrained(adapters=ends, dtype="bfloat16")
    variants = [
        (line, model, model.encode(task)),
        (mc.LinearPath(*ends, name="other"), model, model.encode(task)),
        (named_alike, model, model.encode(task)),
        (line, narrow, narrow.encode(task)),
        (line, model, model.encode(task, "train")),
        (line, model, model.encode(make_task("one", 1))),
        (line, model, model.encode(task, settings=mc.EncodingSettings(score_eos=True))),
        (line, model, model.encode(task, settings=mc.EncodingSettings(token_budget=40))),
    ]
    keys = [set(point_keys(path, on, [encoded], POSITIONS)) for path, on, encoded in variants]
    assert len(set.union(*keys)) == len(variants) * len(POSITIONS)


def test_a_model_that_computes_otherwise_with_the_same_weights_has_other_keys(
    ends: list[mc.Adapter], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    base = shutil.copytree(bases("llama"), tmp_path / "base")
    keys = []
    for change in ({}, {"rms_norm_eps": 0.5}, {"_name_or_path": "elsewhere"}):
        file = base / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"rms_norm_eps": 1e-6} | change))
        model = mc.AdapterModel.from_pretrained(base, adapters=ends)
        keys.append(point_keys(mc.LinearPath(*ends), model, [model.encode(make_task("one", 0))], POSITIONS))
    assert keys[0] == keys[2]
    assert not set(keys[0]) & set(keys[1])


def test_profiles_of_paths_with_one_name_are_not_mixed(
    ends: list[mc.Adapter], model: mc.AdapterModel, tasks: list[mc.Task]
) -> None:
    profile, other = (
        mc.evaluate_path(mc.LinearPath(*ends, name=name), model, tasks[:1], num_points=2, check=False)
        for name in ("one", "other")
    )
    assert len(mc.Profile.concat([profile, other]).frame) == 4
    with pytest.raises(mc.EvaluationError, match=r"(?s)cannot be told apart.*more than once: one\n.*name the paths"):
        mc.Profile.concat([profile, other, profile])

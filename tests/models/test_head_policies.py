"""Whose head counts along a path: the start's, each end's own, or the base's."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from random_tasks import random_task
from tiny import make_adapter, make_base
from transformers import BertModel

import modeconn as mc
from modeconn.errors import AdapterError, EvaluationError, ModelError
from modeconn.evaluation.plan import plan_evaluation

FIRST, SECOND = ("good", "bad", "maybe"), ("yes", "no")


@pytest.fixture(scope="module")
def bare(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base without a head."""
    folder = tmp_path_factory.mktemp("bare") / "bare"
    shutil.copytree(bases("bert"), folder)
    (folder / "model.safetensors").unlink()
    BertModel.from_pretrained(bases("bert")).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ends(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, mc.Adapter]:
    """Checkpoints whose heads have three classes and two: adapters, and a full fine-tune."""
    root = tmp_path_factory.mktemp("ends")
    for seed, (name, labels) in enumerate({"three": FIRST, "two": SECOND}.items()):
        base = make_base(root / f"base-{name}", "bert", num_labels=len(labels))
        folder = make_adapter(root / name, base, "bert", seed=seed)
        config = json.loads((folder / "adapter_config.json").read_text())
        (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(bare)}))
        (folder / "modeconn.json").write_text(json.dumps({"labels": list(labels)}))
    full = make_base(root / "full", "bert", seed=7, num_labels=2)
    config = json.loads((full / "config.json").read_text())
    (full / "config.json").write_text(json.dumps(config | {"id2label": dict(enumerate(SECOND))}))
    return {name: mc.Adapter.from_pretrained(root / name) for name in ("three", "two", "full")}


def task(name: str, labels: tuple[str, ...]) -> mc.Task:
    return replace(random_task(labels=labels), name=name)


TASKS = [task("first", FIRST), task("second", SECOND)]


def test_heads_of_different_shape_demand_a_policy(ends):
    expected = (
        r"three and two cannot be combined\n  expected: .* the same saved modules\n"
        r"  got: classifier.bias \[3\] and \[2\], classifier.weight \[3, 16\] and \[2, 16\]\n"
        r'  remedy: .*one head over the union of the labels, or say whose head counts: heads="shared", "own" '
        r"\(of classifiers only\) or"
    )
    with pytest.raises(AdapterError, match=expected):
        mc.LinearPath(ends["three"], ends["two"])


def test_an_unknown_policy_is_refused(ends):
    with pytest.raises(AdapterError, match=r"unknown policy for heads 'mine'\n  expected: shared or own or skip\n"):
        mc.LinearPath(ends["three"], ends["two"], heads="mine")  # type: ignore[arg-type]


def test_own_heads_are_for_classifiers(adapters, bases):
    expected = (
        r'heads="own" is for classifiers only\n  expected: .* named classes.*\n'
        r'  got: base of CAUSAL_LM, llama-1 of CAUSAL_LM\n  remedy: use heads="shared"'
    )
    points = [mc.Adapter.from_pretrained(folder) for folder in (adapters("llama", 1), bases("llama"))]
    with pytest.raises(AdapterError, match=expected):
        mc.LinearPath(*points, heads="own")


@pytest.mark.parametrize("other", ["two", "full"])
def test_the_starts_head_is_shared_by_all_points(other, ends):
    line = mc.LinearPath(ends["three"], ends[other], heads="shared")
    model = mc.AdapterModel.from_pretrained(ends["three"].config.base_model, adapters=line.points)
    for t in (0.0, 0.3, 1.0):
        with model.at(line(t)) as module:
            torch.testing.assert_close(module.classifier.weight.data, ends["three"].saved["classifier.weight"])
    profile = mc.evaluate_path(line, model, TASKS[:1], num_points=3)
    checks = profile.checks[line.name]
    assert checks["heads"] == "shared"
    assert max(checks["ends_agree_with_peft_within"].values()) < 1e-5


def test_with_shared_heads_the_updates_are_those_of_the_ends(ends):
    line = mc.LinearPath(ends["three"], ends["two"], heads="shared")
    for name, update in ends["two"].updates.items():
        assert torch.equal(line(1.0).updates[name].dense(), update.dense())


def test_in_factors_space_heads_are_shared_as_well(ends):
    line = mc.LinearPath(ends["three"], ends["two"], space="factors", heads="shared")
    model = mc.AdapterModel.from_pretrained(adapters=line.points)
    checks = mc.evaluate_path(line, model, TASKS[:1], num_points=2).checks[line.name]
    assert max(checks["ends_agree_with_peft_within"].values()) < 1e-5


@pytest.mark.parametrize("other", ["two", "full"])
def test_without_heads_the_bases_counts(other, ends, bases):
    line = mc.LinearPath(ends["three"], ends[other], heads="skip")
    model = mc.AdapterModel.from_pretrained(bases("bert"), adapters=line.points, labels=FIRST)
    with model.at(line(0.5)) as module:
        assert module.classifier.weight is model.module.classifier.weight
    checks = mc.evaluate_path(line, model, TASKS[:1], num_points=3).checks[line.name]
    assert checks["heads"] == "skip"
    assert max(checks["ends_agree_with_peft_within"].values()) < 1e-5


def test_a_base_without_a_head_cannot_give_one(ends, bare):
    line = mc.LinearPath(ends["three"], ends["two"], heads="skip")
    expected = r"the base model .* lacks weights\n(?s:.*)got: nothing for classifier.bias, classifier.weight\n"
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(bare, adapters=line.points)
    model = mc.AdapterModel.from_pretrained(bare, adapters=[ends["three"]])
    expected = (
        r"three lacks weights that the base model .* lacks as well\n  expected: values for classifier.bias, .*\n"
        r"  got: none for classifier.bias, classifier.weight; .* random ones there\n  remedy: give a base that has them"
    )
    with pytest.raises(ModelError, match=expected):
        mc.evaluate_path(line, model, TASKS[:1], num_points=2)


@pytest.mark.parametrize("other", ["two", "full"])
def test_every_task_has_the_head_that_knows_its_labels(other, ends):
    line = mc.LinearPath(ends["three"], ends[other], heads="own")
    model = mc.AdapterModel.from_pretrained(ends["three"].config.base_model, adapters=line.points)
    profile = mc.evaluate_path(line, model, TASKS, num_points=3)
    assert list(profile.frame["task"].unique()) == ["first", "second"]
    assert profile.checks[line.name]["heads"] == "own"
    for task, (start, end) in zip(TASKS, [(line.start, line.end), (ends[other], ends["three"])], strict=True):
        alone = mc.LinearPath(start, end, heads="shared")
        own = mc.AdapterModel.from_pretrained(ends["three"].config.base_model, adapters=alone.points)
        expected = mc.evaluate_path(alone, own, [task], num_points=3).frame["loss"].to_numpy()
        found = profile.frame[profile.frame["task"] == task.name]["loss"].to_numpy()
        np.testing.assert_allclose(found, expected if task is TASKS[0] else expected[::-1], rtol=1e-5)


def test_a_plan_counts_every_head(ends):
    line = mc.LinearPath(ends["three"], ends["two"], heads="own")
    model = mc.AdapterModel.from_pretrained(adapters=line.points)
    plan = plan_evaluation(line, model, TASKS, num_points=3)
    assert plan["examples"] == str(sum(len(task.split("test")) for task in TASKS))


def test_the_model_is_as_it_was_after_another_head(ends, state):
    line = mc.LinearPath(ends["three"], ends["two"], heads="own")
    model = mc.AdapterModel.from_pretrained(adapters=line.points)
    before = state(model.module)
    mc.evaluate_path(line, model, TASKS, num_points=2)
    assert state(model.module) == before
    assert model.module.config.num_labels == 3


def test_labels_that_no_head_knows_are_an_error(ends):
    line = mc.LinearPath(ends["three"], ends["two"], heads="own")
    model = mc.AdapterModel.from_pretrained(adapters=line.points)
    expected = (
        r"no end's head knows the labels of other\n  expected: a head for cat, dog among .*\n"
        r"  got: three: bad, good, maybe and two: no, yes\n  remedy: train with modeconn"
    )
    with pytest.raises(EvaluationError, match=expected):
        mc.evaluate_path(line, model, [task("other", ("cat", "dog"))], num_points=2)

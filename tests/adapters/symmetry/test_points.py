"""Full fine-tunes as points: a permuted copy has a barrier, and none once it is matched."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from random_tasks import random_task
from safetensors.torch import load_file, save_file
from tiny import LABELS, make_base
from transformers import AutoConfig

import modeconn as mc
from modeconn.adapters.stored import StoredTensors
from modeconn.adapters.symmetry import apply, matched, random_permutations, symmetry_of
from modeconn.errors import AdapterError


@pytest.fixture(scope="module")
def pair(bases, tmp_path_factory):
    """A model of a family and its permuted copy, two folders, made once."""
    made = {}

    def points(family):
        if family not in made:
            folder = shutil.copytree(bases(family), tmp_path_factory.mktemp(family) / "permuted")
            state = load_file(folder / "model.safetensors")
            spec = symmetry_of(AutoConfig.from_pretrained(folder), state)
            moved = apply(random_permutations(spec, seed=1), state, spec)
            tensors = {name: value.contiguous() for name, value in moved.items()}
            save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
            made[family] = bases(family), folder
        return [mc.Adapter.from_pretrained(one) for one in made[family]]

    return points


def task_that_is_known(model, point):
    """A task whose answers are the labels that a point finds likeliest: its own loss is low there."""
    examples = random_task(labels=LABELS, num_examples=24).splits["test"]
    answered = [tuple(replace(one, answer=label) for one in examples) for label in LABELS]
    tasks = [mc.Task("words", {"test": one}, labels=LABELS) for one in answered]
    losses = np.stack([sums.loss_sum for sums in model.evaluate(point, [model.encode(one) for one in tasks])])
    best = tuple(answered[label][number] for number, label in enumerate(losses.argmin(axis=0)))
    return mc.Task("words", {"test": best}, labels=LABELS)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_the_barrier_to_a_permuted_copy_is_gone_after_matching(family, pair):
    first, second = pair(family)
    model = mc.AdapterModel.from_pretrained(
        first.source, adapters=[first, second], labels=LABELS if family == "bert" else None
    )
    task = task_that_is_known(model, first)

    def height(start):
        frame = mc.evaluate_path(mc.LinearPath(start, second), model, [task], num_points=5).frame
        return mc.barrier(frame["t"], frame["loss"]).height

    moved, found = matched(first, to=second)
    assert found.distance_after == 0 < found.distance_before
    assert height(first) > 0.01
    assert height(moved) == pytest.approx(0, abs=1e-6)


def test_a_matched_point_is_the_other_to_the_last_bit_and_keeps_what_is_known_of_it(pair):
    first, second = pair("bert")
    known = replace(first, provenance={"labels": list(LABELS)})
    moved, _ = matched(known, to=second)
    assert (moved.name, moved.provenance, moved.source) == (first.name, {"labels": list(LABELS)}, None)
    assert moved.fingerprint == second.fingerprint != first.fingerprint
    again, found = matched(moved, to=second)
    assert found.report["moved"].tolist() == [0.0] * len(found.report)
    assert again.fingerprint == moved.fingerprint


def test_numbers_stay_in_the_dtype_of_the_file(bases, tmp_path):
    folder = shutil.copytree(bases("llama"), tmp_path / "narrow")
    tensors = {name: value.bfloat16() for name, value in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    point = mc.Adapter.from_pretrained(folder)
    moved, _ = matched(point, to=point)
    assert isinstance(moved.own, StoredTensors)
    assert {one.dtype for one in moved.own.stored.values()} == {torch.bfloat16}
    assert moved.fingerprint == point.fingerprint


@pytest.mark.parametrize("side", [0, 1])
def test_adapters_are_refused(side, adapters, bases):
    points = [mc.Adapter.from_pretrained(folder) for folder in (adapters("llama", 1), bases("llama"))]
    told = r"only full fine-tunes can be matched(?s:.*)got: llama-1 \(LORA\)\n  remedy: adapters of one base share"
    with pytest.raises(AdapterError, match=told):
        matched(points[side], to=points[1 - side])


def test_combinations_are_refused(pair):
    first, second = pair("llama")
    told = r"got: .*t=0.5 \(a combination\)\n  remedy: .*of a combination match the checkpoints first"
    with pytest.raises(AdapterError, match=told):
        matched(mc.LinearPath(first, second)(0.5), to=second)


def test_different_functions_are_refused(bases, tmp_path):
    other = make_base(tmp_path / "other", "llama", rms_norm_eps=1e-3)
    points = [mc.Adapter.from_pretrained(folder) for folder in (bases("llama"), other)]
    with pytest.raises(AdapterError, match="different functions of their weights"):
        matched(points[0], to=points[1])

"""Bases spread by accelerate: the same numbers as on one device, and errors for maps and points that cannot work.

Layers on the "disk" have weights only while they compute, as those have that overflow a GPU.
"""

import gc
import logging
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from kind_cases import CASES
from kind_oracle import make_kind
from peft_oracle import load_peft, logits
from prompt_adapters import make_prompt
from random_tasks import random_task
from tiny import LABELS, make_adapter, make_base

import modeconn as mc
from modeconn.models.device_maps import map_options
from modeconn.models.offloaded import places

MIXED = {
    "llama": {
        "model.embed_tokens": "cpu",
        "model.rotary_emb": "cpu",
        "model.layers.0": "cpu",
        "model.layers.1": "disk",
        "model.norm": "disk",
        "lm_head": "cpu",
    },
    "gpt2": {
        "transformer.wte": "cpu",
        "transformer.wpe": "cpu",
        "transformer.h.0": "disk",
        "transformer.h.1": "cpu",
        "transformer.ln_f": "disk",
        "lm_head": "cpu",
    },
    "bert": {
        "bert.embeddings": "cpu",
        "bert.encoder.layer.0": "disk",
        "bert.encoder.layer.1": "cpu",
        "bert.pooler": "disk",
        "dropout": "cpu",
        "classifier": "cpu",
    },
    "t5": {"": "disk"},
}
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _folders_in_one_place(tmp_path_factory):
    """Temporary folders of offloaded weights where they can be counted."""
    before, tempfile.tempdir = tempfile.tempdir, str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = before


def ends_of(family, adapters):
    return [mc.Adapter.from_pretrained(adapters(family, seed=seed)) for seed in (1, 2)]


def spread(family, adapters, device_map=None, **settings):
    labels = LABELS if family == "bert" else None
    points = ends_of(family, adapters)
    device_map = device_map or MIXED[family]
    return mc.AdapterModel.from_pretrained(adapters=points, labels=labels, device_map=device_map, **settings), points


def away(model):
    return sorted(name for name, weight in model.module.named_parameters() if weight.device.type == "meta")


@pytest.mark.parametrize("family", list(MIXED))
def test_points_are_the_functions_that_peft_computes_on_one_device(family, adapters, bases):
    model, (point, _) = spread(family, adapters, dtype="float64")
    assert away(model)
    expected = logits(load_peft(family, bases(family), adapters(family, seed=1)))
    with model.at(point) as module:
        found = logits(module)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_path_passes_the_gate_and_has_the_losses_of_one_device(family, dtype, adapters):
    task = random_task(labels=LABELS if family == "bert" else None)
    model, ends = spread(family, adapters, dtype=dtype)
    before = away(model)
    found = mc.evaluate_path(mc.LinearPath(*ends), model, [task], num_points=3).frame
    alone, _ = spread(family, adapters, {"": "cpu"}, dtype=dtype)
    expected = mc.evaluate_path(mc.LinearPath(*ends), alone, [task], num_points=3, check=False).frame
    tolerance = {"float32": 1e-5, "bfloat16": 1e-2}[dtype]
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=tolerance)
    assert away(model) == before
    assert model.fingerprint == alone.fingerprint


def test_rows_are_packed_as_on_one_device(adapters):
    model, _ = spread("llama", adapters, {"": "disk"})
    assert model.family.packed
    assert model.family.lean
    assert model.device == CPU


def test_nothing_is_folded_and_nothing_moves(adapters):
    model, (point, _) = spread("llama", adapters)
    place = "model.layers.0.self_attn.q_proj"
    before = model.module.get_parameter(f"{place}.weight")
    with model.at(point) as module:
        assert module.get_parameter(f"{place}.weight") is before
        assert len(module.get_submodule(place)._forward_hooks) == 1
    assert not model.module.get_submodule(place)._forward_hooks


def test_a_weight_that_is_away_can_be_read(adapters):
    model, _ = spread("llama", adapters)
    alone, _ = spread("llama", adapters, {"": "cpu"})
    for name in away(model):
        assert torch.equal(model.weight(name), alone.weight(name))


@pytest.mark.parametrize("device_map", [{"": "disk"}, MIXED["llama"]], ids=["disk", "mixed"])
def test_a_fit_moves_the_bends_as_on_one_device(device_map, adapters):
    fits = []
    for where in (device_map, {"": "cpu"}):
        model, ends = spread("llama", adapters, where, dtype="float64")
        curve = mc.BezierCurve.between(*ends)
        task = make_task("first", 0)
        task = mc.Task(task.name, {**task.splits, "eval": task.split("test")}, task.labels)
        fits.append(mc.fit_curve(curve, model, [task], num_steps=3, eval_steps=3, seed=0, learning_rate=0.1))
    losses = [fit.history["loss"].dropna().to_numpy() for fit in fits]
    np.testing.assert_allclose(*losses, rtol=1e-6)
    one, other = (fit.curve.points[1].tensors for fit in fits)
    start = mc.BezierCurve.between(*ends_of("llama", adapters)).points[1].tensors
    assert max(float((one[name] - start[name]).abs().max()) for name in one) > 1e-3
    assert all(torch.allclose(one[name], other[name], atol=1e-6) for name in one)


def test_written_answers_are_those_of_one_device(adapters):
    records = [{"prompt": "the cat " * number, "answer": "good"} for number in (1, 2, 3)]
    task = mc.Task.from_records("words", {"test": records}, metric="rouge_l")
    texts = []
    for where in (MIXED["llama"], {"": "cpu"}):
        model, (point, _) = spread("llama", adapters, where)
        texts.append(model.evaluate(point, [model.encode(task)])[0].outputs.texts)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("case", ["delora", "vera", "boft", "ia3", "oft"])
def test_kinds_serve_where_their_modules_have_a_device(case, bases, tmp_path):
    made = CASES[case]
    folder = make_kind(tmp_path, bases("llama"), "llama", made.config, seed=1, std=made.std, **made.settings)
    point = mc.Adapter.from_pretrained(folder)
    elsewhere = {**MIXED["llama"], "model.layers.1": "cpu"}
    losses = []
    for where in (elsewhere, {"": "cpu"}):
        model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], device_map=where)
        encoded = model.encode(random_task())
        losses.append(model.evaluate(point, [encoded])[0].loss_sum)
        with model.reference(point) as module:
            np.testing.assert_allclose(model.score_rows(module, encoded)[0], losses[-1], rtol=1e-4)
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_prompt_serves_in_front_of_a_base_that_is_away(bases, tmp_path):
    point = mc.Adapter.from_pretrained(make_prompt(tmp_path, bases("llama"), "llama", "PROMPT_TUNING", seed=1))
    losses = []
    for where in ({"": "disk"}, {"": "cpu"}):
        model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], device_map=where)
        losses.append(model.evaluate(point, [model.encode(random_task())])[0].loss_sum)
    np.testing.assert_allclose(*losses, rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"use_dora": True}, r"model\.layers\.1\.self_attn\.q_proj\.weight"),
        ({"modules_to_save": ["norm"]}, r"model\.norm\.weight"),
    ],
    ids=["dora", "saved"],
)
def test_changes_that_need_a_weight_that_is_away_are_refused(settings, named, bases, tmp_path):
    point = mc.Adapter.from_pretrained(make_adapter(tmp_path, bases("llama"), "llama", seed=1, **settings))
    pattern = rf"(?s)of which weights are offloaded.*low-rank updates.*{named}.*--device-map"
    with pytest.raises(mc.ModelError, match=pattern):
        mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], device_map=MIXED["llama"])


def test_full_fine_tunes_are_refused(bases, tmp_path):
    point = mc.Adapter.from_pretrained(make_base(tmp_path / "full", "llama", seed=5))
    with pytest.raises(mc.ModelError, match=r"(?s)where that is spread over devices.*second model.*on one device"):
        mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], device_map=MIXED["llama"])


def test_grown_vocabularies_are_refused(bases, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = make_adapter(tmp_path / "a", bases("llama"), "llama", seed=1, modules_to_save=["embed_tokens", "lm_head"])
    file = folder / "adapter_model.safetensors"
    grown = {
        name: torch.cat([value, value[:3]]) if "embed_tokens" in name or "lm_head" in name else value
        for name, value in load_file(file).items()
    }
    save_file(grown, file)
    point = mc.Adapter.from_pretrained(folder)
    with pytest.raises(mc.ModelError, match=r"(?s)vocabulary cannot be changed.*26 tokens.*29 tokens"):
        mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], device_map=MIXED["llama"])


def test_the_memory_decides_what_is_away(adapters, caplog):
    with caplog.at_level(logging.WARNING):
        model, _ = spread("llama", adapters, "auto", max_memory="18KB")
    shares = places(model.module)
    assert shares["cpu"] + shares["offloaded"] == pytest.approx(1)
    assert shares["offloaded"] > 0.5
    assert "meta device" not in caplog.text
    roomy, _ = spread("llama", adapters, "auto", max_memory={"cpu": "1GiB"})
    assert not away(roomy)


def test_weights_that_no_file_gives_one_by_one_are_written_and_go_with_the_model(adapters, bases, tmp_path):
    """An old checkpoint, which safetensors cannot fetch single weights from."""
    folder = shutil.copytree(bases("llama"), tmp_path / "old")
    alone, (point, _) = spread("llama", adapters, {"": "cpu"})
    weights = {name: value.clone() for name, value in alone.module.state_dict().items()}
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    temporary = Path(tempfile.gettempdir())
    gc.collect()
    model = mc.AdapterModel.from_pretrained(folder, adapters=[point], device_map=MIXED["llama"])
    assert list(temporary.glob("modeconn-offload-*/*.safetensors"))
    task = random_task()
    found, expected = (one.evaluate(point, [one.encode(task)])[0].loss_sum for one in (model, alone))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    twin = model.twin()
    del model
    gc.collect()
    with torch.inference_mode():
        logits(twin)  # fetches from the same files
    del twin
    gc.collect()
    assert not list(temporary.glob("modeconn-offload-*"))


@pytest.mark.parametrize(
    ("device_map", "pattern"),
    [
        ("nonsense", r"(?s)unknown device map 'nonsense'.*auto, balanced"),
        ({}, "unknown device map {}"),
        (["cpu"], "unknown device map"),
        ('{"model": ', r"(?s)no JSON object.*single quotes"),
        ({"": "made-up"}, "cannot use the device 'made-up'"),
        ({"": "cpu", "lm_head": "meta"}, r"(?s)cannot put modules on 'meta'.*use \"disk\""),
        ({"": "cpu", "model.layerz": "disk"}, r"(?s)does not fit LlamaForCausalLM.*got: model\.layerz"),
        ({"model": "disk"}, r"(?s)cannot be loaded with this device map.*lm_head\.weight"),
        ({"model": "cpu", "lm_head.weight": "disk"}, "does not fit LlamaForCausalLM"),
    ],
)
def test_maps_that_cannot_be_followed_are_refused(device_map, pattern, adapters):
    with pytest.raises(mc.ModelError, match=pattern):
        mc.AdapterModel.from_pretrained(adapters=ends_of("llama", adapters), device_map=device_map)


def test_tied_weights_are_not_parted(adapters):
    """The decoder's table is the one that lies elsewhere: there is nothing to fetch it from."""
    parted = {"shared": "cpu", "encoder": "cpu", "decoder": "disk", "lm_head": "cpu"}
    with pytest.raises(mc.ModelError, match=r"(?s)cannot be spread like that.*decoder\.embed_tokens\.weight"):
        spread("t5", adapters, parted)


def test_a_device_and_a_map_contradict_each_other():
    with pytest.raises(mc.ModelError, match=r"(?s)contradict each other.*leave the device out"):
        map_options("auto", None, device=torch.device("meta"))


def test_a_map_that_says_all_takes_no_limit():
    with pytest.raises(mc.ModelError, match=r"(?s)max_memory.*cannot be followed.*leave max_memory out"):
        map_options({"": "cpu"}, "3GiB", device=CPU)


def test_rounded_bases_stay_on_devices(adapters):
    pytest.importorskip("bitsandbytes")
    with pytest.raises(mc.ModelError, match=r"(?s)cannot be loaded with this device map.*on devices only"):
        spread("llama", adapters, quantization="bnb-4bit")


def test_files_of_peft_beside_the_base_are_not_written(adapters, bases):
    """PEFT spreads a model again after loading an adapter, and writes copies of the base's files to do so."""
    before = sorted(path.name for path in Path(bases("llama")).parent.rglob("*"))
    model, (point, _) = spread("llama", adapters)
    with model.reference(point) as module:
        model.score_rows(module, model.encode(random_task()))
    assert sorted(path.name for path in Path(bases("llama")).parent.rglob("*")) == before

"""Full fine-tunes as points: every parameter as transformers loads it, read when it is asked for."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, make_base

import modeconn as mc
from modeconn.errors import AdapterError

Folder = Callable[[str], Path]
TASK_TYPES = {"llama": "CAUSAL_LM", "gpt2": "CAUSAL_LM", "bert": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM"}


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """The folder of a family's full fine-tune, made once; not to be changed."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = make_base(tmp_path_factory.mktemp("full") / family, family, seed=5)
        return made[family]

    return folder


@pytest.fixture
def spoilt(full: Folder, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a full fine-tune, with other tensors or another config."""

    def folder(family: str, tensors: dict[str, torch.Tensor] | None = None, **config: Any) -> Path:
        copy = tmp_path / "copy"
        shutil.copytree(full(family), copy, dirs_exist_ok=True)
        if tensors is not None:
            save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        settings = json.loads((copy / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(settings | config))
        return copy

    return folder


def weights_of(point: mc.Adapter) -> dict[str, torch.Tensor]:
    """Every parameter that a point replaces or saves."""
    like = torch.zeros((), dtype=torch.float32)
    return {name: update.replacement(like) for name, update in point.updates.items()} | dict(point.saved)


def assert_same(point: mc.Adapter, family: str, folder: Path) -> None:
    """The point holds what transformers loads, bit for bit, each parameter once."""
    model: Any = FAMILIES[family]()
    parameters = dict(type(model).from_pretrained(folder, dtype=torch.float32).named_parameters())
    found = weights_of(point)
    assert sorted(found) == sorted(parameters)
    assert all(torch.equal(found[name], parameters[name]) for name in found)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_weights_are_those_that_transformers_loads(family, full):
    point = mc.Adapter.from_pretrained(full(family))
    assert_same(point, family, full(family))
    assert (point.config.kind.name, point.config.task_type) == ("FULL", TASK_TYPES[family])


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_shards_hold_the_same_as_one_file(family, full, tmp_path):
    FAMILIES[family]().from_pretrained(full(family)).save_pretrained(tmp_path, max_shard_size="8KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert_same(mc.Adapter.from_pretrained(tmp_path), family, full(family))


@pytest.mark.parametrize("shards", [1, 2])
def test_old_pickles_are_read(shards, spoilt, full):
    folder = spoilt("llama")
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = ["pytorch_model.bin"] if shards == 1 else [f"pytorch_model-{n}.bin" for n in range(shards)]
    places = {name: names[number % shards] for number, name in enumerate(state)}
    for file in names:
        torch.save({name: value for name, value in state.items() if places[name] == file}, folder / file)
    if shards > 1:
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": places}))
    assert_same(mc.Adapter.from_pretrained(folder), "llama", full("llama"))


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_model_that_was_saved_without_its_head_has_the_backbones_names(family, full, tmp_path):
    whole = FAMILIES[family]().from_pretrained(full(family))
    whole.base_model.save_pretrained(tmp_path / "bare")
    point = mc.Adapter.from_pretrained(tmp_path / "bare")
    assert not any(name.startswith(whole.base_model_prefix) for name in load_file(tmp_path / "bare/model.safetensors"))
    prefix = f"{whole.base_model_prefix}."
    assert sorted(point.updates) == sorted(name for name, _ in whole.named_parameters() if name.startswith(prefix))
    assert not point.saved


def test_names_of_old_versions_are_read(full, spoilt):
    tensors = load_file(full("bert") / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in tensors.items()
    }
    old["bert.embeddings.position_ids"] = torch.arange(4)
    assert_same(mc.Adapter.from_pretrained(spoilt("bert", old)), "bert", full("bert"))


def test_a_tied_head_that_was_saved_as_well_is_one_parameter(full, spoilt):
    tensors = load_file(full("gpt2") / "model.safetensors")
    twice = tensors | {"lm_head.weight": tensors["transformer.wte.weight"].clone()}
    assert_same(mc.Adapter.from_pretrained(spoilt("gpt2", twice)), "gpt2", full("gpt2"))


def test_a_head_that_was_untied_in_training_is_a_parameter_of_its_own(full, spoilt):
    tensors = load_file(full("gpt2") / "model.safetensors")
    apart = tensors | {"lm_head.weight": 2 * tensors["transformer.wte.weight"]}
    point = mc.Adapter.from_pretrained(spoilt("gpt2", apart))
    assert torch.equal(weights_of(point)["lm_head.weight"], apart["lm_head.weight"])


def test_a_classifiers_head_is_saved_and_its_classes_are_known(spoilt):
    point = mc.Adapter.from_pretrained(spoilt("bert", id2label={"0": "good", "2": "maybe", "1": "bad"}))
    assert sorted(point.saved) == ["classifier.bias", "classifier.weight"]
    assert point.provenance["labels"] == ["good", "bad", "maybe"]


def test_a_head_of_several_layers_is_saved_whole(tmp_path):
    config = transformers.RobertaConfig(
        vocab_size=26, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, num_labels=2
    )
    transformers.RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    saved = mc.Adapter.from_pretrained(tmp_path).saved
    assert sorted(saved) == [
        f"classifier.{layer}.{leaf}" for layer in ("dense", "out_proj") for leaf in ("bias", "weight")
    ]


def test_opening_reads_no_numbers(spoilt, full):
    """A NaN is found when its tensor is read, and not before."""
    tensors = load_file(full("llama") / "model.safetensors")
    tensors["model.norm.weight"][3] = torch.nan
    point = mc.Adapter.from_pretrained(spoilt("llama", tensors))
    expected = (
        r"model.norm.weight in .* holds NaN or infinite values\n  expected: finite numbers\n"
        r"  got: 1 others among elements 0 to 16\n  remedy: the training diverged"
    )
    weights_of(mc.Adapter.from_pretrained(full("llama")))
    with pytest.raises(AdapterError, match=expected):
        weights_of(point)


@pytest.mark.parametrize("how", ["changed", "gone", "cut"])
def test_a_file_that_changes_afterwards_is_noticed(how, spoilt):
    folder = spoilt("llama")
    point = mc.Adapter.from_pretrained(folder)
    file = folder / "model.safetensors"
    if how == "changed":
        os.utime(file, ns=(1, 1))
    elif how == "gone":
        file.unlink()
    else:
        os.truncate(file, 1000)
    with pytest.raises(
        AdapterError, match=r"cannot read .* from .*\n  expected: the file as it was when it was opened"
    ):
        weights_of(point)


def test_the_fingerprint_is_that_of_the_content(full, spoilt):
    tensors = load_file(full("bert") / "model.safetensors")
    before = mc.Adapter.from_pretrained(full("bert")).fingerprint
    assert mc.Adapter.from_pretrained(spoilt("bert", tensors)).fingerprint == before
    for name in list(tensors)[::8]:
        changed = {key: value.clone() for key, value in tensors.items()}
        changed[name].view(-1)[-1] += 1e-3
        assert mc.Adapter.from_pretrained(spoilt("bert", changed)).fingerprint != before, name


def test_shapes_are_known_without_reading(full):
    point = mc.Adapter.from_pretrained(full("llama"))
    read = {name: tuple(value.shape) for name, value in weights_of(point).items()}
    assert dict(point.layout.shapes) == read
    assert not point.is_zero


def test_in_factors_space_the_tensors_themselves_are_combined(full, tmp_path):
    other = make_base(tmp_path / "other", "llama", seed=9)
    a, b = (mc.Adapter.from_pretrained(folder) for folder in (full("llama"), other))
    mean = weights_of(mc.LinearPath(a, b, space="factors")(0.5))
    one, two = weights_of(a), weights_of(b)
    for name, value in mean.items():
        torch.testing.assert_close(value, (one[name] + two[name]) / 2)


def test_an_adapter_folder_that_holds_a_model_as_well_is_an_adapter(adapters, tmp_path, full):
    folder = shutil.copytree(adapters("llama", seed=1), tmp_path / "both")
    shutil.copy(full("llama") / "model.safetensors", folder)
    assert mc.Adapter.from_pretrained(folder).config.kind.name == "LORA"


def test_a_head_that_has_another_name_in_the_file_is_the_models(tmp_path: Path) -> None:
    config = transformers.GPTNeoXConfig(
        vocab_size=30, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2
    )
    model = transformers.GPTNeoXForCausalLM(config)
    model.save_pretrained(tmp_path)
    if "embed_out.weight" not in load_file(tmp_path / "model.safetensors"):
        pytest.skip("this version of transformers writes the head under its own name")
    point = mc.Adapter.from_pretrained(tmp_path)
    found = point.updates["lm_head.weight"].replacement(torch.zeros(30, 16))
    assert torch.equal(found, model.lm_head.weight)

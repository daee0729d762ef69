"""Whether a point belongs to a base: by names, shapes, fingerprint and copied embeddings."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_base

import modeconn as mc
from modeconn.errors import ModelError


@pytest.fixture
def point(adapters):
    return mc.Adapter.from_pretrained(adapters("llama", seed=1))


def test_a_base_of_another_width_is_refused(point, tmp_path):
    wider = make_base(tmp_path / "wider", "llama", hidden_size=32)
    expected = (
        r"llama-1 does not fit the base model .*wider\n  expected: updates in the shapes of the base's parameters\n"
        r"  got: model\.layers\.0\.self_attn\.q_proj\.weight \[16, 16\] for \[32, 32\], .*\n"
        r"  remedy: give the base that it was trained on \(it names '.*base'\)"
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(wider, adapters=[point])


def test_a_base_with_other_layer_names_is_refused(point, bases):
    expected = (
        r"expected: a base that has all 4 parameters that the adapter changes\n"
        r"  got: 4 of them are not there: model\.layers\.0\.self_attn\.q_proj\.weight, "
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(bases("gpt2"), adapters=[point])


def test_a_base_with_fewer_layers_is_refused(point, tmp_path):
    shallow = make_base(tmp_path / "shallow", "llama", num_hidden_layers=1)
    with pytest.raises(
        ModelError, match=r"got: 2 of them are not there: model\.layers\.1\.self_attn\.q_proj\.weight, "
    ):
        mc.AdapterModel.from_pretrained(shallow, adapters=[point])


def test_every_adapter_is_checked_not_only_the_first(point, adapters, tmp_path):
    other = mc.Adapter.from_pretrained(adapters("llama", seed=2, target_modules=["gate_proj"]), name="gates")
    narrow = make_base(tmp_path / "narrow", "llama", intermediate_size=24)
    with pytest.raises(
        ModelError, match=r"gates does not fit .*\n.*\n  got: .*gate_proj\.weight \[32, 16\] for \[24, 16\]"
    ):
        mc.AdapterModel.from_pretrained(narrow, adapters=[point, other])


def recorded(adapter, folder, **provenance):
    """A copy of an adapter with what the trainer notes beside it."""
    shutil.copytree(adapter, folder)
    (folder / "modeconn.json").write_text(json.dumps(provenance))
    return mc.Adapter.from_pretrained(folder)


def test_another_base_of_the_same_shapes_is_told_by_its_fingerprint(adapters, bases, tmp_path):
    own = mc.AdapterModel.from_pretrained(bases("llama"))
    point = recorded(adapters("llama", seed=1), tmp_path / "adapter", base_fingerprint=own.fingerprint)
    other = make_base(tmp_path / "other", "llama", seed=1)
    found = mc.AdapterModel.from_pretrained(other).fingerprint
    expected = (
        rf"adapter was trained on another base model than {other}\n  expected: the base with fingerprint "
        rf"{own.fingerprint[:12]} \(.*\)\n  got: fingerprint {found[:12]}\n  remedy: give the base .* with --base-model"
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(other, adapters=[point])
    mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])


@pytest.mark.parametrize("dtype", ["float64", "bfloat16", "float16"])
def test_the_right_base_is_known_in_every_dtype(dtype, adapters, bases, tmp_path):
    own = mc.AdapterModel.from_pretrained(bases("llama"))
    point = recorded(adapters("llama", seed=1), tmp_path / "adapter", base_fingerprint=own.fingerprint)
    assert mc.AdapterModel.from_pretrained(adapters=[point], dtype=dtype).fingerprint == own.fingerprint


def test_embeddings_of_another_base_are_told_by_their_copy(adapters, tmp_path):
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1, target_modules=["embed_tokens"]))
    other = make_base(tmp_path / "other", "llama", seed=1)
    expected = r"trained on other embeddings than .*\n.*\n  got: differences in model\.embed_tokens\.weight \[26, 16\]"
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(other, adapters=[point])


@pytest.mark.parametrize("saved_as", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_rounded_copy_of_the_embeddings_is_the_bases(saved_as, dtype, adapters, bases, tmp_path):
    """Training in half precision saves the table as it saw it."""
    folder = shutil.copytree(adapters("llama", seed=1, target_modules=["embed_tokens"]), tmp_path / "adapter")
    tensors = {name: value.to(saved_as) for name, value in load_file(folder / "adapter_model.safetensors").items()}
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    point = mc.Adapter.from_pretrained(folder)
    assert list(point.base_copies) == ["model.embed_tokens.weight"]
    mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], dtype=dtype)

"""Which base the adapters mean, where they name several."""

import pytest
import torch
from points import make_point, make_tensors
from safetensors.torch import save_file

from modeconn.errors import ModelError
from modeconn.models.loading import named_base


def point(base):
    return make_point(make_tensors(0), base_model_name_or_path=str(base))


def folder(path, dtype=torch.float32):
    """A base's weights."""
    path.mkdir()
    values = torch.randn(20, 20, generator=torch.Generator().manual_seed(0))
    save_file({"w": values.to(dtype)}, path / "model.safetensors")
    return path


def test_copies_of_one_base_are_one_base(tmp_path):
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two")
    assert named_base([point(one), point(two)]) == str(one)


def test_a_rounded_copy_must_be_chosen(tmp_path):
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two", torch.bfloat16)
    told = rf"base model is not known\n.*\n  got: {one} and {two}, one a rounded copy of another\n  remedy: .*--base"
    with pytest.raises(ModelError, match=told):
        named_base([point(one), point(two)])


def test_names_of_what_is_not_there_must_be_equal():
    assert named_base([point("owner/llama"), point("owner/llama")]) == "owner/llama"
    with pytest.raises(ModelError, match=r"got: me/llama and owner/llama\n"):
        named_base([point("owner/llama"), point("me/llama")])

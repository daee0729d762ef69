"""Points of different bases are refused where that is known, and where only names tell and no base was given."""

import re
from pathlib import Path

import pytest
import torch
from points import make_point, make_tensors
from safetensors.torch import save_file

from modeconn.adapters import Adapter
from modeconn.adapters.adapter import combine
from modeconn.adapters.agreement import check_same_names
from modeconn.errors import AdapterError
from modeconn.paths import LinearPath
from modeconn.paths.joining import joining


def point(seed: int, base: str | Path | None, **noted: str) -> Adapter:
    named = {"base_model_name_or_path": None if base is None else str(base)}
    return make_point(make_tensors(seed), fields={"name": f"p{seed}", "provenance": noted}, **named)


def model(folder: Path, seed: int) -> Path:
    """Weights in a folder, of one size whatever the seed."""
    folder.mkdir(parents=True)
    save_file({"w": torch.randn(64, 64, generator=torch.Generator().manual_seed(seed))}, folder / "model.safetensors")
    return folder


def test_folders_that_hold_different_weights(tmp_path):
    one, two = model(tmp_path / "a" / "base", 1), model(tmp_path / "b" / "base", 2)
    told = (
        rf"different base models(?s:.*)got: p1 of {one} and p2 of {two}, whose weights differ\n  remedy: join .* name"
    )
    with pytest.raises(AdapterError, match=told):
        LinearPath(point(1, one), point(2, two))
    with pytest.raises(AdapterError, match="different base models"):
        combine([0.5, 0.5], [point(1, one), point(2, two)])


def test_a_copy_of_a_base_is_that_base(tmp_path):
    one, two = model(tmp_path / "a", 1), model(tmp_path / "b", 1)
    assert LinearPath(point(1, one), point(2, two)).distance(1.0) > 0
    assert LinearPath(point(1, one), point(2, f"{tmp_path}/b/../a")).distance(1.0) > 0


def test_fingerprints_count_for_more_than_names(tmp_path):
    one, two = model(tmp_path / "a", 1), model(tmp_path / "b", 2)
    first, second = (point(n, base, base_fingerprint="ab") for n, base in ((1, one), (2, two)))
    assert LinearPath(first, second).distance(1.0) > 0
    check_same_names([first, second])


def test_names_of_two_models_are_refused_where_no_base_is_given():
    first, second = point(1, "owner/llama"), point(2, "owner/mistral")
    told = "got: owner/llama by p1 and owner/mistral by p2\n  remedy: join checkpoints of one base; .* --base-model"
    with pytest.raises(AdapterError, match=told):
        check_same_names([first, second])
    assert LinearPath(first, second).distance(1.0) > 0  # the base may be given later


@pytest.mark.parametrize("name", ["owner/llama", "/gone/since/Llama", None])
def test_a_base_that_moved_keeps_its_name(name):
    points = [point(1, "other/llama"), point(2, name)]
    check_same_names(points)
    assert joining(*points).refused == {}


def test_names_of_two_models_are_told_for_every_space():
    told = joining(point(1, "owner/llama"), point(2, "owner/mistral")).refused
    assert sorted(told) == ["aligned-factors", "factors", "weights"]
    assert all(re.match("the points name different base models: owner/llama by p1", why) for why in told.values())

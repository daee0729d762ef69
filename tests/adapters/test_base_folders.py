"""Folders of base models are compared by their numbers, whatever files and dtypes hold them."""

import json
from pathlib import Path

import pytest
import torch
from points import make_point, make_tensors
from safetensors.torch import save_file

from modeconn.adapters.agreement import check_same_names
from modeconn.adapters.base_folders import Sameness, compared
from modeconn.errors import AdapterError
from modeconn.paths import LinearPath
from modeconn.paths.joining import joining

WEIGHTS = {f"layer.{n}": torch.randn(40, 30, generator=torch.Generator().manual_seed(n)) for n in range(3)}


def whole(folder: Path, weights=WEIGHTS) -> Path:
    """All weights in one file."""
    folder.mkdir()
    save_file(weights, folder / "model.safetensors")
    return folder


def sharded(folder: Path, weights=WEIGHTS) -> Path:
    """A file for each weight, and an index."""
    folder.mkdir()
    places = {}
    for number, (name, value) in enumerate(reversed(weights.items())):
        places[name] = f"model-{number}.safetensors"
        save_file({name: value}, folder / places[name])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    return folder


def pickled(folder: Path, weights=WEIGHTS) -> Path:
    """An old file."""
    folder.mkdir()
    torch.save(dict(weights), folder / "pytorch_model.bin")
    return folder


def narrow(weights=WEIGHTS, dtype=torch.bfloat16):
    return {name: value.to(dtype) for name, value in weights.items()}


def point(seed: int, base: Path):
    return make_point(make_tensors(seed), fields={"name": f"p{seed}"}, base_model_name_or_path=str(base))


@pytest.mark.parametrize("form", [sharded, pickled])
def test_other_files_of_one_model(form, tmp_path):
    one, two = whole(tmp_path / "one"), form(tmp_path / "two")
    assert compared(one, two) is Sameness.ONE
    points = [point(1, one), point(2, two)]
    assert LinearPath(*points)(0.5)
    check_same_names(points)  # folders of other names


def test_a_dtype_that_holds_every_number(tmp_path):
    short = narrow()
    wide = {name: value.float() for name, value in short.items()}
    assert compared(whole(tmp_path / "one", short), sharded(tmp_path / "two", wide)) is Sameness.ONE


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_rounded_copy_is_told_from_another_model(dtype, tmp_path):
    one, two = whole(tmp_path / "one"), whole(tmp_path / "two", narrow(dtype=dtype))
    assert compared(one, two) is compared(two, one) is Sameness.ROUNDED
    points = [point(1, one), point(2, two)]
    told = (
        rf"one base model in two precisions\n  expected: .*\n  got: {one} by p1 and {two} by p2, one of them a rounded"
        r" copy of the other\n  remedy: give the one that is to be used with --base-model"
    )
    with pytest.raises(AdapterError, match=told):
        check_same_names(points)
    assert "weights" in joining(*points).refused
    assert joining(*points, base_given=True).spaces == ("weights", "factors", "aligned-factors")


def changed(name, place):
    """The weights with one number that is another."""
    value = WEIGHTS[name].clone()
    value.view(-1)[place] += 1e-3
    return WEIGHTS | {name: value}


@pytest.mark.parametrize(("name", "place"), [("layer.0", 0), ("layer.1", 777), ("layer.2", 1199)])
@pytest.mark.parametrize("form", [whole, sharded])
def test_one_number_makes_another_model(name, place, form, tmp_path):
    one, two = whole(tmp_path / "one"), form(tmp_path / "two", changed(name, place))
    assert compared(one, two) is Sameness.DIFFERENT
    with pytest.raises(AdapterError, match=r"(?s)different base models.*whose weights differ"):
        LinearPath(point(1, one), point(2, two))


def test_a_rounded_copy_of_another_model_is_another(tmp_path):
    one, two = (
        whole(tmp_path / "one"),
        whole(tmp_path / "two", narrow(changed("layer.2", 5) | {"layer.2": WEIGHTS["layer.1"]})),
    )
    assert compared(one, two) is Sameness.DIFFERENT


def test_other_names_or_shapes_make_another_model(tmp_path):
    one = whole(tmp_path / "one")
    fewer = whole(tmp_path / "fewer", {name: WEIGHTS[name] for name in ("layer.0", "layer.1")})
    turned = whole(tmp_path / "turned", {name: value.T.contiguous() for name, value in WEIGHTS.items()})
    assert compared(one, fewer) is compared(one, turned) is Sameness.DIFFERENT


def test_a_file_that_has_changed_is_read_again(tmp_path):
    one, two = whole(tmp_path / "one"), whole(tmp_path / "two")
    assert compared(one, two) is Sameness.ONE
    save_file(changed("layer.0", 3) | {"new": torch.ones(2)}, two / "model.safetensors")
    assert compared(one, two) is Sameness.DIFFERENT


def test_what_is_not_there_or_broken_is_not_known(tmp_path):
    one, broken = whole(tmp_path / "one"), whole(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    for other in (tmp_path / "gone", broken, tmp_path):
        assert compared(one, other) is Sameness.UNKNOWN
    assert LinearPath(point(1, one), point(2, tmp_path / "gone" / "one"))(0.5)

"""Weight files that are broken, hostile or incomplete are refused whole; nothing in them runs or is skipped."""

import json
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch
from points import PREFIX, make_tensors, write_folder
from safetensors.torch import load_file, save_file

from modeconn.adapters import Adapter
from modeconn.errors import AdapterError

A, B = f"{PREFIX}layers.0.q.lora_A.weight", f"{PREFIX}layers.0.q.lora_B.weight"
WHOLE = "expected: whole tensors and nothing else"


def fails(source, *parts):
    """Reading must fail, and the message hold these parts in this order."""
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(map(re.escape, parts))):
        Adapter.from_pretrained(source)


@pytest.fixture
def folder(tmp_path):
    """A good adapter folder, to be spoilt."""
    return write_folder(tmp_path / "adapter")


@pytest.fixture
def pickled(folder):
    """A good adapter folder whose weights are to be pickled."""
    (folder / "adapter_model.safetensors").unlink()
    return folder


class Intruder:
    """Writes a file when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.write_text, (self.target, "I was here")


def test_a_file_that_breaks_off(folder):
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    fails(folder, f"cannot read the weights of the adapter in {folder}", WHOLE, "got: SafetensorError", "copy it again")


def test_a_file_of_zero_bytes(folder):
    (folder / "adapter_model.safetensors").write_bytes(b"")
    fails(folder, "cannot read the weights", WHOLE, "got: SafetensorError")


@pytest.mark.parametrize("size", [2**62, 10**8 + 1, 10**6], ids=["absurd", "over the limit", "longer than the file"])
def test_a_header_that_claims_too_many_bytes(folder, size):
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", size) + b"{}" * 50)
    fails(folder, "cannot read the weights", WHOLE, "got: SafetensorError")


def test_a_tensor_that_claims_more_bytes_than_there_are(folder):
    header = json.dumps({A: {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    (folder / "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    fails(folder, "cannot read the weights", WHOLE, "got: SafetensorError")


def test_a_pickle_of_tensors_is_read(pickled):
    torch.save(make_tensors(0), pickled / "adapter_model.bin")
    assert torch.equal(Adapter.from_pretrained(pickled).tensors[A], make_tensors(0)[A])


def test_a_pickle_of_trainable_parameters_is_read_without_their_gradients(pickled):
    parameters = {name: torch.nn.Parameter(value) for name, value in make_tensors(0).items()}
    torch.save(parameters, pickled / "adapter_model.bin")
    assert not any(value.requires_grad for value in Adapter.from_pretrained(pickled).tensors.values())


def save_plain(value, file):
    """Pickled without torch's archive around it."""
    file.write_bytes(pickle.dumps(value, protocol=2))


@pytest.mark.parametrize("save", [torch.save, save_plain])
def test_code_in_a_pickle_is_refused_and_does_not_run(pickled, tmp_path, save):
    target = tmp_path / "intrusion"
    pickle.loads(pickle.dumps(Intruder(target)))
    assert target.exists()  # the attack works on a reader that trusts the file
    target.unlink()
    save({"extra": Intruder(target)}, pickled / "adapter_model.bin")
    fails(pickled, "cannot read the weights", "a pickle may not hold code", "got: UnpicklingError", "as safetensors")
    with pytest.raises(AdapterError, match=r"got: UnpicklingError: \w[^\n]*nsupported [^\n]*GLOBAL getattr") as caught:
        Adapter.from_pretrained(pickled)
    assert "weights_only" not in str(caught.value)  # torch's way to run it all the same
    assert not target.exists()


def test_a_pickle_beside_good_safetensors_is_not_opened(folder, tmp_path):
    torch.save({"x": Intruder(tmp_path / "intrusion")}, folder / "adapter_model.bin")
    assert Adapter.from_pretrained(folder).updates
    assert not (tmp_path / "intrusion").exists()


def test_a_broken_pickle(pickled):
    (pickled / "adapter_model.bin").write_bytes(b"no pickle at all")
    fails(pickled, "cannot read the weights", WHOLE, "remedy: save the adapter again")


def test_a_pickle_of_a_list(pickled):
    torch.save(list(make_tensors(0).values()), pickled / "adapter_model.bin")
    fails(pickled, "cannot read the weights", WHOLE, "got: TypeError: a list instead of a dict of tensors")


@pytest.mark.parametrize(
    ("extra", "got"),
    [
        ({"epoch": 3}, "epoch (int)"),
        ({7: torch.ones(2)}, "7 (Tensor)"),
        ({"ids": torch.ones(2, dtype=torch.int64)}, "ids (torch.int64, torch.strided)"),
        ({"sparse": torch.eye(2).to_sparse()}, "sparse (torch.float32, torch.sparse_coo)"),
    ],
    ids=["number", "nameless", "integers", "sparse"],
)
def test_values_that_are_no_weights(pickled, extra, got):
    torch.save({**make_tensors(0), **extra}, pickled / "adapter_model.bin")
    fails(
        pickled, "values that are not weights", "tensors of floating point numbers", f"got: {got}", "save the adapter"
    )


def test_integers_in_safetensors(tmp_path):
    quantised = make_tensors(0) | {A: torch.ones(2, 5, dtype=torch.int8)}
    fails(write_folder(tmp_path / "a", quantised), "values that are not weights", f"got: {A} (torch.int8")


def test_empty_tensors_are_known_as_those_of_deepspeed(tmp_path):
    ungathered = make_tensors(0) | {A: torch.zeros(0), B: torch.zeros(0)}
    parts = "holds empty tensors", "no dimension of size 0", f"got: {A}, {B}", "remedy: DeepSpeed ZeRO-3", "gathering"
    fails(write_folder(tmp_path / "a", ungathered), *parts)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite(tmp_path, value):
    tensors = make_tensors(0)
    tensors[B][1, 1] = value
    parts = "holds NaN or infinite values", "finite numbers", f"got: {B}", "remedy: the training diverged"
    fails(write_folder(tmp_path / "a", tensors), *parts)


def test_numbers_that_are_too_large_for_float32(tmp_path):
    tensors = make_tensors(0) | {B: torch.full((6, 2), 1e300, dtype=torch.float64)}
    fails(write_folder(tmp_path / "a", tensors), "holds NaN or infinite values", f"got: {B}")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_every_floating_point_type_is_read_as_float32(folder, dtype):
    file = folder / "adapter_model.safetensors"
    narrow = {name: value.to(dtype) for name, value in load_file(file).items()}
    save_file(narrow, file)
    tensors = Adapter.from_pretrained(folder).tensors
    assert all(torch.equal(tensors[name], value.float()) for name, value in narrow.items())


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_float8_is_refused_for_want_of_its_scales(folder, dtype):
    file = folder / "adapter_model.safetensors"
    save_file({name: value.to(dtype) for name, value in load_file(file).items()}, file)
    parts = "of a dtype that cannot be read", "expected: float64, float32", f"got: {A} ({dtype})", "float8 needs scales"
    fails(folder, *parts, "remedy: save the adapter again in bfloat16 or float32")


def test_a_file_that_changes_after_reading_changes_nothing(folder):
    adapter = Adapter.from_pretrained(folder)
    before = {name: value.clone() for name, value in adapter.tensors.items()}
    file = folder / "adapter_model.safetensors"
    with file.open("r+b") as handle:  # in place: a mapped file would show it
        handle.seek(file.stat().st_size // 2)
        handle.write(bytes(file.stat().st_size - file.stat().st_size // 2))
    assert all(torch.equal(before[name], value) for name, value in adapter.tensors.items())

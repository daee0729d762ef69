"""Full models that are broken or hostile: what is wrong is said, and no code runs."""

import json
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import make_base
from transformers import MixtralConfig, MixtralForCausalLM

from modeconn.adapters.adapter import Adapter
from modeconn.errors import AdapterError

NAME = "model.norm.weight"
COPY_AGAIN = r"remedy: copy the file again if the copy broke off, or save the model again"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A full fine-tune; not to be changed."""
    return make_base(tmp_path_factory.mktemp("good") / "model", "llama", seed=5)


@pytest.fixture
def folder(good: Path, tmp_path: Path) -> Path:
    """A full fine-tune, to be spoilt."""
    return Path(shutil.copytree(good, tmp_path / "model"))


def fails(folder: Path, *parts: str) -> None:
    """Reading must fail, and the message hold these patterns in this order."""
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(parts)):
        Adapter.from_pretrained(folder)


def write_header(file: Path, header: object, *, data: int = 8) -> None:
    """A safetensors file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + bytes(data))


def entry(**changes: Any) -> dict[str, Any]:
    """One tensor of a header: two float32 numbers."""
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def test_the_model_is_good_before_it_is_spoilt(folder):
    assert len(Adapter.from_pretrained(folder).updates) == 21


HEADERS = {
    "no object": ([1], "got: a list as header"),
    "not JSON": (b"{", "got: JSONDecodeError"),
    "no text": (b'{"\xc3(": 1}', "got: UnicodeDecodeError"),
    "nested without end": (b"[" * 100_000, "got: RecursionError"),
    "a name twice": (b'{"a": {}, "a": {}}', "got: ValueError: repeated names: a"),
    "an entry that is a number": ({"a": 3}, r"got: an entry '3' for a"),
    "no offsets": ({"a": {"dtype": "F32", "shape": [2]}}, "got: an entry .* for a"),
    "three offsets": ({"a": entry(data_offsets=[0, 4, 8])}, "got: an entry .* for a"),
    "a negative size": ({"a": entry(shape=[-2])}, r"got: shape \[-2\] at 0, 8 for a"),
    "a size that is no number": ({"a": entry(shape=[2.0])}, r"got: shape \[2.0\] at 0, 8 for a"),
    "a size that is a truth value": ({"a": entry(shape=[True])}, r"got: shape \[True\]"),
    "a dtype that is no name": ({"a": entry(dtype=[])}, r"got: dtype \[\] for a"),
    "another number of bytes": ({"a": entry(shape=[3])}, r"got: 8 bytes for a of shape \[3\] and dtype F32"),
    "an absurd shape": ({"a": entry(shape=[1 << 62])}, r"got: 8 bytes for a of shape \[4611686018427387904\]"),
    "a hole": ({"a": entry(data_offsets=[4, 12])}, "got: a at byte .* where byte .* is free"),
    "tensors that overlap": ({"a": entry(), "b": entry()}, "got: b at byte .* where byte .* is free"),
    "more than the file": ({"a": entry(shape=[4], data_offsets=[0, 16])}, "got: .* bytes where the header promises"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_header_that_is_not_one(case, folder):
    header, told = HEADERS[case]
    write_header(folder / "model.safetensors", header)
    fails(folder, r"cannot read the weights in .*model.safetensors", "a whole safetensors file", told, COPY_AGAIN)


@pytest.mark.parametrize("size", [0, 7, 8, 100, 5000], ids=lambda size: f"{size} bytes left")
def test_a_file_that_is_cut_off(size, folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:size])
    fails(folder, "cannot read the weights", r"got: .*(bytes|JSONDecodeError)", COPY_AGAIN)


def test_a_file_with_something_behind_it(folder):
    with (folder / "model.safetensors").open("ab") as file:
        file.write(b"more")
    fails(folder, "cannot read the weights", r"got: [\d,]+ bytes where the header promises", COPY_AGAIN)


@pytest.mark.parametrize("length", [1 << 40, (1 << 64) - 1])
def test_a_header_of_absurd_size(length, folder):
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", length) + b"{}")
    fails(folder, "cannot read the weights", rf"got: a header of {length:,} bytes in a file of 10", COPY_AGAIN)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F4", "C64"])
def test_a_dtype_that_cannot_be_read(kind, folder):
    write_header(folder / "model.safetensors", {"a": entry(dtype=kind)})
    told = rf"got: {kind} in a{' .float8 needs scales' if 'F8' in kind else ''}"
    fails(
        folder, "holds numbers of a dtype that cannot be read", "BF16", told, "remedy: save the model again in bfloat16"
    )


def settings(folder: Path, **changes: object) -> None:
    """Change settings of config.json."""
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vocab_size", "x"),
        ("num_hidden_layers", "two"),
        ("hidden_size", -16),
        ("hidden_size", [16]),
        ("rope_parameters", 3),
        ("id2label", ["a"]),
        ("id2label", {"a": "x"}),
        ("architectures", 5),
        ("model_type", ["llama"]),
    ],
)
def test_a_setting_of_another_sort(key, value, folder):
    settings(folder, **{key: value})
    fails(folder, "cannot tell what model .* is", "settings of the sorts that it reads", "got: .*model_type", "remedy:")


@pytest.mark.parametrize("name", ["num_hidden_layers", "num_experts", "n_layer", "num_decoder_layers", "num_labels"])
def test_a_number_that_no_model_has(name, folder):
    """Building a billion layers does not end."""
    settings(folder, **{name: 10**9})
    fails(folder, "cannot tell what model .* is", "whose numbers end at 1, ", f"got: {name}=1000000000", "remedy: use")


def test_a_number_of_a_model_within_a_model(folder):
    settings(folder, text_config={"num_hidden_layers": 10**9})
    fails(folder, "cannot tell what model .* is", "got: num_hidden_layers=1000000000")


def index(folder: Path, weight_map: object) -> None:
    """Put an index in the place of the weights."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("place", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x", "..", ""])
def test_an_index_that_leaves_the_folder(place, folder):
    index(folder, {NAME: place})
    told = rf"got: paths that leave the folder: {re.escape(repr(place))}"
    fails(
        folder,
        "cannot read the shards of .*index.json",
        "in a file of the same folder",
        told,
        "do not trust this model",
    )


@pytest.mark.parametrize("weight_map", [None, [], {}, {NAME: 3}])
def test_an_index_without_a_map(weight_map, folder):
    index(folder, weight_map)
    fails(folder, "cannot read the shards", r"got: TypeError: \"weight_map\" is not", "remedy: save the model again")


def test_a_shard_that_is_missing(folder):
    index(folder, {NAME: "model-00002-of-00002.safetensors"})
    fails(folder, "got: no file model-00002-of-00002.safetensors", "remedy: download or copy the missing shards")


def test_an_index_of_other_shards(folder):
    index(folder, {NAME: "model-00001-of-00001.safetensors", "gone": "model-00001-of-00001.safetensors"})
    fails(folder, "in the index or in a shard only: gone in model-00001-of-00001.safetensors, lm_head.weight in")


def test_a_tensor_in_two_shards(folder):
    shard = folder / "model-00001-of-00001.safetensors"
    names = list(load_file(folder / "model.safetensors"))
    index(folder, dict.fromkeys(names, shard.name))
    save_file({NAME: torch.ones(16)}, folder / "model-00002-of-00002.safetensors")
    places = dict.fromkeys(names, shard.name) | {"lm_head.weight": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    fails(folder, rf"in a shard only: .*{NAME} in model-00002", "take index and shards of one checkpoint")


class Attack:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Path]]:
        return Path.touch, (self.mark,)


def test_code_in_a_pickle_does_not_run(folder, tmp_path):
    mark = tmp_path / "ran"
    (folder / "model.safetensors").unlink()
    torch.save({NAME: Attack(mark)}, folder / "pytorch_model.bin")
    fails(
        folder,
        "pytorch_model.bin",
        r"\(a pickle may not hold code\)",
        r"got: UnpicklingError: \w[^\n]*nsupported [^\n]*\n  remedy: save the model",
    )
    assert not mark.exists()


@pytest.mark.parametrize("content", [{NAME: 3}, [torch.ones(2)], {3: torch.ones(2)}, {NAME: torch.ones(2).to_sparse()}])
def test_a_pickle_of_something_else(content, folder):
    (folder / "model.safetensors").unlink()
    torch.save(content, folder / "pytorch_model.bin")
    fails(folder, "cannot read the weights in .*pytorch_model.bin", "got: TypeError")


def respoilt(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """The folder with other tensors."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_missing_weights(folder):
    fails(
        respoilt(folder, lambda tensors: tensors.pop(NAME)),
        "the model in .* lacks weights", "all 21 parameters that its config.json describes",
        f"got: nothing for {NAME}", "load it with this version of transformers",
    )  # fmt: skip


def test_weights_of_something_else(folder):
    fails(
        respoilt(folder, lambda tensors: tensors.update(adapter=torch.ones(2))),
        "holds tensors that would not be used", "of the model that its config.json describes", "got: adapter",
    )  # fmt: skip


def test_a_shape_that_the_config_does_not_give(folder):
    fails(
        respoilt(folder, lambda tensors: tensors.update({"lm_head.weight": torch.ones(30, 16)})),
        "do not fit its config.json", r"got: lm_head.weight \[30, 16\] for \[26, 16\]", "remedy: use the config.json",
    )  # fmt: skip


def test_a_quantised_checkpoint(folder):
    fails(
        respoilt(folder, lambda tensors: tensors.update({NAME: torch.ones(16, dtype=torch.int8)})),
        "do not fit", "a quantised checkpoint cannot be an end", f"got: {NAME} of torch.int8",
    )  # fmt: skip


def test_empty_tensors_name_their_cause(folder):
    fails(
        respoilt(folder, lambda tensors: tensors.update({NAME: torch.empty(0)})),
        rf"got: {NAME} \[0\] for \[16\]", "DeepSpeed ZeRO-3 leaves when saved without gathering",
    )  # fmt: skip


CONFIGS = {
    "not JSON": ("{", "cannot read .*config.json", "expected: a JSON object", "got: JSONDecodeError"),
    "a list": ("[]", "cannot read .*config.json", "expected: a JSON object", "got: TypeError: a list"),
    "unknown model": (
        '{"model_type": "novelty", "architectures": ["NoveltyForCausalLM"]}',
        "cannot tell what model .* is", r"code that comes with a\s+model is not run",
        r"got: model_type 'novelty', architectures \['NoveltyForCausalLM'\]: KeyError",
        "remedy: take a model that this version of transformers has",
    ),
    "no head that is known": (
        '{"model_type": "wav2vec2"}',
        "cannot tell what model .* is",
        "got: model_type 'wav2vec2', architectures None: TypeError",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_that_cannot_be_read(case, folder):
    text, *parts = CONFIGS[case]
    (folder / "config.json").write_text(text)
    fails(folder, *parts)


def test_a_config_that_is_missing(folder):
    (folder / "config.json").unlink()
    fails(folder, "cannot read .*config.json", "got: no such file", "remedy: give the folder that save_pretrained of")


def test_a_config_without_weights(folder):
    (folder / "model.safetensors").unlink()
    fails(folder, "cannot read .*adapter_config.json", "remedy: this looks like a full model without weights")


@pytest.mark.parametrize("lost", ["experts.1.w1", "experts.0.w2"])
def test_experts_of_which_one_is_missing(lost, tmp_path):
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MixtralConfig(vocab_size=26, num_key_value_heads=2, num_local_experts=2, **sizes)
    MixtralForCausalLM(config).save_pretrained(tmp_path)
    tensors = {name: one for name, one in load_file(tmp_path / "model.safetensors").items() if lost not in name}
    save_file(tensors, tmp_path / "model.safetensors")
    told = r"got: model.layers.0.block_sparse_moe.experts.\d.w\d.weight.*one by one, of which some are missing"
    fails(tmp_path, "the experts of the model in .* cannot be read", told, r"remedy: .*save_file\(model.state_dict\(\)")


def test_experts_that_are_stacked_in_the_file_are_read_as_the_remedy_says(tmp_path):
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = MixtralForCausalLM(MixtralConfig(vocab_size=26, num_key_value_heads=2, num_local_experts=2, **sizes))
    model.save_pretrained(tmp_path)
    save_file(model.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    point, parameters = Adapter.from_pretrained(tmp_path), dict(model.named_parameters())
    assert point.updates.keys() == parameters.keys()
    assert all(torch.equal(point.updates[name].replacement(torch.zeros(())), one) for name, one in parameters.items())
    loaded = MixtralForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(one, loaded.get_parameter(name)) for name, one in parameters.items())

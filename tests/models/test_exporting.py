"""Points as merged full models: transformers loads the function that the placed point is."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from launches import WITHOUT_QUANTISED
from peft_oracle import load_base, load_peft, logits
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, LABELS, make_adapter, make_base
from transformers import AutoTokenizer, BertForSequenceClassification, BertModel, LlamaForCausalLM

import modeconn as mc
from modeconn.adapters.full import FullModel
from modeconn.errors import AdapterError, ModelError
from modeconn.models.exporting import export_merged
from modeconn.models.fingerprint import base_fingerprint, stored_fingerprint
from modeconn.models.loading import quiet_peft

TOLERANCES = {"llama": 1e-5, "gpt2": 1e-5, "bert": 1e-6, "t5": 1e-3}  # T5's logits are in the tens


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[Path]]:
    """Two full fine-tunes of a family, made once; not to be changed."""
    made: dict[str, list[Path]] = {}

    def folders(family: str) -> list[Path]:
        if family not in made:
            root = tmp_path_factory.mktemp(family)
            made[family] = [make_base(root / f"full-{seed}", family, seed=seed) for seed in (5, 6)]
        return made[family]

    return folders


@pytest.fixture
def points(full, adapters) -> Callable[[str], dict[str, mc.Adapter]]:
    """Points of all sorts on one base."""

    def of(family: str) -> dict[str, mc.Adapter]:
        a, b = (mc.Adapter.from_pretrained(folder) for folder in full(family))
        one = mc.Adapter.from_pretrained(adapters(family, seed=1))
        two = mc.Adapter.from_pretrained(adapters(family, seed=2, r=6, lora_alpha=3))
        return {
            "adapter": one,
            "between adapters": mc.LinearPath(one, two)(0.3),
            "between full fine-tunes": mc.LinearPath(a, b)(0.3),
            "between a full fine-tune and an adapter": mc.LinearPath(a, one)(0.3),
        }

    return of


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_loads_the_function_of_the_point(family, points, bases, tmp_path):
    labels = LABELS if family == "bert" else None
    for number, (name, point) in enumerate(points(family).items()):
        folder = export_merged(point, tmp_path / str(number), base=bases(family))
        model = mc.AdapterModel.from_pretrained(bases(family), adapters=[point], labels=labels)
        merged = load_base(family, folder, torch.float32)
        with model.at(point) as module:
            difference = (logits(merged) - logits(module)).abs().max()
        assert difference < TOLERANCES[family], name


def test_an_adapter_merges_as_peft_merges_it(bases, adapters, tmp_path):
    folder = export_merged(adapters("gpt2", seed=1), tmp_path / "out")  # the base is the one that it names
    with quiet_peft():
        theirs: Any = load_peft("gpt2", bases("gpt2"), adapters("gpt2", seed=1), torch.float32).merge_and_unload()
    ours = dict(load_base("gpt2", folder, torch.float32).named_parameters())
    for name, parameter in theirs.named_parameters():
        torch.testing.assert_close(ours[name], parameter, rtol=1e-5, atol=1e-6)


def test_an_end_is_written_bit_for_bit_without_a_base(full, tmp_path):
    a, b = (mc.Adapter.from_pretrained(folder) for folder in full("gpt2"))
    export_merged(mc.LinearPath(a, b)(0.0), tmp_path / "out")
    written, there = (load_file(folder / "model.safetensors") for folder in (tmp_path / "out", full("gpt2")[0]))
    assert written.keys() == there.keys()
    assert all(torch.equal(written[name], there[name]) for name in there)


def test_tokenizer_and_settings_come_along(bases, adapters, tmp_path):
    folder = export_merged(adapters("llama", seed=1), tmp_path / "out")
    assert AutoTokenizer.from_pretrained(folder)("the cat sat")["input_ids"] == [1, 4, 6, 8]
    before, after = (json.loads((one / "config.json").read_text()) for one in (bases("llama"), folder))
    assert after == before
    assert {file.name for file in folder.iterdir()} == {file.name for file in bases("llama").iterdir()}


@pytest.mark.parametrize("sort", ["adapter", "between full fine-tunes"])
def test_shards_are_those_of_the_base(sort, points, bases, full, tmp_path):
    base = bases("llama") if sort == "adapter" else full("llama")[0]
    load_base("llama", base, torch.float32).save_pretrained(tmp_path / "sharded", max_shard_size="9KB")
    point = points("llama")[sort]
    if sort != "adapter":
        ends = [mc.Adapter.from_pretrained(folder) for folder in (tmp_path / "sharded", full("llama")[1])]
        point = mc.LinearPath(*ends)(0.3)
    folder = export_merged(point, tmp_path / "out", base=tmp_path / "sharded")
    indices = [json.loads((one / "model.safetensors.index.json").read_text()) for one in (tmp_path / "sharded", folder)]
    assert indices[0]["weight_map"] == indices[1]["weight_map"]
    assert indices[0]["metadata"]["total_size"] == indices[1]["metadata"]["total_size"]
    whole = export_merged(point, tmp_path / "whole", base=base)
    assert torch.equal(*(logits(load_base("llama", one, torch.float32)) for one in (folder, whole)))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_the_dtype_is_the_one_asked_for(dtype, points, tmp_path):
    point = points("llama")["between full fine-tunes"]
    export_merged(point, tmp_path / "wide", dtype="float32")
    folder = export_merged(point, tmp_path / "out", dtype=dtype)
    assert json.loads((folder / "config.json").read_text())["dtype"] == dtype
    wide, narrow = (load_file(one / "model.safetensors") for one in (tmp_path / "wide", folder))
    assert {value.dtype for value in narrow.values()} == {getattr(torch, dtype)}
    if dtype != "float64":
        assert all(torch.equal(narrow[name], wide[name].to(getattr(torch, dtype))) for name in wide)


def test_a_number_that_the_dtype_cannot_hold_is_refused(full, tmp_path):
    copy = Path(shutil.copytree(full("llama")[0], tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    tensors["model.norm.weight"][0] = 1e6
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    expected = (
        r"model.norm.weight cannot be written in torch.float16\n(?s:.*)got: 1 that became infinite(?s:.*)in bfloat16"
    )
    with pytest.raises(AdapterError, match=expected):
        export_merged(copy, tmp_path / "out", dtype="float16")


def test_nothing_is_left_of_an_export_that_fails(full, tmp_path):
    """The last tensor of the second checkpoint is broken; it is read when most is written."""
    copy = Path(shutil.copytree(full("llama")[1], tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    tensors[max(tensors)][-1] = torch.nan
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    line = mc.LinearPath(mc.Adapter.from_pretrained(full("llama")[0]), mc.Adapter.from_pretrained(copy))
    with pytest.raises(AdapterError, match="holds NaN or infinite values"):
        export_merged(line(0.5), tmp_path / "here" / "out")
    assert [file.name for file in (tmp_path / "here").iterdir()] == []


def test_an_interrupted_export_leaves_nothing(full, tmp_path, monkeypatch):
    from modeconn.models import merging

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(merging, "_pieces", interrupt)
    with pytest.raises(KeyboardInterrupt):
        export_merged(full("llama")[0], tmp_path / "here" / "out")
    assert list((tmp_path / "here").iterdir()) == []


def test_a_classifiers_head_and_classes_go_into_a_base_without_one(bases, adapters, tmp_path):
    BertModel.from_pretrained(bases("bert")).save_pretrained(tmp_path / "bare")
    adapter = Path(shutil.copytree(adapters("bert", seed=1), tmp_path / "adapter"))
    (adapter / "modeconn.json").write_text(json.dumps({"labels": list(LABELS)}))
    folder = export_merged(adapter, tmp_path / "out", base=tmp_path / "bare")
    merged = BertForSequenceClassification.from_pretrained(folder).eval()
    assert merged.config.id2label == dict(enumerate(LABELS))
    with quiet_peft():
        theirs = load_peft("bert", bases("bert"), adapters("bert", seed=1), torch.float32)
    torch.testing.assert_close(logits(merged), logits(theirs), rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A base with a tied head, and an adapter of its embedding."""
    root = tmp_path_factory.mktemp("tied")
    base = make_base(root / "base", "llama", tie_word_embeddings=True)
    with quiet_peft():
        return base, make_adapter(root / "adapter", base, "llama", seed=1, target_modules=["embed_tokens"])


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
def test_what_an_adapter_does_to_one_of_two_tied_weights_unties_them(tied, tmp_path):
    base, adapter = tied
    folder = export_merged(adapter, tmp_path / "out")
    merged = LlamaForCausalLM.from_pretrained(folder).eval()
    assert merged.config.tie_word_embeddings is False
    assert torch.equal(merged.lm_head.weight.data, load_file(base / "model.safetensors")["model.embed_tokens.weight"])
    theirs = load_peft("llama", base, adapter, torch.float32)
    torch.testing.assert_close(logits(merged), logits(theirs), rtol=1e-5, atol=1e-5)


def test_tied_weights_that_the_architecture_cannot_untie_are_refused(bases, tmp_path):
    with quiet_peft():
        adapter = make_adapter(tmp_path / "adapter", bases("t5"), "t5", seed=1, target_modules=["shared"])
    expected = (
        r"adapter cannot be merged into one model\n  expected: changes that leave tied weights equal, or .*\n"
        r"  got: different values for .* and shared.weight.*\n  remedy: use the adapter with PEFT"
    )
    with pytest.raises(ModelError, match=expected):
        export_merged(adapter, tmp_path / "out")


def test_full_fine_tunes_stay_tied(tied, tmp_path):
    other = make_base(tmp_path / "other", "llama", seed=3, tie_word_embeddings=True)
    line = mc.LinearPath(*(mc.Adapter.from_pretrained(folder) for folder in (tied[0], other)))
    folder = export_merged(line(0.5), tmp_path / "out")
    assert LlamaForCausalLM.from_pretrained(folder).config.tie_word_embeddings is True
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_fingerprint_of_a_model_on_disk_is_that_of_the_model(family, bases):
    expected = base_fingerprint(load_base(family, bases(family), torch.float32))
    assert stored_fingerprint(FullModel.open(bases(family))) == expected


def test_another_base_than_the_recorded_one_is_refused(bases, adapters, full, tmp_path):
    adapter = Path(shutil.copytree(adapters("llama", seed=1), tmp_path / "adapter"))
    recorded = stored_fingerprint(FullModel.open(bases("llama")))
    (adapter / "modeconn.json").write_text(json.dumps({"base_fingerprint": recorded}))
    export_merged(adapter, tmp_path / "right")
    expected = (
        rf"adapter was trained on another base model than .*\n  expected: .* {recorded[:12]} \(.*\n  got: fingerprint "
    )
    with pytest.raises(ModelError, match=expected):
        export_merged(adapter, tmp_path / "wrong", base=full("llama")[0])


def test_a_base_of_another_architecture_is_refused(bases, adapters, tmp_path):
    expected = (
        r"llama-1 does not fit the base model .*\n  expected: changes of parameters of GPT2LMHeadModel, in their shapes"
        r"(?s:.*)got: model.layers.0.self_attn.q_proj.weight, which is not there(?s:.*)remedy: give the base"
    )
    with pytest.raises(ModelError, match=expected):
        export_merged(adapters("llama", seed=1), tmp_path / "out", base=bases("gpt2"))


def test_a_base_that_nobody_names_is_asked_for(adapters, tmp_path):
    adapter = Path(shutil.copytree(adapters("llama", seed=1), tmp_path / "adapter"))
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(
        ModelError, match=r"the base model of adapter is not known\n(?s:.*)remedy: give it: base=\.\.\."
    ):
        export_merged(adapter, tmp_path / "out")


@pytest.fixture
def half(adapters, tmp_path) -> mc.Adapter:
    """An adapter that lost a layer."""
    copy = Path(shutil.copytree(adapters("llama", seed=2), tmp_path / "half"))
    tensors = load_file(copy / "adapter_model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layers.1." not in name}
    save_file(kept, copy / "adapter_model.safetensors", metadata={"format": "pt"})
    return mc.Adapter.from_pretrained(copy)


def test_a_checkpoint_that_lost_a_layer_is_refused(half, tmp_path):
    with pytest.raises(ModelError, match=r"half is not complete\n(?s:.*)got: none for 2 of them: model.layers.1."):
        export_merged(half, tmp_path / "out")


def test_the_ends_of_a_point_are_checked_where_they_are_given(half, adapters, tmp_path):
    line = mc.LinearPath(mc.Adapter.from_pretrained(adapters("llama", seed=1)), half)
    with pytest.raises(ModelError, match="half is not complete"):
        export_merged(line(0.5), tmp_path / "out", ends=line.points)
    assert not (tmp_path / "out").exists()


def test_a_difference_is_no_model(points, tmp_path):
    one, two = (points("llama")[name] for name in ("adapter", "between adapters"))
    with pytest.raises(
        ModelError, match=r"cannot merge combination\n(?s:.*)coefficients sum to 0\n  remedy: add the diff"
    ):
        export_merged(one - two, tmp_path / "out")


@pytest.mark.parametrize("taken", ["a file", "a folder with a.txt"])
def test_a_folder_that_is_taken_is_left_alone(taken, full, tmp_path):
    target = tmp_path / "out"
    if taken == "a file":
        target.write_text("x")
    else:
        target.mkdir()
        (target / "a.txt").write_text("x")
    with pytest.raises(
        ModelError, match=rf"cannot write a model to .*\n  expected: a new or empty folder\n  got: {taken}\n"
    ):
        export_merged(full("llama")[0], target)


MEMORY = """
import sys
from modeconn.adapters.adapter import Adapter
from modeconn.models.exporting import export_merged
def kib(key): return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(key)))
small, *ends = [Adapter.from_pretrained(folder) for folder in sys.argv[1:4]]
export_merged(small, sys.argv[4] + "-small")  # all is imported, threads and caches are made
before = kib("VmHWM")
export_merged(0.5 * ends[0] + 0.5 * ends[1], sys.argv[4])
print(kib("VmHWM") - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the kernel does not tell a process's memory")
def test_the_memory_is_that_of_pieces_and_not_of_models(full, tmp_path):
    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 8}
    for seed in (1, 2):
        make_base(tmp_path / str(seed), "llama", seed=seed, num_hidden_layers=6, **sizes)
    size = (tmp_path / "1" / "model.safetensors").stat().st_size
    assert size > 350 * 2**20
    folders = full("llama")[0], tmp_path / "1", tmp_path / "2", tmp_path / "out"
    command = [sys.executable, "-c", WITHOUT_QUANTISED + MEMORY, *map(str, folders)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) * 1024 < 0.3 * size

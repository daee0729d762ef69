"""What `modeconn inspect` says of checkpoints, with and without their base."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from peft_oracle import load_base, load_peft, updates
from points import make_tensors, write_folder
from prompt_adapters import make_prompt
from safetensors.torch import load_file, save_file
from tiny import make_base

import modeconn as mc
from modeconn.adapters.config import AdapterConfig
from modeconn.adapters.part import LowRank
from modeconn.adapters.stored import FileTensor
from modeconn.adapters.summary import kind_name
from modeconn.adapters.update import Update
from modeconn.cli.main import main
from modeconn.models import loading


def inspect(capsys, *arguments):
    """The command's JSON, its notes and warnings left aside."""
    assert main(["inspect", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def printed(capsys, *arguments):
    """The command's tables, and its remarks."""
    assert main(["inspect", *map(str, arguments)]) == 0
    return capsys.readouterr()


def refuse(*_, **__):
    """What must not be called."""
    raise AssertionError("this holds a whole model or update in memory")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_norms_are_those_of_pefts_updates(family, adapters, bases, capsys):
    folder, base = adapters(family, 1), bases(family)
    content = inspect(capsys, folder, "--base-model", base)
    changes = updates(load_peft(family, base, folder))
    weights = dict(load_base(family, base).requires_grad_(False).named_parameters())
    rows = {row["parameter"]: row for row in content["modules"] if row["kind"] == "LORA"}
    assert rows.keys() == changes.keys()
    for name, change in changes.items():
        norm = float(change.norm())
        assert rows[name]["norm"] == pytest.approx(norm, rel=1e-5)
        assert rows[name]["relative norm"] == pytest.approx(norm / float(weights[name].norm()), rel=1e-5)
        assert (rows[name]["rank"], rows[name]["alpha"], rows[name]["dtype"]) == (4, 8.0, "float32")
    total = sum(float(change.norm()) ** 2 for change in changes.values()) ** 0.5
    assert content["adapters"][0]["norm of update"] == pytest.approx(total, rel=1e-5)


def test_coverage_counts_the_linear_layers_of_the_backbone(adapters, bases, capsys):
    """Two layers of four projections and three of the MLP; the adapter has q and v."""
    (row,) = inspect(capsys, adapters("llama", 1), "--base-model", bases("llama"))["adapters"]
    assert row["coverage"] == "4 of 14 linear"


def test_without_a_base_there_are_no_relative_norms(adapters, capsys):
    content = inspect(capsys, adapters("llama", 1))
    assert all(row["relative norm"] is None and row["norm"] > 0 for row in content["modules"])
    out = printed(capsys, adapters("llama", 1)).out
    assert "relative norm" not in out
    assert "coverage" not in out


def test_updates_that_need_the_base_get_a_norm_with_it(adapters, bases, tmp_path, capsys):
    folder = shutil.copytree(adapters("llama", 1, use_dora=True), tmp_path / "dora")
    tensors = load_file(folder / "adapter_model.safetensors")
    longer = {name: value * 1.3 for name, value in tensors.items() if "magnitude" in name}
    save_file(tensors | longer, folder / "adapter_model.safetensors")
    (note,) = inspect(capsys, folder)["notes"]
    assert "LORA" in note
    assert "give --base-model" in note
    assert all(row["norm"] is None for row in inspect(capsys, folder)["modules"])
    before = dict(load_base("llama", bases("llama")).requires_grad_(False).named_parameters())
    merged = load_peft("llama", bases("llama"), folder).merge_and_unload().requires_grad_(False)  # type: ignore[operator]
    after = dict(merged.named_parameters())
    for row in inspect(capsys, folder, "--base-model", bases("llama"))["modules"]:
        change = after[row["parameter"]] - before[row["parameter"]]
        assert row["norm"] == pytest.approx(float(change.norm()), rel=1e-5)
        assert row["kind"] == "LORA (DoRA)"


def test_dtypes_are_those_of_the_file(tmp_path, capsys):
    names = {"half": torch.float16, "brain": torch.bfloat16}
    for name, dtype in names.items():
        tensors = {key: value.to(dtype) for key, value in make_tensors(0).items()}
        write_folder(tmp_path / name, tensors)
    content = inspect(capsys, tmp_path / "half", tmp_path / "brain")
    assert [row["dtype"] for row in content["adapters"]] == ["float16", "bfloat16"]
    assert {row["dtype"] for row in content["modules"] if row["adapter"] == "half"} == {"float16"}
    assert "the checkpoints differ in dtype (half: float16, brain: bfloat16)" in content["notes"]


def test_a_pickle_has_dtypes_too(tmp_path, capsys):
    folder = write_folder(tmp_path / "a")
    torch.save(load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin")
    (folder / "adapter_model.safetensors").unlink()
    assert inspect(capsys, folder)["adapters"][0]["dtype"] == "float32"


def test_ranks_and_alphas_of_patterns_are_told(adapters, capsys):
    settings = {"rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 3}, "use_rslora": True}
    content = inspect(capsys, adapters("llama", 1, **settings))
    rows = {row["parameter"]: (row["rank"], row["alpha"]) for row in content["modules"]}
    assert rows["model.layers.0.self_attn.q_proj.weight"] == (4, 3.0)
    assert rows["model.layers.1.self_attn.v_proj.weight"] == (2, 8.0)
    (summary,) = content["adapters"]
    assert (summary["rank"], summary["alpha"], summary["kind"]) == ("2 4", "3 8", "LORA (rsLoRA)")


@pytest.mark.parametrize("settings", [{"use_dora": True}, {"trainable_token_indices": [1, 5]}])
def test_no_rank_is_told_of_what_r_does_not_bound(settings, adapters, capsys):
    content = inspect(capsys, adapters("llama", 1, **settings))
    told = {row["rank"] for row in content["modules"] if "embed" in row["parameter"] or "use_dora" in settings}
    assert told == {None}


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_rank_and_alpha_are_those_of_the_file_with_a_base_as_well(start, adapters, bases, tmp_path, capsys):
    folder = shutil.copytree(adapters("llama", 1), tmp_path / start)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"init_lora_weights": start}))
    for content in (inspect(capsys, folder), inspect(capsys, folder, "--base-model", bases("llama"))):
        assert {(row["rank"], row["alpha"]) for row in content["modules"]} == {(4, 8.0)}
        assert content["adapters"][0]["kind"] == {"pissa": "LORA (PiSSA)", "olora": "LORA (OLoRA)"}[start]


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({}, "LORA"),
        ({"use_dora": True, "use_rslora": True}, "LORA (DoRA, rsLoRA)"),
        ({"lora_bias": True}, "LORA (lora_bias)"),
        ({"bias": "all"}, "LORA (biases)"),
        ({"trainable_token_indices": [1, 2]}, "LORA (trained tokens)"),
        ({"target_parameters": ["mlp.experts.gate_up_proj"]}, "LORA (experts)"),
        ({"target_parameters": ["q_proj.weight"]}, "LORA (target_parameters)"),
        ({"init_lora_weights": "PiSSA"}, "LORA (PiSSA)"),
        ({"init_lora_weights": "gaussian"}, "LORA"),
    ],
)
def test_the_kind_tells_variants(settings, kind):
    assert kind_name(AdapterConfig.parse({"peft_type": "LORA", **settings}, "the adapter")) == kind


def test_a_full_fine_tune_is_told_without_and_with_its_base(bases, tmp_path, capsys):
    other = make_base(tmp_path / "full", "llama", seed=1)
    rows = inspect(capsys, other)["modules"]
    assert all(row["norm"] is None and row["kind"] == "FULL" for row in rows)
    loaded = [load_base("llama", folder).requires_grad_(False) for folder in (bases("llama"), other)]
    one, two = (dict(model.named_parameters()) for model in loaded)
    content = inspect(capsys, other, "--base-model", bases("llama"))
    assert {row["parameter"] for row in content["modules"]} == one.keys()
    for row in content["modules"]:
        name = row["parameter"]
        expected = float((two[name] - one[name]).norm())
        assert row["norm"] == pytest.approx(expected, rel=1e-5, abs=1e-9)
        assert row["relative norm"] == pytest.approx(expected / float(one[name].norm()), rel=1e-5, abs=1e-9)
    assert content["adapters"][0]["coverage"] == "14 of 14 linear"


def test_a_full_fine_tune_that_diverged_is_told_without_its_base(tmp_path, capsys):
    folder = make_base(tmp_path / "full", "llama", seed=1)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 3] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    assert main(["inspect", str(folder)]) == 1
    assert "model.layers.1.mlp.up_proj.weight" in (told := capsys.readouterr().err)
    assert "holds NaN or infinite values" in told


def deep(folder, *, layers=21, scale=1.0):
    """An adapter of more modules than lines can be read."""
    modules = {f"model.layers.{n}.self_attn.{name}_proj": (6, 5) for n in range(layers) for name in "qv"}
    tensors = make_tensors(0, modules=modules)
    return write_folder(folder, {name: scale * value for name, value in tensors.items()})


def test_many_modules_are_summed_up_by_type(tmp_path, capsys):
    folder = deep(tmp_path / "deep")
    lines = printed(capsys, folder).out.splitlines()
    (q,) = [line for line in lines if "q_proj" in line]
    assert q.split()[1:3] == ["model.layers.*.self_attn.q_proj.weight", "21"]
    assert len(lines) == 6
    every = printed(capsys, folder, "--all").out
    assert every.count("q_proj") == 21
    assert "count" not in every


def test_a_type_has_the_norm_of_all_its_modules(tmp_path, capsys):
    content = inspect(capsys, deep(tmp_path / "deep"))
    (q,) = [row for row in content["module_types"] if "q_proj" in row["parameter"]]
    norms = [row["norm"] for row in content["modules"] if "q_proj" in row["parameter"]]
    assert len(norms) == q["count"] == 21
    assert q["norm"] == pytest.approx(sum(norm**2 for norm in norms) ** 0.5)


def test_forty_modules_are_a_line_each(tmp_path, capsys):
    assert printed(capsys, deep(tmp_path / "a", layers=20)).out.count("q_proj") == 20


def test_a_dense_update_is_never_made_of_factors(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(LowRank, "delta", refuse)
    monkeypatch.setattr(Update, "dense", refuse)
    assert inspect(capsys, write_folder(tmp_path / "a"), write_folder(tmp_path / "b", make_tensors(1)))["pairs"]


@pytest.mark.parametrize(
    ("settings", "spaces"),
    [
        ({}, ["weights", "factors", "aligned-factors"]),
        ({"r": 6}, ["weights", "aligned-factors"]),
        ({"lora_alpha": 16}, ["weights", "aligned-factors"]),
        ({"use_dora": True}, ["weights"]),
    ],
)
def test_pairs_are_told_with_their_spaces(settings, spaces, adapters, capsys):
    (pair,) = inspect(capsys, adapters("llama", 1), adapters("llama", 2, **settings))["pairs"]
    assert pair["spaces"] == spaces
    assert sorted([*pair["spaces"], *pair["refused"]]) == ["aligned-factors", "factors", "weights"]


def test_prompts_can_be_joined_in_factors_only(bases, tmp_path, capsys):
    folders = [make_prompt(tmp_path / f"p{n}", bases("llama"), "llama", "PREFIX_TUNING", seed=n) for n in (1, 2)]
    captured = printed(capsys, *folders)
    assert "p1 has no weight update (PREFIX_TUNING), so no norms" in captured.err
    assert "p1 and p2 cannot be joined in weights space" in captured.err
    assert "a line in space=factors is possible" in captured.err
    assert "prompt_embeddings" in captured.out


def test_other_architectures_cannot_be_joined_at_all(adapters, capsys):
    captured = printed(capsys, adapters("llama", 1), adapters("bert", 1))
    told = "llama-1 and bert-1 cannot be joined in weights space: the points belong to different base models"
    assert told in captured.err
    assert "whose weights differ; nor in any other" in captured.err
    assert "the checkpoints differ in base model" in captured.err
    assert "the checkpoints differ in task type (llama-1: CAUSAL_LM, bert-1: SEQ_CLS)" in captured.err
    assert "saved" in captured.out


def test_a_sound_pair_of_one_base_needs_no_remark(adapters, capsys):
    captured = printed(capsys, adapters("llama", 1), adapters("llama", 2))
    assert captured.err == ""
    assert captured.out.splitlines()[-1].split() == ["llama-1", "llama-2", "yes", "yes", "yes"]


def test_folders_of_one_name_are_told_apart(tmp_path, capsys):
    folders = [write_folder(tmp_path / run / "last") for run in ("one", "two")]
    assert [row["adapter"] for row in inspect(capsys, *folders)["adapters"]] == ["one/last", "two/last"]


def test_an_adapter_from_before_training_is_told(tmp_path, capsys):
    tensors = {name: value * (".lora_A." in name) for name, value in make_tensors(0).items()}
    assert "a changes nothing" in printed(capsys, write_folder(tmp_path / "a", tensors)).err


def test_every_adapter_is_checked_against_the_base(adapters, bases, capsys):
    folders = [str(adapters("llama", 1)), str(adapters("gpt2", 1))]
    assert main(["inspect", *folders, "--base-model", str(bases("llama"))]) == 1
    error = capsys.readouterr().err
    assert "gpt2-1 does not fit the base model" in error
    assert "transformer.h.0.attn.c_attn.weight, which is not there" in error


def test_shapes_are_checked_against_the_base(adapters, tmp_path, capsys):
    wider = make_base(tmp_path / "wider", "llama", hidden_size=32)
    assert main(["inspect", str(adapters("llama", 1)), "--base-model", str(wider)]) == 1
    assert "q_proj.weight [16, 16] for [32, 32]" in capsys.readouterr().err


def renamed(folder, target, name):
    """A copy of an adapter that calls its base otherwise."""
    shutil.copytree(folder, target)
    config = json.loads((target / "adapter_config.json").read_text())
    (target / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": name}))
    return target


def test_a_base_that_is_given_settles_what_the_adapters_call_it(adapters, bases, tmp_path, capsys):
    folders = [renamed(adapters("llama", n), tmp_path / f"a{n}", name) for n, name in ((1, "me/one"), (2, "me/two"))]
    assert "the points name different base models: me/one by a1 and me/two by a2" in printed(capsys, *folders).err
    content = inspect(capsys, *folders, "--base-model", bases("llama"))
    assert content["pairs"][0]["spaces"] == ["weights", "factors", "aligned-factors"]
    assert content["cannot_be_joined"] == []


@pytest.mark.parametrize("recorded", [True, False])
def test_the_trained_rank_is_told_where_first_factors_are_subtracted(recorded, adapters, bases, tmp_path, capsys):
    """As modeconn's trainer records them; the point itself is of twice the rank."""
    folder = shutil.copytree(adapters("llama", 1), tmp_path / "corda")
    config = json.loads((folder / "adapter_config.json").read_text()) | {"init_lora_weights": "pissa"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    if recorded:
        shutil.copy(adapters("llama", 2) / "adapter_model.safetensors", folder / "modeconn_initial.safetensors")
    content = inspect(capsys, folder, "--base-model", bases("llama"))
    (summary,) = content["adapters"]
    told = {key: summary[key] for key in ("kind", "rank", "alpha", "dtype")}
    assert told == {"kind": "LORA (PiSSA)", "rank": "4", "alpha": "8", "dtype": "float32"}
    assert mc.Adapter.from_pretrained(folder).config.rank("q_proj") == (8 if recorded else 4)


def test_a_recorded_base_is_checked(adapters, bases, tmp_path, capsys):
    folder = shutil.copytree(adapters("llama", 1), tmp_path / "a")
    own = mc.AdapterModel.from_pretrained(bases("llama")).fingerprint
    (folder / "modeconn.json").write_text(json.dumps({"base_fingerprint": own}))
    assert main(["inspect", str(folder), "--base-model", str(bases("llama"))]) == 0
    other = make_base(tmp_path / "other", "llama", seed=1)
    assert main(["inspect", str(folder), "--base-model", str(other)]) == 1
    assert "was trained on another base model" in capsys.readouterr().err


def test_copies_of_base_weights_are_checked(adapters, bases, tmp_path, capsys):
    folder = adapters("llama", 1, target_modules=["embed_tokens"])
    assert main(["inspect", str(folder), "--base-model", str(bases("llama"))]) == 0
    changed = shutil.copytree(folder, tmp_path / "changed")
    tensors = load_file(changed / "adapter_model.safetensors")
    (name,) = [name for name in tensors if "base_layer" in name]
    save_file(tensors | {name: tensors[name] + 1}, changed / "adapter_model.safetensors")
    assert main(["inspect", str(changed), "--base-model", str(bases("llama"))]) == 1
    assert "was trained on other embeddings" in capsys.readouterr().err


@pytest.fixture
def half(adapters, tmp_path):
    """An adapter that lost a layer."""
    copy = shutil.copytree(adapters("llama", 2), tmp_path / "half")
    tensors = load_file(copy / "adapter_model.safetensors")
    kept = {name: value for name, value in tensors.items() if "layers.1." not in name}
    save_file(kept, copy / "adapter_model.safetensors", metadata={"format": "pt"})
    return copy


def test_an_adapter_that_lost_a_layer_is_refused(half, bases, capsys):
    assert main(["inspect", str(half), "--base-model", str(bases("llama"))]) == 1
    told = capsys.readouterr()
    assert "error: half is not complete\n" in told.err
    assert "got: none for 2 of them: model.layers.1.self_attn.q_proj" in told.err
    assert told.out == ""


def test_a_checkpoint_that_does_not_fit_is_named_beside_the_others(half, adapters, bases, capsys):
    line = ["inspect", str(adapters("llama", 1)), str(half), "--base-model", str(bases("llama"))]
    assert main(line) == 1
    told = capsys.readouterr()
    assert "warning: half is not complete\n" in told.err
    assert "relative norm" in told.out
    assert main([*line, "--json"]) == 1
    content = json.loads(capsys.readouterr().out)
    assert [one["relative norm"] is None for one in content["adapters"]] == [False, True]
    assert [*content["do_not_fit"]] == ["half"]


def test_the_base_is_not_loaded(adapters, bases, capsys, monkeypatch):
    monkeypatch.setattr(loading, "load_base", refuse)
    monkeypatch.setattr(FileTensor, "read", refuse)
    assert inspect(capsys, adapters("llama", 1), "--base-model", bases("llama"))["modules"]


def test_a_quantised_base_is_refused(adapters, bases, tmp_path, capsys):
    folder = shutil.copytree(bases("llama"), tmp_path / "base")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "bitsandbytes"}}))
    assert main(["inspect", str(adapters("llama", 1)), "--base-model", str(folder)]) == 1
    assert "packed numbers: its config.json has a quantization_config" in capsys.readouterr().err


def test_inspecting_needs_no_transformers_without_a_base(tmp_path):
    folder = write_folder(tmp_path / "a")
    script = (
        "import sys; from modeconn.cli.main import main; main(['inspect', sys.argv[1]]);"
        " sys.exit(int('transformers' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True).returncode == 0

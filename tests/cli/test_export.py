"""`modeconn export`: a point of a path as an adapter or a merged model."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft_oracle import load_base, load_peft, logits
from tiny import make_base

import modeconn as mc
from modeconn.adapters.kinds.lora import lora_tensors
from modeconn.cli.main import main
from modeconn.paths.saving import save_path


@pytest.fixture
def line(adapters: Callable[..., Path]) -> list[str]:
    """The arguments of a point between two adapters, its output folder left out."""
    return ["export", "--start", str(adapters("llama", 1)), "--end", str(adapters("llama", 2)), "--t", "0.4"]


@pytest.fixture
def point(adapters: Callable[..., Path]) -> mc.Adapter:
    """The same point in Python."""
    return mc.LinearPath(*(mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)))(0.4)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two full fine-tunes."""
    root = tmp_path_factory.mktemp("full")
    return [str(make_base(root / f"full-{seed}", "llama", seed=seed)) for seed in (5, 6)]


def expected_logits(point: mc.Adapter) -> torch.Tensor:
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    with model.at(point) as module:
        return logits(module)


def test_the_exact_point_is_an_adapter_of_the_sum_of_the_ranks(line, point, bases, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*line, "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out == f"adapter at t=0.4, exact, rank 8\nwritten: {out}\n"
    found = logits(load_peft("llama", bases("llama"), out, torch.float32))
    torch.testing.assert_close(found, expected_logits(point), rtol=1e-4, atol=1e-5)


def test_the_space_is_the_one_asked_for(line, adapters, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*line, "--space", "factors", "--output-dir", str(out)]) == 0
    assert "rank 4" in capsys.readouterr().out
    one, two = (mc.Adapter.from_pretrained(adapters("llama", seed)).tensors for seed in (1, 2))
    for name, value in mc.Adapter.from_pretrained(out).tensors.items():
        torch.testing.assert_close(value, 0.6 * one[name] + 0.4 * two[name])


def test_a_lower_rank_is_written_with_its_error(line, point, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*line, "--rank", "3", "--output-dir", str(out)]) == 0
    told = re.fullmatch(
        r"adapter at t=0.4, rank 3; relative error of the update (0\.\d+)\nwritten: .*\n", capsys.readouterr().out
    )
    near = mc.Adapter.from_pretrained(out)
    assert {update.rank for update in near.updates.values()} == {3}
    assert told is not None
    assert float(told[1]) == pytest.approx((near - point).norm() / point.norm(), rel=1e-2)


def test_a_merged_model_is_what_transformers_loads(line, point, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*line, "--merged", "--dtype", "float64", "--output-dir", str(out)]) == 0
    assert capsys.readouterr().out.startswith("merged model at t=0.4, dtype float64\n")
    merged = load_base("llama", out, torch.float32)
    torch.testing.assert_close(logits(merged), expected_logits(point), rtol=1e-4, atol=1e-5)


def test_full_fine_tunes_need_no_base_to_be_merged(full, tmp_path):
    arguments = ["export", "--start", full[0], "--end", full[1], "--t", "1", "--merged"]
    assert main([*arguments, "--output-dir", str(tmp_path / "out")]) == 0
    assert torch.equal(*(logits(load_base("llama", Path(one))) for one in (tmp_path / "out", full[1])))


def test_full_fine_tunes_are_no_adapters_without_a_rank(full, bases, tmp_path, capsys):
    arguments = ["export", "--start", full[0], "--end", full[1], "--t", "0.5", "--output-dir", str(tmp_path / "out")]
    assert main(arguments) == 1
    told = capsys.readouterr().err
    assert "got: the weights of a full fine-tune" in told
    assert "modeconn export --merged or --rank" in told
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--rank", "2"]) == 1
    assert "remedy: give it: base=..., on the command line --base-model" in capsys.readouterr().err
    assert main([*arguments, "--rank", "2", "--base-model", str(bases("llama"))]) == 0
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(bases("llama"))


def test_a_saved_path_is_exported(point, adapters, tmp_path):
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]
    save_path(mc.LinearPath(*ends), tmp_path / "path")
    arguments = ["export", "--path", str(tmp_path / "path"), "--t", "0.4", "--output-dir", str(tmp_path / "out")]
    assert main(arguments) == 0
    found = mc.Adapter.from_pretrained(tmp_path / "out")
    expected = lora_tensors(point.updates, point.saved, point.config)
    assert found.tensors.keys() == expected.keys()
    assert all(torch.equal(found.tensors[name], expected[name]) for name in expected)


def test_names_of_two_bases_need_one_that_is_given(line, adapters, bases, tmp_path, capsys):
    other = shutil.copytree(adapters("llama", 2), tmp_path / "other")
    config = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "owner/another"}))
    line[line.index("--end") + 1] = str(other)
    line += ["--output-dir", str(tmp_path / "out")]
    assert main(line) == 1
    assert "the points name different base models" in capsys.readouterr().err
    assert main([*line, "--base-model", str(bases("llama"))]) == 0
    told = f"note: base named by the adapter other: owner/another; used: {bases('llama')}\n"
    assert capsys.readouterr().err.endswith(told)


WRONG = {
    "one end only": (["--start", "a"], "it is not said what to export", "got: not both ends"),
    "ends and a path": (["--start", "a", "--end", "b", "--path", "c"], "it is not said what", "got: more than that"),
    "nothing": ([], "it is not said what to export", "expected: --start and --end, or --path"),
    "a merged model of a rank": (
        ["--start", "a", "--end", "b", "--merged", "--rank", "2"],
        "a merged model has no rank", "got: --merged and --rank 2",
    ),
    "an adapter's dtype": (
        ["--start", "a", "--end", "b", "--dtype", "bfloat16"], "adapters are written in float32", "or add --merged",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_settings_that_contradict_each_other(case, tmp_path, capsys):
    arguments, *told = WRONG[case]
    assert main(["export", *arguments, "--t", "0.5", "--output-dir", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert all(part in error for part in told)


def test_a_position_off_the_path_is_refused(line, tmp_path, capsys):
    line[line.index("0.4")] = "1.5"
    assert main([*line, "--output-dir", str(tmp_path / "out")]) == 1
    assert "expected: 0 <= t <= 1" in capsys.readouterr().err


def test_a_checkpoint_is_not_overwritten(line, adapters, capsys):
    assert main([*line, "--output-dir", str(adapters("llama", 1))]) == 1
    assert "expected: a folder that holds nothing that the run reads" in capsys.readouterr().err
    assert (adapters("llama", 1) / "adapter_model.safetensors").exists()

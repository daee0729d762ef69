"""`modeconn export` for every kind: as an adapter that is exact, as one of a rank, as a merged model, or a refusal."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import peft
import pytest
import torch
from kind_oracle import loaded_by_peft, make_kind
from peft_oracle import load_base, logits
from prompt_adapters import make_prompt

import modeconn as mc
from modeconn.adapters.methods import LorettaRepConfig, WeGeFTConfig
from modeconn.cli.main import main

LLAMA = {"target_modules": ["q_proj", "down_proj"]}
GPT2 = {"target_modules": ["c_attn"], "fan_in_fan_out": True}
BERT = {"target_modules": ["query"]}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension"),  # BOFT has a kernel of its own
    pytest.mark.filterwarnings("ignore:Setting boft_n_butterfly_factor to 1"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type"),  # a norm of Llama
    pytest.mark.filterwarnings("ignore:Sparse invariant checks"),  # of SHiRA
]


class Case(NamedTuple):
    """Adapters of a kind, and whether a point between two has a file that holds it."""

    family: str
    config: type
    settings: dict[str, Any]
    exact: bool = True
    rank: bool = True


CASES = {
    "LoRA": Case("llama", peft.LoraConfig, {**LLAMA, "r": 2}),
    "rsLoRA": Case("gpt2", peft.LoraConfig, {**GPT2, "r": 2, "use_rslora": True}),
    "AdaLoRA": Case("llama", peft.AdaLoraConfig, {**LLAMA, "init_r": 4, "total_step": 10}),
    "LoRETTA rep": Case("llama", LorettaRepConfig, {**LLAMA, "r": 4, "alpha": 5, "tensor_rank": 3}),
    "VeRA": Case("llama", peft.VeraConfig, {**LLAMA, "r": 4}),
    "WeGeFT": Case("llama", WeGeFTConfig, {**LLAMA, "r": 3, "alpha": 5}),
    "PiSSA": Case("llama", peft.LoraConfig, {**LLAMA, "r": 2, "init_lora_weights": "pissa"}),
    "OLoRA": Case("llama", peft.LoraConfig, {**LLAMA, "r": 2, "init_lora_weights": "olora"}),
    "lora_bias": Case("llama", peft.LoraConfig, {**LLAMA, "r": 2, "lora_bias": True}),
    "VB-LoRA": Case("llama", peft.VBLoRAConfig, {**LLAMA, "num_vectors": 6, "vector_length": 8}),
    "DeLoRA": Case("llama", peft.DeloraConfig, {**LLAMA, "r": 2}),
    "GraLoRA": Case("llama", peft.GraloraConfig, {**LLAMA, "r": 2}),
    "HRA": Case("llama", peft.HRAConfig, {**LLAMA, "r": 2}),
    "MiSS": Case("llama", peft.MissConfig, {**LLAMA, "r": 4}),
    "bias=all": Case("bert", peft.LoraConfig, {**BERT, "r": 2, "bias": "all"}),
    "DoRA": Case("llama", peft.LoraConfig, {**LLAMA, "r": 2, "use_dora": True}, exact=False),
    "LoHa": Case("llama", peft.LoHaConfig, {**LLAMA, "r": 2}, exact=False),
    "LoKr": Case("llama", peft.LoKrConfig, {**LLAMA, "r": 2}, exact=False),
    "IA3": Case("llama", peft.IA3Config, {**LLAMA, "feedforward_modules": ["down_proj"]}, exact=False),
    "FourierFT": Case("llama", peft.FourierFTConfig, {**LLAMA, "n_frequency": 20}, exact=False),
    "OFT": Case("llama", peft.OFTConfig, {**LLAMA, "oft_block_size": 4}, exact=False),
    "BOFT": Case("llama", peft.BOFTConfig, LLAMA, exact=False),
    "Bone, bat": Case("llama", peft.MissConfig, {**LLAMA, "r": 4, "init_weights": "bat"}, exact=False),
    "C3A": Case("llama", peft.C3AConfig, {**LLAMA, "block_size": 8}, exact=False),
    "RandLoRA": Case("llama", peft.RandLoraConfig, {**LLAMA, "r": 4}, exact=False),
    "RoAd": Case("llama", peft.RoadConfig, {**LLAMA, "group_size": 4}, exact=False),
    "SHiRA": Case("llama", peft.ShiraConfig, {**LLAMA, "r": 2}, exact=False),
    "LN tuning": Case("llama", peft.LNTuningConfig, {"target_modules": ["norm"]}, exact=False, rank=False),
}
MERGED_ONLY_WITH_A_PARAMETER = {"lora_bias"}  # llama's modules have no bias that could take it up
Pair = tuple[Case, list[str], torch.Tensor]


@pytest.fixture(scope="module")
def pairs(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pair]:
    """The arguments of a point between two adapters of a kind, and its logits where it is placed into the base."""
    made: dict[str, Pair] = {}

    def pair(kind: str) -> Pair:
        if kind not in made:
            family, config, settings, *_ = case = CASES[kind]
            root, base = tmp_path_factory.mktemp("kinds"), bases(family)
            ends = [make_kind(root / f"{s}", base, family, config, seed=s, std=0.2, **settings) for s in (1, 2)]
            point = mc.LinearPath(*map(mc.Adapter.from_pretrained, ends))(0.4)
            with mc.AdapterModel.from_pretrained(base, adapters=[point]).at(point) as module:
                expected = logits(module)
            made[kind] = case, ["export", "--start", str(ends[0]), "--end", str(ends[1]), "--t", "0.4"], expected
        return made[kind]

    return pair


def assert_near(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in CASES if CASES[kind].exact])
def test_an_exact_adapter_is_what_peft_loads(kind, pairs, bases, tmp_path, capsys):
    case, line, expected = pairs(kind)
    assert main([*line, "--output-dir", str(tmp_path / "out")]) == 0
    assert "adapter at t=0.4, exact, rank" in capsys.readouterr().out
    assert_near(logits(loaded_by_peft(case.family, bases(case.family), tmp_path / "out", torch.float32)), expected)


@pytest.mark.parametrize("kind", ["PiSSA", "OLoRA"])
def test_a_start_that_both_ends_share_counts_once(kind, pairs, tmp_path, capsys):
    assert main([*pairs(kind)[1], "--output-dir", str(tmp_path / "out")]) == 0
    assert "exact, rank 6\n" in capsys.readouterr().out  # 2 of each end, and 2 of the start


@pytest.mark.parametrize("kind", [kind for kind in CASES if not CASES[kind].exact])
def test_kinds_without_factors_are_not_written_without_a_rank(kind, pairs, tmp_path, capsys):
    _, line, _ = pairs(kind)
    assert main([*line, "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "an update has no factors" in told
    assert ("--rank" in told) == CASES[kind].rank
    assert "--merged" in told


@pytest.mark.parametrize("kind", [kind for kind in CASES if CASES[kind].rank])
def test_an_adapter_of_the_full_rank_is_the_point(kind, pairs, bases, tmp_path, capsys):
    case, line, expected = pairs(kind)
    assert main([*line, "--rank", "99", "--output-dir", str(tmp_path / "out")]) == 0
    error = re.search(r"relative error of the update (\S+)", capsys.readouterr().out)
    assert error is not None
    assert float(error[1]) < 1e-6
    assert_near(logits(loaded_by_peft(case.family, bases(case.family), tmp_path / "out", torch.float32)), expected)


@pytest.mark.parametrize("kind", [kind for kind in CASES if kind not in MERGED_ONLY_WITH_A_PARAMETER])
def test_a_merged_model_is_the_point(kind, pairs, tmp_path):
    case, line, expected = pairs(kind)
    assert main([*line, "--merged", "--output-dir", str(tmp_path / "out")]) == 0
    assert_near(logits(load_base(case.family, tmp_path / "out", torch.float32)), expected)


def test_a_bias_that_the_base_has_not_cannot_be_merged(pairs, tmp_path, capsys):
    assert main([*pairs("lora_bias")[1], "--merged", "--output-dir", str(tmp_path / "out")]) == 1
    assert "q_proj.bias, which is not there" in capsys.readouterr().err


def test_norms_alone_have_no_rank(pairs, tmp_path, capsys):
    assert main([*pairs("LN tuning")[1], "--rank", "2", "--output-dir", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "got: no matrix that changes" in told
    assert "on the command line --merged" in told


def test_prompts_are_written_in_their_own_space(bases, tmp_path, capsys):
    ends = [str(make_prompt(tmp_path / f"{s}", bases("llama"), "llama", "PROMPT_TUNING", seed=s)) for s in (1, 2)]
    line = ["export", "--start", ends[0], "--end", ends[1], "--t", "0.4", "--output-dir", str(tmp_path / "out")]
    assert main(line) == 1
    assert 'remedy: join them in space="factors"' in capsys.readouterr().err
    assert main([*line, "--space", "factors", "--rank", "2"]) == 1
    told = capsys.readouterr().err
    assert "got: an adapter of the kind PROMPT_TUNING, which has none" in told
    assert "--space factors without --rank" in told
    assert main([*line, "--space", "factors"]) == 0
    one, two, found = (mc.Adapter.from_pretrained(folder).vector for folder in (*ends, tmp_path / "out"))
    torch.testing.assert_close(found, 0.6 * one + 0.4 * two)


def test_the_base_can_be_given_and_is_told(pairs, bases, tmp_path, capsys):
    _, line, _ = pairs("PiSSA")
    copy = tmp_path / "moved" / "base"
    copy.mkdir(parents=True)
    for file in bases("llama").iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert main([*line, "--base-model", str(copy), "--output-dir", str(tmp_path / "out")]) == 0
    assert f"; used: {copy}\n" in capsys.readouterr().err

"""`modeconn train --dry-run`: what would be trained, without a weight."""

import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import get_args

import pytest
import torch
from method_runs import SEQUENCE, tiny_run
from tiny import TARGETS, make_base

import modeconn as mc
from modeconn.cli.main import main
from modeconn.continual.plan import plan_training
from modeconn.continual.settings import METHOD_NAMES, AdapterKind

EMBEDDED = Path(str(files("modeconn.embedded")))
PAPER = Path(__file__).parents[2] / "analysis" / "ilora" / "llama2-7b-trace.yaml"
LLAMA_2_7B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 32, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The description of Llama-2-7B, with a tokenizer of fewer words."""
    folder = tmp_path_factory.mktemp("llama")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EMBEDDED / "base" / name, folder / name)
    (folder / "config.json").write_text(json.dumps(LLAMA_2_7B))
    return folder


def test_the_settings_of_the_paper_fit_its_model(
    llama: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = sorted(path.name for path in (EMBEDDED / "tasks").iterdir() if (path / "task.json").exists())
    assert len(names) == 8  # as many as the paper's
    tasks = [str(EMBEDDED / "tasks" / name) for name in names]
    chosen = ["--base-model", str(llama), "--tasks", *tasks, "--output-dir", str(tmp_path / "run"), "--dry-run"]
    assert main(["train", "--config", str(PAPER), *chosen]) == 0
    told = capsys.readouterr().out
    trained = 32 * 4 * 8 * 2 * 4096  # layers, projections, rank, both factors
    assert f"parameters: {6_738_415_616 + trained:,}, of which {trained:,} are trained (0.124%)" in told
    assert "memory: 27.1 GB" in told
    assert told.startswith("what would be trained: lora, ilora\n")
    assert [line.split()[0] for line in told.splitlines()[2:10]] == names
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", get_args(AdapterKind))
def test_the_plan_counts_what_training_would_train(tmp_path: Path, kind: str) -> None:
    base = make_base(tmp_path / "base", "llama")
    options = {"n_frequency": 50} if kind == "fourierft" else {}
    method = "l2p" if kind == "l2p" else "sequential"
    settings = mc.TrainSettings(
        method=method,
        adapter=kind,  # type: ignore[arg-type]
        adapter_options=options,
        num_train_epochs=(2,),
        learning_rate=(1e-3, 2e-3),
    )
    plan = plan_training(base, SEQUENCE, settings=settings)
    run = tiny_run(tmp_path / "run", base, method=method, adapter=kind, adapter_options=options)
    assert plan.num_trained == sum(weight.numel() for weight in run.learner.weights.values())
    assert plan.num_parameters == sum(one.numel() for one in run.learner.module.parameters())
    assert plan.memory == 4 * plan.num_parameters + 12 * plan.num_trained
    rows = run.train_sets[0].rows.rows
    first = plan.tasks.iloc[0]
    assert (first["examples"], first["steps"], first["learning_rate"]) == (len(rows), 2 * -(-len(rows) // 8), 1e-3)
    assert first["tokens"] == sum(len(row.context) + len(row.targets) - 1 for row in rows)
    assert plan.num_tokens == 2 * plan.tasks["tokens"].sum()


@pytest.mark.parametrize("family", ["gpt2", "bert", "t5"])
def test_other_families_are_planned(tmp_path: Path, family: str) -> None:
    base = make_base(tmp_path / "base", family)
    settings = mc.TrainSettings(target_modules=tuple(TARGETS[family]))
    plan = plan_training(base, SEQUENCE, settings=settings)
    run = tiny_run(tmp_path / "run", base, target_modules=TARGETS[family])
    assert plan.num_trained == sum(weight.numel() for weight in run.learner.weights.values())


def test_the_products_are_those_that_torch_counts(tmp_path: Path) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    base = make_base(tmp_path / "base", "llama", hidden_size=64, intermediate_size=256)  # attention is small then
    plan = plan_training(base, SEQUENCE)
    run = tiny_run(tmp_path / "run", base, packing=False)
    tokens = torch.randint(4, 20, (1, 10))
    with FlopCounterMode(display=False) as counter:
        run.learner.module(input_ids=tokens).logits.sum().backward()
    assert plan.token_flops == pytest.approx(counter.get_total_flops() / 10, rel=0.1)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_every_method_is_planned(bases: Callable[[str], Path], method: str) -> None:
    kind = {"progressive-prompts": "prompt-tuning", "l2p": "l2p"}.get(method, "lora")
    plan = plan_training(
        bases("llama"), SEQUENCE, settings=mc.TrainSettings(method=method, adapter=kind, validation_split="train")
    )
    assert plan.num_trained > 0
    assert len(plan.tasks) == 2


def test_no_weights_are_needed_and_none_are_read(llama: Path) -> None:
    assert not list(llama.glob("*.safetensors"))
    assert plan_training(llama, SEQUENCE).num_parameters > 6_738_415_616


def test_a_dry_run_refuses_what_training_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = ["--tasks", str(EMBEDDED / "tasks" / "stance")]
    common = [
        "train",
        "--base-model",
        str(EMBEDDED / "base"),
        *tasks,
        "--output-dir",
        str(tmp_path / "run"),
        "--dry-run",
    ]
    for wrong, told in (
        (["--target-modules", "absent"], "error: no module gets an adapter\n"),
        (["--method", "ilora", "--method-options", '{"decays": 1}'], "error: "),
        (["--learning-rate", "1e-3", "1e-4"], "error: learning_rate cannot be used for training\n"),
        (["--task-type", "SEQ_2_SEQ_LM"], "error: "),
    ):
        assert main([*common, *wrong]) == 1
        assert capsys.readouterr().err.startswith(told)
    assert not (tmp_path / "run").exists()

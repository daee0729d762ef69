"""Points without a weight update: PEFT evaluates them, and padding and batches change nothing."""

import json
import shutil
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from peft import PeftModel
from prompt_adapters import KINDS, NUM_VIRTUAL, make_prompt
from random_tasks import random_task
from safetensors.torch import load_file, save_file
from tiny import LABELS, TASK_TYPES, make_base
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
)

import modeconn as mc
from modeconn.tasks.encoding import EncodingSettings

AUTO = {
    "CAUSAL_LM": AutoModelForCausalLM,
    "SEQ_2_SEQ_LM": AutoModelForSeq2SeqLM,
    "SEQ_CLS": AutoModelForSequenceClassification,
}
UNKNOWN_TO_PEFT = {
    ("bert", "ADAPTION_PROMPT"),
    ("t5", "ADAPTION_PROMPT"),
    ("t5", "MULTITASK_PROMPT_TUNING"),
}
PAIRS = [(f, kind) for f in TASK_TYPES for kind in KINDS if (f, kind) not in UNKNOWN_TO_PEFT]


@pytest.fixture(scope="module")
def prompts(bases, tmp_path_factory):
    """Folder of a random adapter of a kind without an update, made once for each seed."""
    made = {}

    def prompt(family, kind, seed=1):
        if (family, kind, seed) not in made:
            folder = tmp_path_factory.mktemp("prompts") / f"{family}-{kind}-{seed}"
            made[family, kind, seed] = make_prompt(folder, bases(family), family, kind, seed=seed)
        return made[family, kind, seed]

    return prompt


def load(folder, **settings):
    point = mc.Adapter.from_pretrained(folder)
    labels = LABELS if point.config.task_type == "SEQ_CLS" else None
    return mc.AdapterModel.from_pretrained(adapters=[point], labels=labels, **settings), point


def load_plain(base, folder, dtype=torch.float64):
    """A base with an adapter as transformers and PEFT load it."""
    task_type = json.loads((folder / "adapter_config.json").read_text())["task_type"]
    model = AUTO[task_type].from_pretrained(base, dtype=dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return PeftModel.from_pretrained(model, folder).eval()


@torch.inference_mode()
def negative_log_likelihood(model, tokenizer, prompt, answer):
    """One answer's, from one unpadded text without a mask: the simplest way to call PEFT."""
    kind, task_type = model.active_peft_config.peft_type, model.active_peft_config.task_type
    extra = {"task_ids": torch.tensor([0])} if kind == "MULTITASK_PROMPT_TUNING" else {}
    if task_type == "SEQ_CLS":
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        logits, target = model(input_ids=ids, **extra).logits, [LABELS.index(answer)]
    elif task_type == "SEQ_2_SEQ_LM":
        target = tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        logits = model(input_ids=ids, decoder_input_ids=torch.tensor([[0, *target[:-1]]])).logits[0]
    else:
        target = tokenizer(answer, add_special_tokens=False)["input_ids"]
        ids = tokenizer(f"{prompt} {answer}", return_tensors="pt")["input_ids"]
        logits = model(input_ids=ids, **extra).logits[0, -len(target) - 1 : -1]
    return -float(logits.log_softmax(-1)[range(len(target)), target].sum())


def one_by_one(model, tokenizer, task):
    return np.array([negative_log_likelihood(model, tokenizer, e.prompt, e.answer) for e in task.split("test")])


def task_for(family):
    return random_task(labels=LABELS if family == "bert" else None)


def losses(model, point, task, **settings):
    (sums,) = model.evaluate(point, [model.encode(task, settings=EncodingSettings(**settings))])
    return sums.loss_sum


@pytest.mark.parametrize(("family", "kind"), PAIRS)
def test_losses_of_padded_batches_equal_those_of_single_texts(family, kind, prompts, bases):
    folder, task = prompts(family, kind), task_for(family)
    model, point = load(folder, dtype="float64")
    expected = one_by_one(load_plain(bases(family), folder), model.tokenizer, task)
    np.testing.assert_allclose(losses(model, point, task), expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING"])
def test_a_decoder_that_classifies_reads_the_last_word(kind, bases, tmp_path):
    """PEFT gives such a model vectors instead of tokens, in which it cannot find the padding."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "n_embd": 16,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 64,
        "vocab_size": 26,
        "num_labels": 3,
    }
    GPT2ForSequenceClassification(GPT2Config(**sizes, pad_token_id=0)).save_pretrained(tmp_path / "base")
    for file in bases("gpt2").glob("tokenizer*"):
        shutil.copy(file, tmp_path / "base")
    folder = make_prompt(tmp_path / "a", bases("gpt2"), "gpt2", kind, seed=1)
    head = {"base_model.score.weight": torch.randn(3, 16)}
    rewrite(folder, tensors=head, task_type="SEQ_CLS", modules_to_save=["score"])
    model, point = load(folder, base=tmp_path / "base", dtype="float64")
    task = task_for("bert")
    expected = one_by_one(load_plain(tmp_path / "base", folder), model.tokenizer, task)
    np.testing.assert_allclose(losses(model, point, task), expected, rtol=1e-10)


def rewrite(folder, *, tensors=None, **settings):
    """Change an adapter's files."""
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | settings))
    save_file(load_file(folder / "adapter_model.safetensors") | (tensors or {}), folder / "adapter_model.safetensors")
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING"])
def test_narrower_models_agree_with_plain_peft(kind, dtype, prompts, bases):
    folder, task = prompts("llama", kind), task_for("llama")
    model, point = load(folder, dtype=dtype)
    plain = load_plain(bases("llama"), folder, getattr(torch, dtype))
    tolerance = {"float32": 1e-5, "bfloat16": 2e-2}[dtype]
    np.testing.assert_allclose(losses(model, point, task), one_by_one(plain, model.tokenizer, task), rtol=tolerance)


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "P_TUNING"])
@pytest.mark.parametrize("token_budget", [1, 25])
def test_losses_do_not_depend_on_the_batches(kind, token_budget, prompts):
    model, point = load(prompts("gpt2", kind), dtype="float64")
    usual, other = (losses(model, point, task_for("gpt2"), token_budget=size) for size in (2048, token_budget))
    np.testing.assert_allclose(other, usual, rtol=1e-12)


@pytest.mark.parametrize(("family", "kind"), [p for p in PAIRS if p[0] in ("llama", "bert")])
def test_a_midpoint_is_the_mean_of_the_tensors_in_plain_peft(family, kind, prompts, bases, tmp_path):
    folders = [prompts(family, kind, seed) for seed in (1, 2)]
    first, second = (load_file(folder / "adapter_model.safetensors") for folder in folders)
    shutil.copytree(folders[0], tmp_path / "mean")
    rewrite(tmp_path / "mean", tensors={name: 0.25 * first[name] + 0.75 * second[name] for name in first})
    model, start = load(folders[0], dtype="float64")
    line = mc.LinearPath(start, mc.Adapter.from_pretrained(folders[1]), space="factors")
    expected = one_by_one(load_plain(bases(family), tmp_path / "mean"), model.tokenizer, task_for(family))
    np.testing.assert_allclose(losses(model, line(0.75), task_for(family)), expected, rtol=1e-5)  # files hold float32


@pytest.mark.parametrize("kind", KINDS)
def test_a_path_is_evaluated_in_factors_space(kind, prompts):
    ends = [mc.Adapter.from_pretrained(prompts("llama", kind, seed), name=f"seed {seed}") for seed in (1, 2)]
    model, task = mc.AdapterModel.from_pretrained(adapters=ends), make_task("first", 0)
    profile = mc.evaluate_path(mc.LinearPath(*ends, space="factors"), model, [task], num_points=3)
    means = [losses(model, end, task).sum() / len(task.split("test")) for end in ends]
    found = profile.frame.set_index("t")["loss"]
    np.testing.assert_allclose([found[0.0], found[1.0]], means, rtol=1e-6)
    assert found[0.5] not in (found[0.0], found[1.0])


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "ADAPTION_PROMPT"])
def test_the_model_is_afterwards_what_it_was(kind, prompts, state):
    model, point = load(prompts("llama", kind))
    before = state(model.module)
    with model.at(point):
        pass
    assert state(model.module) == before


@pytest.mark.parametrize("kind", ["PROMPT_TUNING", "PREFIX_TUNING"])
def test_a_prompt_takes_its_room_from_the_text(kind, prompts, bases):
    """GPT-2 here has 64 positions."""
    model, point = load(prompts("gpt2", kind))
    long = mc.Task.from_records("long", {"test": [{"prompt": "cat " * 100, "answer": "good"}] * 2})
    (row, _) = model.encode(long).rows.rows
    assert len(row.context) + len(row.targets) == 64 - NUM_VIRTUAL
    assert np.isfinite(losses(model, point, long)).all()
    bare = mc.AdapterModel.from_pretrained(bases("gpt2"))
    with pytest.raises(mc.ModelError, match=rf"(?s)too long beside the prompt.*takes {NUM_VIRTUAL}.*--max-length"):
        losses(bare, point, long)


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("PROMPT_TUNING", {"hidden_size": 32}, "cannot run the model"),
        ("PREFIX_TUNING", {"num_attention_heads": 4}, "num_attention_heads of 4 instead of 2"),
        ("PREFIX_TUNING", {"num_hidden_layers": 1}, "a prefix of 2 layers for 1"),
        ("PREFIX_TUNING", {"num_hidden_layers": 3}, "a prefix of 2 layers for 3"),
        ("ADAPTION_PROMPT", {"num_hidden_layers": 3}, "left over.*layers.1.self_attn.adaption_gate"),
        ("ADAPTION_PROMPT", {"hidden_size": 32}, "RuntimeError"),
    ],
)
def test_a_point_of_another_base_is_refused(kind, size, message, prompts, tmp_path):
    model = mc.AdapterModel.from_pretrained(make_base(tmp_path / "other", "llama", **size))
    point = mc.Adapter.from_pretrained(prompts("llama", kind))
    with (
        pytest.raises(mc.ModelError, match=rf"(?s)does not fit the base model.*{message}.*give the base"),
        model.at(point),
    ):
        pass

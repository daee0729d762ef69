"""Losses and scores of batches equal those of transformers and PEFT, one example at a time."""

import numpy as np
import pytest
import torch
from random_tasks import random_task
from tiny import LABELS, WORDS, make_base
from torch import nn
from transformers import GPT2Config, GPT2ForSequenceClassification

import modeconn as mc
from modeconn.models.family import IGNORED, Causal, padded, score_batch
from modeconn.tasks.encoding import EncodingSettings

FAMILIES = ["llama", "gpt2", "bert", "t5"]
WRITERS = ["llama", "gpt2", "t5"]
CHOICES = ("good", "bad no", "maybe yes no")


def task_for(family, **changes):
    return random_task(labels=LABELS if family == "bert" else None, **changes)


@torch.inference_mode()
def log_likelihood(family, model, tokenizer, prompt, answer):
    """One answer's, from the logits of an unpadded text at all positions."""
    if family == "bert":
        logits, target = model(**tokenizer(prompt, return_tensors="pt")).logits, [LABELS.index(answer)]
    else:
        target = tokenizer(answer, add_special_tokens=False)["input_ids"]
        if family == "t5":
            read = tokenizer(prompt, return_tensors="pt")["input_ids"]
            logits = model(input_ids=read, labels=torch.tensor([target])).logits[0]
        else:
            text = tokenizer(f"{prompt} {answer}", return_tensors="pt")["input_ids"]
            logits = model(input_ids=text).logits[0, -len(target) - 1 : -1]
    return float(logits.log_softmax(-1)[range(len(target)), target].sum())


def one_by_one(family, model, tokenizer, task):
    return np.array([-log_likelihood(family, model, tokenizer, e.prompt, e.answer) for e in task.split("test")])


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-5)])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_of_padded_batches_equal_those_of_single_texts(family, dtype, tolerance, loaded, peft_model):
    model, point = loaded(family, dtype)
    task = task_for(family)
    (sums,) = model.evaluate(point, [model.encode(task)])
    reference = one_by_one(family, peft_model(family, getattr(torch, dtype)), model.tokenizer, task)
    np.testing.assert_allclose(sums.loss_sum, reference, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("token_budget", [1, 25, 100_000])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_do_not_depend_on_the_batches(family, token_budget, loaded):
    model, point = loaded(family)
    task = task_for(family)
    (usual,) = model.evaluate(point, [model.encode(task)])
    (other,) = model.evaluate(point, [model.encode(task, settings=EncodingSettings(token_budget=token_budget))])
    np.testing.assert_allclose(other.loss_sum, usual.loss_sum, rtol=1e-10, atol=1e-10)
    np.testing.assert_array_equal(other.score, usual.score)


def test_the_token_budget_sets_the_number_of_batches(loaded):
    model, _ = loaded("llama")
    budgets = [
        len(model.encode(task_for("llama"), settings=EncodingSettings(token_budget=b)).batches) for b in (1, 99999)
    ]
    assert budgets == [9, 1]


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_are_counted_without_padding(family, loaded):
    model, point = loaded(family)
    task = task_for(family)
    (sums,) = model.evaluate(point, [model.encode(task)])
    expected = [1 if family == "bert" else len(example.answer.split()) for example in task.split("test")]
    assert sums.num_tokens.tolist() == expected


def written(family, model, tokenizer, prompt, num_tokens):
    """What greedy decoding writes after a prompt."""
    read = tokenizer(prompt, return_tensors="pt")
    tokens = model.generate(**read, max_new_tokens=num_tokens, do_sample=False, eos_token_id=[], pad_token_id=0)[0]
    return tokens[1 if family == "t5" else read["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("family", WRITERS)
def test_exact_match_is_whether_generate_writes_the_answer(family, loaded, peft_model):
    model, point = loaded(family)
    reference, tokenizer = peft_model(family, torch.float64), model.tokenizer
    records, matches = [], []
    for number, example in enumerate(random_task(num_examples=20).split("test")):
        tokens = written(family, reference, tokenizer, example.prompt, 3)
        if number % 4 == 1:  # the first word right, the last one wrong
            tokens[2] = 4 + (tokens[2] - 3) % len(WORDS)
        answer = example.answer if number % 4 == 3 else tokenizer.decode(tokens)
        target = tokenizer(answer, add_special_tokens=False)["input_ids"]
        records.append({"prompt": example.prompt, "answer": answer})
        matches.append(written(family, reference, tokenizer, example.prompt, len(target)) == target)
    task = mc.Task.from_records("written", {"test": records})
    (sums,) = model.evaluate(point, [model.encode(task)])
    assert sums.score.tolist() == matches
    assert 5 <= sum(matches) <= 15


@pytest.mark.parametrize("choices", [CHOICES, WORDS[:7]], ids=["longer labels", "labels of one token"])
@pytest.mark.parametrize("family", WRITERS)
def test_multiple_choice_takes_the_likeliest_answer(family, choices, loaded, peft_model):
    model, point = loaded(family)
    reference, task = peft_model(family, torch.float64), random_task(labels=choices, num_examples=24)
    (sums,) = model.evaluate(point, [model.encode(task)])
    table = np.array(
        [[log_likelihood(family, reference, model.tokenizer, e.prompt, c) for c in choices] for e in task.split("test")]
    )
    right = np.array([choices.index(example.answer) for example in task.split("test")])
    assert sums.score.tolist() == (table.argmax(1) == right).tolist()
    assert 0 < sums.score.sum() < len(right)
    np.testing.assert_allclose(sums.loss_sum, -table[range(len(right)), right], rtol=1e-10, atol=1e-10)


def classifier_logits(model, tokenizer, task):
    with torch.inference_mode():
        rows = [model(**tokenizer(e.prompt, return_tensors="pt")).logits[0] for e in task.split("test")]
    return torch.stack(rows)


def test_a_classifier_answers_with_the_largest_logit(loaded, peft_model):
    model, point = loaded("bert")
    task = task_for("bert", num_examples=20)
    (sums,) = model.evaluate(point, [model.encode(task)])
    answered = classifier_logits(peft_model("bert", torch.float64), model.tokenizer, task).argmax(1).tolist()
    expected = [LABELS[label] == e.answer for label, e in zip(answered, task.split("test"), strict=True)]
    assert sums.score.tolist() == expected
    assert 0 < sum(expected) < 20


@pytest.mark.parametrize("labels", [("maybe", "good"), ("maybe", "good", "no")])
def test_masking_leaves_the_tasks_own_labels_only(labels, loaded, peft_model):
    """A label that the head lacks ("no") is no class to choose."""
    model, point = loaded("bert")
    prompts = random_task(labels=("maybe", "good"), num_examples=12)
    task = mc.Task("own", dict(prompts.splits), labels)
    (sums,) = model.evaluate(point, [model.encode(task, settings=EncodingSettings(mask_labels=True))])
    logits = classifier_logits(peft_model("bert", torch.float64), model.tokenizer, task)[:, [2, 0]]
    right = [("maybe", "good").index(example.answer) for example in task.split("test")]
    np.testing.assert_allclose(sums.loss_sum, -logits.log_softmax(1)[range(12), right], rtol=1e-10)
    assert sums.score.tolist() == (logits.argmax(1) == torch.tensor(right)).tolist()


def test_masking_does_not_mind_blanks_around_labels(loaded):
    model, _ = loaded("bert")
    task = random_task(labels=(" maybe", "good "))
    assert model.encode(task, settings=EncodingSettings(mask_labels=True)).allowed == (0, 2)


def test_without_masking_other_tasks_labels_can_be_answered(loaded):
    model, point = loaded("bert")
    task = random_task(labels=("maybe", "good"))
    free, masked = (
        model.evaluate(point, [model.encode(task, settings=EncodingSettings(mask_labels=mask))])[0].loss_sum
        for mask in (False, True)
    )
    assert (masked < free).all()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_head_runs_at_the_scored_positions_only(family, loaded):
    model, _ = loaded(family)
    shapes = []
    hook = model.module.lm_head.register_forward_hook(lambda _module, _inputs, output: shapes.append(output.shape))
    encoded = model.encode(random_task())
    model.score_rows(model.module, encoded)
    hook.remove()
    vocabulary = model.module.config.vocab_size
    assert shapes == [(1, int((batch.targets != IGNORED).sum()), vocabulary) for batch in encoded.batches]
    assert all(batch.targets.numel() < batch.inputs["input_ids"].numel() for batch in encoded.batches)


class AllPositions(nn.Module):
    """A causal model whose forward cannot be told which logits to keep."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, position_ids, use_cache, attention_mask=None):
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, use_cache=use_cache
        )


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_model_that_gives_all_logits_scores_the_same(family, loaded):
    model, _ = loaded(family)
    packed = model.encode(random_task()).batches[0]
    batch = padded(packed, model.module, left=True)
    with torch.inference_mode():
        from_packed = score_batch(Causal(), AllPositions(model.module), packed)[0]
        assert Causal().logits(AllPositions(model.module), batch).shape[1] == batch.targets.shape[1]
        few, all_ = (score_batch(Causal(), one, batch)[0] for one in (model.module, AllPositions(model.module)))
    torch.testing.assert_close(all_, few, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(from_packed, few, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("dtype", "kept"), [("float64", torch.float64), ("bfloat16", torch.float32)])
def test_losses_are_computed_in_float32_at_least(dtype, kept, loaded):
    model, _ = loaded("llama", dtype)
    with torch.inference_mode():
        assert score_batch(model.family, model.module, model.encode(random_task()).batches[0])[0].dtype == kept


@pytest.mark.parametrize("pad_token_id", [1, None, -1])
def test_a_decoder_that_classifies_finds_the_end_of_padded_texts(pad_token_id, tmp_path):
    """It looks for the padding token of its config, here another than the tokenizer's 0, or none."""
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=26, n_embd=16, n_layer=1, n_head=2, num_labels=3, pad_token_id=pad_token_id)
    GPT2ForSequenceClassification(config).save_pretrained(make_base(tmp_path / "base", "gpt2"))
    model = mc.AdapterModel.from_pretrained(tmp_path / "base", labels=LABELS, dtype="float64")
    task = random_task(labels=LABELS)
    padded, alone = (
        model.score_rows(model.module, model.encode(task, settings=EncodingSettings(token_budget=budget)))[0]
        for budget in (10_000, 1)
    )
    np.testing.assert_allclose(padded, alone, rtol=1e-10)
    np.testing.assert_allclose(alone, one_by_one("bert", model.module, model.tokenizer, task), rtol=1e-10)

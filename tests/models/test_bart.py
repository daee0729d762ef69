"""Encoder-decoders whose answers begin with a special token, and whose positions end: BART and its kin."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from random_tasks import random_task
from tiny import VOCABULARY, make_tokenizer
from transformers import BartConfig, BartForConditionalGeneration

import modeconn as mc
from modeconn.errors import TaskError
from modeconn.models.generating import write
from modeconn.models.loading import longest_input
from modeconn.tasks.encoding import EncodingSettings

TOKENIZER = make_tokenizer("bert")  # <s> text </s>, as BART's
CHOICES = ("good", "bad no", "maybe yes no")


@pytest.fixture(scope="module")
def bart(tmp_path_factory):
    """A model of this package with a point, and the same by transformers and PEFT alone, in float64."""
    folder = tmp_path_factory.mktemp("bart")
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=len(VOCABULARY), d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_position_embeddings=40,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=2, init_std=0.5,
    )  # fmt: skip
    BartForConditionalGeneration(config).save_pretrained(folder / "base")
    TOKENIZER.save_pretrained(folder / "base")
    base = BartForConditionalGeneration.from_pretrained(folder / "base", dtype=torch.float32)
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="SEQ_2_SEQ_LM", init_lora_weights=False)
    get_peft_model(base, lora).save_pretrained(str(folder / "adapter"))
    point = mc.Adapter.from_pretrained(folder / "adapter")
    model = mc.AdapterModel.from_pretrained(adapters=[point], dtype="float64")
    plain = BartForConditionalGeneration.from_pretrained(folder / "base", dtype=torch.float64)
    return model, point, PeftModel.from_pretrained(plain, folder / "adapter").double().eval()


@torch.inference_mode()
def log_likelihood(reference, prompt, answer, *, ended=False):
    """One answer's after `<s>`, from the logits that transformers gives for the labels `<s> answer </s>`."""
    labels = TOKENIZER(answer, return_tensors="pt")["input_ids"]
    read = TOKENIZER(prompt, return_tensors="pt")["input_ids"]
    likelihoods = reference(input_ids=read, labels=labels).logits[0].log_softmax(-1)
    scored = range(1, labels.shape[1] if ended else labels.shape[1] - 1)
    return sum(float(likelihoods[place, labels[0, place]]) for place in scored)


@pytest.mark.parametrize("ended", [False, True])
def test_losses_equal_those_of_single_texts(bart, ended):
    model, point, reference = bart
    task = random_task()
    (sums,) = model.evaluate(point, [model.encode(task, settings=EncodingSettings(score_eos=ended))])
    expected = [-log_likelihood(reference, e.prompt, e.answer, ended=ended) for e in task.split("test")]
    np.testing.assert_allclose(sums.loss_sum, expected, rtol=1e-10)
    assert sums.num_tokens.tolist() == [len(e.answer.split()) + ended for e in task.split("test")]


@pytest.mark.parametrize("choices", [CHOICES, ("good", "bad", "no", "maybe")], ids=["longer labels", "one token"])
def test_the_likeliest_label_is_the_answer(bart, choices):
    model, point, reference = bart
    task = random_task(labels=choices, num_examples=24)
    (sums,) = model.evaluate(point, [model.encode(task)])
    table = [[log_likelihood(reference, e.prompt, choice) for choice in choices] for e in task.split("test")]
    right = [choices.index(e.answer) for e in task.split("test")]
    assert sums.score.tolist() == (np.argmax(table, axis=1) == right).tolist()
    assert 0 < sums.score.sum() < len(right)


@torch.inference_mode()
def test_exact_match_is_whether_generate_writes_the_answer(bart):
    model, point, reference = bart
    records = []
    for number, example in enumerate(random_task(num_examples=8).split("test")):
        read = TOKENIZER(example.prompt, return_tensors="pt")
        (tokens,) = reference.generate(
            **read, max_new_tokens=4, do_sample=False, forced_bos_token_id=1, eos_token_id=[]
        ).tolist()
        start, forced, *written, _ = tokens  # the last is the end that BART forces
        assert (start, forced) == (2, 1)
        answer = example.answer if number % 2 else TOKENIZER.decode(written)
        records.append({"prompt": example.prompt, "answer": answer})
    (sums,) = model.evaluate(point, [model.encode(mc.Task.from_records("written", {"test": records}))])
    assert sums.score[::2].tolist() == [1.0] * 4
    assert sums.score[1::2].sum() < 4


@torch.inference_mode()
def test_written_answers_follow_the_token_that_begins_every_text(bart):
    model, point, reference = bart
    task = replace(random_task(num_examples=8), metric="generated_exact_match", max_new_tokens=5)
    split = model.encode(task)
    with model.at(point) as module:
        found = write(model, module, split)
    for example, tokens in zip(task.split("test"), found, strict=True):
        read, new = TOKENIZER(example.prompt, return_tensors="pt"), []
        while len(new) < 5 and new[-1:] != [2]:
            decoder = torch.tensor([[2, 1, *new]])
            new.append(int(reference(**read, decoder_input_ids=decoder).logits[0, -1].argmax()))
        assert tokens == tuple(new)


def test_the_positions_of_an_encoder_decoder_end_where_they_are_learned(bart):
    model, point, _ = bart
    assert longest_input(model.module, model.tokenizer) == 40
    task = mc.Task.from_records("long", {"test": [{"prompt": "cat " * 60, "answer": "good " * 39}]})
    encoded = model.encode(task)
    (sums,) = model.evaluate(point, [encoded])
    assert np.isfinite(sums.loss_sum).all()
    assert (encoded.rows.num_truncated, sums.num_tokens.tolist()) == (1, [39])


def test_an_answer_that_the_decoder_cannot_hold_is_an_error(bart):
    model, _, _ = bart
    task = mc.Task.from_records("long", {"test": [{"prompt": "cat", "answer": "good " * 40}]})
    with pytest.raises(TaskError, match="the answer of long/test example 0 does not fit"):
        model.encode(task)

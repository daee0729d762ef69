"""Written answers: batches and cache against one forward pass a token, and scores against given answers."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from peft import PeftModel
from prompt_adapters import make_prompt
from transformers import GenerationConfig

import modeconn as mc
from modeconn.models.generating import end_tokens, write
from modeconn.tasks.encoding import EncodingSettings

FAMILIES = ["llama", "gpt2", "t5"]
NUM_NEW = 8


def written_task(**settings):
    return replace(make_task("free", 0, labels=False), metric="rouge_l", max_new_tokens=NUM_NEW, **settings)


@pytest.fixture
def ending(loaded):
    """A family's model and point, with a frequent word as the end of texts."""
    changed = []

    def load(family, word):
        model, point = loaded(family)
        changed.append((model.tokenizer, model.tokenizer.eos_token))
        model.tokenizer.eos_token = word
        return model, point

    yield load
    for tokenizer, word in changed:
        tokenizer.eos_token = word


@torch.inference_mode()
def slowly_written(module, context, lead, ends, num_new=NUM_NEW):
    """Greedy decoding of one example, without padding and cache, by the model's own forward."""
    config, new = module.config, []
    while len(new) < num_new and not (new and new[-1] in ends):
        if config.is_encoder_decoder:
            inputs = {"input_ids": [context], "decoder_input_ids": [[config.decoder_start_token_id, *lead, *new]]}
        else:
            inputs = {"input_ids": [[*context, *new]]}
        tensors = {name: torch.tensor(value) for name, value in inputs.items()}
        masks = {"attention_mask": torch.ones_like(tensors["input_ids"])}
        new.append(int(module(**tensors, **masks, use_cache=False).logits[0, -1].argmax()))
    return tuple(new)


@pytest.mark.parametrize("budget", [1, 70, 5000])
@pytest.mark.parametrize(("family", "word"), [("llama", "red"), ("gpt2", "red"), ("t5", "answer")])
def test_a_batch_writes_what_each_example_does_alone(ending, family, word, budget):
    model, point = ending(family, word)
    split = model.encode(written_task(), settings=EncodingSettings(token_budget=budget))
    ends = end_tokens(model)
    with model.at(point) as module:
        found = write(model, module, split)
        alone = [slowly_written(module, context, split.questions.lead, ends) for context in split.questions.contexts]
    assert found == alone
    assert len({len(tokens) for tokens in found}) > 1  # some ended, some were cut
    assert {len(context) for context in split.questions.contexts} != {len(split.questions.contexts[0])}


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_match_of_written_answers_is_that_of_given_ones(ending, family):
    model, point = ending(family, "answer" if family == "t5" else "red")
    (sums,) = model.evaluate(point, [model.encode(written_task())])
    with model.at(point) as module:
        tokens = write(model, module, model.encode(written_task()))
    # Half of the answers are what the model writes, where text and tokens are the same thing.
    spelled = [
        text if ended and index % 2 and tuple(ids) == row[:-1] else "maybe"
        for index, (text, ended, row) in enumerate(zip(sums.outputs.texts, sums.outputs.ended, tokens, strict=True))
        for ids in [model.tokenizer(text, add_special_tokens=False)["input_ids"]]
    ]
    examples = written_task().split("test")
    examples = tuple(replace(one, answer=text or "no") for one, text in zip(examples, spelled, strict=True))
    given = mc.Task("given", {"test": examples})
    written = replace(given, metric="generated_exact_match", max_new_tokens=NUM_NEW)
    settings = EncodingSettings(score_eos=True)
    first, second = model.evaluate(point, [model.encode(task, settings=settings) for task in (given, written)])
    np.testing.assert_array_equal(first.score, second.score)
    np.testing.assert_array_equal(first.loss_sum, second.loss_sum)
    assert 0 < first.score.sum() < len(examples)
    assert first.outputs is None
    assert second.outputs.texts == sums.outputs.texts


def test_outputs_are_scored_against_the_answers(loaded):
    from rouge_score.rouge_scorer import RougeScorer

    model, point = loaded("llama")
    task = written_task()
    (sums,) = model.evaluate(point, [model.encode(task)])
    scorer = RougeScorer(["rougeL"])
    expected = [
        scorer.score(example.answer, text)["rougeL"].fmeasure
        for example, text in zip(task.split("test"), sums.outputs.texts, strict=True)
    ]
    np.testing.assert_allclose(sums.score, expected)
    assert len(set(sums.score)) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_the_models_own_generation_settings_do_not_count(loaded, family):
    model, point = loaded(family)
    split = model.encode(written_task())
    (before,) = model.evaluate(point, [split])
    own = model.module.generation_config
    odd = GenerationConfig(do_sample=True, temperature=5.0, repetition_penalty=9.0, no_repeat_ngram_size=1, num_beams=3)
    model.module.generation_config = odd
    try:
        (after,) = model.evaluate(point, [split])
        assert model.module.generation_config is odd
    finally:
        model.module.generation_config = own
    assert before.outputs == after.outputs


def test_texts_end_where_the_base_says_so_too(loaded):
    model, point = loaded("llama")
    own = model.module.generation_config
    red = model.tokenizer.convert_tokens_to_ids("red")
    model.module.generation_config = GenerationConfig(eos_token_id=[red])
    try:
        assert end_tokens(model) == tuple(sorted({red, model.tokenizer.eos_token_id}))
        (sums,) = model.evaluate(point, [model.encode(written_task())])
    finally:
        model.module.generation_config = own
    assert any(sums.outputs.ended)
    assert not any("red" in text for text in sums.outputs.texts)


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_a_prompted_model_writes_as_peft_does(bases, tmp_path, family):
    folder = make_prompt(tmp_path / "prompt", bases(family), family, "PROMPT_TUNING", seed=3)
    point = mc.Adapter.from_pretrained(folder)
    model = mc.AdapterModel.from_pretrained(adapters=[point], dtype="float64")
    split = model.encode(written_task(splits={"test": written_task().split("test")[:6]}))
    (sums,) = model.evaluate(point, [split])
    plain = PeftModel.from_pretrained(model.twin(), str(folder)).double().eval()
    ends = end_tokens(model)
    expected = [slowly_written(plain, context, split.questions.lead, ends) for context in split.questions.contexts]
    with model.at(point) as module:
        assert write(model, module, split) == expected
    assert len(sums.outputs.texts) == 6


def test_a_part_of_the_examples_can_be_asked_for(loaded):
    model, point = loaded("gpt2")
    split = model.encode(written_task())
    with model.at(point) as module:
        whole = write(model, module, split)
        assert write(model, module, split, [5, 0, 9]) == [whole[5], whole[0], whole[9]]
        with pytest.raises(ValueError, match="asks for no written answers"):
            write(model, module, model.encode(make_task("given", 0)))


def test_a_classifier_cannot_write(loaded):
    model, _ = loaded("bert")
    task = replace(make_task("labelled", 0), metric="edit_similarity")
    with pytest.raises(
        mc.TaskError, match=r"(?s)classifier cannot be scored by edit_similarity, as labelled asks.*accuracy"
    ):
        model.encode(task)


def test_without_generation_the_given_answers_are_matched(loaded):
    model, point = loaded("llama")
    split = model.encode(written_task(), settings=EncodingSettings(generate=False))
    matched = model.encode(replace(written_task(), metric="exact_match"))
    assert split.metric == "exact_match"
    (sums,), (expected,) = model.evaluate(point, [split]), model.evaluate(point, [matched])
    assert sums.outputs is None
    np.testing.assert_array_equal(sums.score, expected.score)


def test_what_is_asked_decides_the_identity(loaded):
    model, _ = loaded("llama")
    usual = model.encode(written_task()).identity
    assert usual == model.encode(written_task()).identity
    assert usual != model.encode(replace(written_task(), max_new_tokens=7)).identity
    assert usual != model.encode(replace(written_task(), metric="edit_similarity")).identity

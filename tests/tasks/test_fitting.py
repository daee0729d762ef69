"""Rows that fit a model: what is cut, what never is, and which special tokens stand around the text."""

import re
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import LABELS, make_tokenizer
from tokenizers import processors
from transformers import PreTrainedTokenizerFast

from modeconn.errors import TaskError
from modeconn.tasks import Task
from modeconn.tasks.encoding import (
    EncodingSettings,
    encode_continuations,
    encode_sources,
    encode_texts,
    special_tokens,
)

PROMPT = "question : the cat sat on the mat ? answer :"  # 11 words


def task_of(*answers, prompt=PROMPT, labels=None):
    return Task.from_records("task", {"test": [{"prompt": prompt, "answer": a} for a in answers]}, labels=labels)


def continuations(task, *, max_length, family="llama", **changes):
    tokenizer = make_tokenizer(family)
    return encode_continuations(task, "test", tokenizer, max_length=max_length, settings=EncodingSettings(**changes))


def words(tokens):
    return make_tokenizer("llama").decode(list(tokens))


def test_a_long_prompt_keeps_both_ends_and_its_beginning_token():
    (row,) = continuations(task_of("good bad"), max_length=7).rows
    assert (words(row.context), words(row.targets)) == ("<s> question : answer :", "good bad")


@given(length=st.integers(4, 30), words_in_prompt=st.integers(1, 30), words_in_answer=st.integers(1, 2))
def test_cutting_takes_the_middle_only_and_no_more_than_needed(length, words_in_prompt, words_in_answer):
    prompt = " ".join((["red", "big", "mat"] * 10)[:words_in_prompt])
    encoded = continuations(task_of("good " * words_in_answer, prompt=prompt), max_length=length, score_eos=False)
    whole = continuations(task_of("good " * words_in_answer, prompt=prompt), max_length=100).rows[0]
    (row,) = encoded.rows
    assert row.targets == whole.targets
    assert len(row.context) == min(len(whole.context), length - len(whole.targets))
    tail = (len(row.context) - 1) - (len(row.context) - 1) // 2
    assert row.context == whole.context[: len(row.context) - tail] + whole.context[len(whole.context) - tail :]
    assert encoded.num_truncated == (row != whole)


def test_all_choices_keep_the_same_prompt():
    task = task_of("good", labels=("good", "bad no maybe"))
    rows = continuations(task, max_length=8).rows
    assert [words(row.context) for row in rows] == ["<s> question : answer :"] * 2


def test_cut_examples_are_counted_once_whatever_the_number_of_choices():
    records = [{"prompt": prompt, "answer": "good"} for prompt in ("the cat", PROMPT, PROMPT)]
    task = Task.from_records("task", {"test": records}, labels=LABELS)
    assert continuations(task, max_length=8).num_truncated == 2


@pytest.mark.parametrize(("max_length", "num_truncated"), [(13, 0), (12, 1)])
def test_a_row_that_just_fits_is_not_cut(max_length, num_truncated):
    assert continuations(task_of("good"), max_length=max_length).num_truncated == num_truncated


def test_room_is_kept_for_the_end_of_sequence():
    (row,) = continuations(task_of("good"), max_length=12, score_eos=True).rows
    assert (len(row.context), words(row.targets)) == (10, "good </s>")


NO_ROOM = (
    r"the answer of task/test example 1 does not fit\n"
    r"  expected: prompt and answer within max_length=4 tokens, answers uncut\n  got: an answer of 5 tokens"
)


@pytest.mark.parametrize("encode", [encode_continuations, encode_sources])
def test_an_answer_longer_than_the_model_is_an_error(encode):
    task = task_of("good", "good bad yes no maybe")
    with pytest.raises(TaskError, match=NO_ROOM):
        encode(task, "test", make_tokenizer("t5"), max_length=4, settings=EncodingSettings())


@pytest.mark.parametrize("encode", [encode_continuations, encode_sources])
def test_the_length_that_an_answer_needs_is_told(encode):
    encoded = partial(encode, task_of("good bad yes no maybe"), "test", make_tokenizer("t5"))
    with pytest.raises(TaskError, match="does not fit") as caught:
        encoded(max_length=2, settings=EncodingSettings())
    (told,) = re.findall(r"remedy: give max_length=(\d+) \(--max-length\) or more", str(caught.value))
    assert encoded(max_length=int(told), settings=EncodingSettings()).rows
    with pytest.raises(TaskError, match="does not fit"):
        encoded(max_length=int(told) - 1, settings=EncodingSettings())


def test_an_encoder_decoder_cuts_the_prompt_alone_and_keeps_its_ending_token():
    settings = EncodingSettings(score_eos=True)
    (row,) = encode_sources(task_of("good bad yes"), "test", make_tokenizer("t5"), max_length=5, settings=settings).rows
    assert (words(row.context), words(row.targets)) == ("question : answer : </s>", "good bad yes </s>")


@pytest.mark.parametrize(("max_length", "fits"), [(3, True), (2, False)])
def test_what_leads_the_answer_of_an_encoder_decoder_takes_room_too(max_length, fits):
    encoded = partial(encode_sources, task_of("good bad", prompt="cat"), "test", make_tokenizer("bert"))
    if fits:
        assert len(encoded(max_length=max_length, settings=EncodingSettings()).rows) == 1
    else:
        with pytest.raises(TaskError, match="does not fit"):
            encoded(max_length=max_length, settings=EncodingSettings())


def test_a_classifier_cuts_the_text_and_keeps_both_special_tokens():
    encoded = encode_texts(task_of("bad"), "test", make_tokenizer("bert"), max_length=6, labels=LABELS)
    assert [words(row.context) for row in encoded.rows] == ["<s> question : answer : </s>"]
    assert encoded.num_truncated == 1


def test_a_classifiers_target_is_the_place_of_the_label_in_the_head():
    encoded = encode_texts(task_of("bad", "good"), "test", make_tokenizer("bert"), max_length=20, labels=LABELS)
    assert ([row.targets for row in encoded.rows], encoded.answers) == ([(1,), (0,)], (1, 0))


def test_blanks_around_a_label_do_not_make_it_another_class():
    task = task_of(" bad", "good", labels=("good", " bad"))
    encoded = encode_texts(task, "test", make_tokenizer("bert"), max_length=20, labels=("good ", "bad"))
    assert encoded.answers == (1, 0)


def test_a_label_that_the_head_lacks_is_an_error():
    expected = (
        "the classifier has no class for some answers of task/test\n"
        "  expected: one of bad, good, maybe\n  got: no, yes\n  remedy: train the head over the union"
    )
    with pytest.raises(TaskError, match=expected):
        encode_texts(task_of("yes", "no", "bad"), "test", make_tokenizer("bert"), max_length=20, labels=LABELS)


@pytest.mark.parametrize(
    ("family", "around"), [("llama", ((1,), ())), ("gpt2", ((), ())), ("t5", ((), (2,))), ("bert", ((1,), (2,)))]
)
def test_special_tokens_are_told_from_the_text(family, around):
    assert special_tokens(make_tokenizer(family)) == around


def test_several_special_tokens_on_a_side_are_all_found():
    tokenizer = make_tokenizer("bert").backend_tokenizer
    template = processors.TemplateProcessing(
        single="<s> <s> $A </s> <pad> <s>", special_tokens=[("<s>", 1), ("</s>", 2), ("<pad>", 0)]
    )
    tokenizer.post_processor = template
    assert special_tokens(PreTrainedTokenizerFast(tokenizer_object=tokenizer)) == ((1, 1), (2, 0, 1))


class Doubling:
    """A tokenizer whose special tokens stand between the letters of the text."""

    eos_token_id = None

    def __call__(self, text, *, add_special_tokens):
        return {"input_ids": [[5, 1, 6] if add_special_tokens else [5, 6] for _ in text]}


def test_special_tokens_amid_the_text_are_an_error():
    with pytest.raises(TaskError, match=r"told from its text\n.*\n  got: \[5, 1, 6\] with and \[5, 6\] without"):
        special_tokens(Doubling())

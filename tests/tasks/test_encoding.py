"""Rows of causal models and encoder-decoders: where the answer begins, by tokenizers of four kinds."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tiny import make_tokenizer
from tokenizer_kinds import KINDS, tokenizer_of
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from modeconn.errors import TaskError
from modeconn.tasks import Task
from modeconn.tasks.encoding import EncodingSettings, encode_continuations, encode_sources


def encode(kind, prompt, answer, *, labels=None, max_length=200, **changes):
    task = Task.from_records("task", {"test": [{"prompt": prompt, "answer": answer}]}, labels=labels)
    return encode_continuations(
        task, "test", tokenizer_of(kind), max_length=max_length, settings=EncodingSettings(**changes)
    )


def pieces(kind, prompt, answer, **changes):
    """The one row as the tokenizer's own words."""
    (row,) = encode(kind, prompt, answer, **changes).rows
    return [tokenizer_of(kind).convert_ids_to_tokens(list(part)) for part in (row.context, row.targets)]


BOUNDARIES = [
    ("byte-level", "Answer:", "yes", ["Answer", ":"], ["Ġyes"]),
    ("byte-level", "Answer:", " yes", ["Answer", ":"], ["Ġyes"]),
    ("byte-level", "Answer: ", "yes", ["Answer", ":"], ["Ġyes"]),
    ("byte-level", "the cat\n", "yes", ["the", "Ġcat", "Ċ"], ["yes"]),
    ("byte-level", "the cat\n\n", "yes", ["the", "Ġcat", "Ċ", "Ċ"], ["yes"]),
    ("metaspace", "Answer:", "yes", ["<s>", "▁Answer:"], ["▁yes"]),
    ("metaspace", "Answer: ", "yes", ["<s>", "▁Answer:"], ["▁yes"]),
    ("unsplit", "Answer:", "yes", ["<s>", "▁Answer"], [":▁yes"]),
    ("unsplit", "the cat", "sat", ["<s>"], ["▁the▁cat▁sat"]),
    ("unigram", "Answer:", "yes", ["<s>", "▁Answer:"], ["▁yes"]),
    ("words", "the answer :", "yes", ["<s>", "the", "answer", ":"], ["yes"]),
]


@pytest.mark.parametrize(("kind", "prompt", "answer", "context", "targets"), BOUNDARIES)
def test_the_answer_begins_at_the_tokenizers_own_boundary(kind, prompt, answer, context, targets):
    assert pieces(kind, prompt, answer) == [context, targets]


COMPLETED = [
    ("byte-level", ["the"], ["Ġundo"]),
    ("metaspace", ["<s>", "▁the"], ["▁undo"]),
    ("unigram", ["<s>", "▁the"], ["▁undo"]),
]


@pytest.mark.parametrize(("kind", "context", "targets"), COMPLETED)
def test_a_word_that_the_answer_completes_is_scored_whole(kind, context, targets):
    assert pieces(kind, "the un", "do", separator="") == [context, targets]


def test_the_separator_is_a_setting():
    assert pieces("byte-level", "Answer:", "no", separator="\n") == [["Answer", ":"], ["Ċ", "no"]]


def test_a_blank_of_the_text_counts_before_the_separator():
    assert pieces("byte-level", "Answer: ", "no", separator="\n") == [["Answer", ":"], ["Ġno"]]


WORDS = st.sampled_from(["the", "cat", "Answer:", "yes", " ", "un", "do", ":", "mat."])
SENTENCES = st.lists(WORDS, min_size=1, max_size=6).map("".join).filter(str.strip)


@given(kind=st.sampled_from(KINDS[:-1]), prompt=SENTENCES, answer=SENTENCES, separator=st.sampled_from(["", " "]))
@settings(max_examples=150, deadline=None)
def test_a_row_is_the_tokenizers_own_tokenisation_of_the_text(kind, prompt, answer, separator):
    bare = prompt[-1].isspace() or answer[0].isspace()
    text = prompt + ("" if bare else separator) + answer
    tokenizer = tokenizer_of(kind)
    assume(tokenizer(text)["input_ids"][0] == tokenizer(prompt)["input_ids"][0])  # else there is no context
    (row,) = encode(kind, prompt, answer, separator=separator).rows
    assert list(row.context + row.targets) == tokenizer(text)["input_ids"]


@given(prompt=SENTENCES, answer=SENTENCES)
@settings(max_examples=100, deadline=None)
def test_no_letter_of_the_answer_is_read_as_context(prompt, answer):
    tokenizer = tokenizer_of("byte-level")
    assume(tokenizer(f"{prompt} {answer}")["input_ids"][0] == tokenizer(prompt)["input_ids"][0])
    (row,) = encode("byte-level", prompt, answer).rows
    assert prompt.startswith(tokenizer.decode(row.context))
    assert tokenizer.decode(row.targets).endswith(answer)


def test_a_merge_with_the_whole_prompt_leaves_no_context_where_no_special_token_begins_the_text():
    with pytest.raises(TaskError, match="task/test example 0 has no context\n  expected: a prompt, or a tokenizer"):
        encode("byte-level", "ye", "s", separator="")


@pytest.mark.parametrize("kind", ["byte-level", "metaspace"])
def test_the_end_of_sequence_is_scored_on_demand_only(kind):
    eos = tokenizer_of(kind).eos_token
    assert pieces(kind, "Answer:", "yes", score_eos=True)[1] == [*pieces(kind, "Answer:", "yes")[1], eos]


def test_a_tokenizer_without_an_end_of_sequence_adds_none():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=make_tokenizer("gpt2").backend_tokenizer, unk_token="<unk>")
    task = Task.from_records("task", {"test": [{"prompt": "the cat", "answer": "sat"}]})
    rows = encode_continuations(task, "test", tokenizer, max_length=9, settings=EncodingSettings(score_eos=True)).rows
    assert [len(row.targets) for row in rows] == [1]


def test_a_task_with_labels_gets_a_row_a_label_in_their_order():
    encoded = encode("words", "the answer :", "yes", labels=("no no", "yes", "maybe"))
    spelled = [tokenizer_of("words").decode(row.targets) for row in encoded.rows]
    assert (spelled, encoded.answers) == (["no no", "yes", "maybe"], (1,))
    assert encoded.label_tokens is None


def test_labels_of_one_token_after_one_context_share_a_row():
    encoded = encode("words", "the answer :", "yes", labels=("no", "yes", "maybe"))
    tokens = tokenizer_of("words").convert_tokens_to_ids(["no", "yes", "maybe"])
    assert [row.targets for row in encoded.rows] == [(tokens[1],)]
    assert (encoded.label_tokens, encoded.answers) == (tuple(tokens), (1,))


def test_with_an_end_of_sequence_to_score_every_label_keeps_its_row():
    encoded = encode("words", "the answer :", "yes", labels=("no", "yes", "maybe"), score_eos=True)
    assert (len(encoded.rows), encoded.label_tokens) == (3, None)


def test_training_takes_the_answers_row_only():
    encoded = encode("words", "the answer :", "yes", labels=("no", "yes", "maybe"), all_choices=False)
    assert [tokenizer_of("words").decode(row.targets) for row in encoded.rows] == ["yes"]


def test_a_task_scored_by_exact_match_takes_the_answers_row_only():
    task = Task.from_records(
        "task", {"test": [{"prompt": "the cat", "answer": "yes"}]}, labels=("no", "yes"), metric="exact_match"
    )
    encoded = encode_continuations(
        task, "test", tokenizer_of("words"), max_length=9, settings=EncodingSettings(all_choices=True)
    )
    spelled = [tokenizer_of("words").decode(row.targets) for row in encoded.rows]
    assert (spelled, encoded.label_tokens, encoded.answers) == (["yes"], None, (0,))


def encode_choices(encode_rows, labels, **changes):
    task = Task.from_records("task", {"test": [{"prompt": "the cat", "answer": labels[0]}]}, labels=labels)
    settings = EncodingSettings(**changes)
    return encode_rows(task, "test", tokenizer_of("words"), max_length=9, settings=settings)


@pytest.mark.parametrize("encode_rows", [encode_continuations, encode_sources])
@pytest.mark.parametrize("score_eos", [False, True])
def test_labels_of_the_same_tokens_are_an_error(encode_rows, score_eos):
    expected = (
        r"does not tell the labels of task/test apart\n  expected: labels of different tokens\n"
        r"  got: 'the bar' and 'the foo', which become the same tokens\n  remedy: rename one"
    )
    with pytest.raises(TaskError, match=expected):
        encode_choices(encode_rows, ("the foo", "no", "the bar"), score_eos=score_eos)


@pytest.mark.parametrize("encode_rows", [encode_continuations, encode_sources])
def test_a_label_that_begins_another_needs_the_end_to_be_scored(encode_rows):
    """The longer one is the shorter one and something more: never likelier, unless ending counts."""
    labels = ("yes no", "maybe", "yes")
    expected = r"(?s)beginning of another.*got: 'yes' and 'yes no'\n  remedy: score .* score_eos=True \(--score-eos;"
    with pytest.raises(TaskError, match=expected):
        encode_choices(encode_rows, labels)
    assert len(encode_choices(encode_rows, labels, score_eos=True).rows) == 3


def test_labels_need_not_be_told_apart_where_the_answer_alone_is_scored():
    assert len(encode_choices(encode_continuations, ("yes", "yes no"), all_choices=False).rows) == 1


def test_all_choices_of_an_example_have_one_context():
    """The colon merges with "yes" but not with "cat": likelihoods given different contexts cannot be compared."""
    rows = encode("unsplit", "Answer:", "yes", labels=("yes", "cat")).rows
    tokens = [tokenizer_of("unsplit").convert_ids_to_tokens(list(row.targets)) for row in rows]
    assert rows[0].context == rows[1].context
    assert tokens == [[":▁yes"], [":", "▁cat"]]


def test_choices_that_spell_the_end_of_a_prompt_differently_have_one_context():
    """Two line breaks are one token before " no", and two before "yes"."""
    rows = encode("byte-level", "the\n\n", "yes", labels=("yes", " no")).rows
    tokens = [tokenizer_of("byte-level").convert_ids_to_tokens(list(row.targets)) for row in rows]
    assert rows[0].context == rows[1].context
    assert tokens == [["Ċ", "Ċ", "yes"], ["ĊĊ", "Ġno"]]


def test_rows_keep_the_order_of_the_examples():
    records = [{"prompt": prompt, "answer": "yes"} for prompt in ("the cat", "a dog", "the mat")]
    task = Task.from_records("task", {"test": records})
    encoded = encode_continuations(
        task, "test", tokenizer_of("words"), max_length=9, settings=EncodingSettings(separator=" ")
    )
    assert [tokenizer_of("words").decode(row.context) for row in encoded.rows] == [
        "<s> the cat", "<s> a dog", "<s> the mat",
    ]  # fmt: skip
    assert [row.example for row in encoded.rows] == [0, 1, 2]


def test_an_encoder_decoder_reads_and_writes_apart():
    task = Task.from_records("task", {"test": [{"prompt": "the cat", "answer": " sat"}]})
    tokenizer = make_tokenizer("t5")
    rows = encode_sources(task, "test", tokenizer, max_length=9, settings=EncodingSettings(score_eos=True)).rows
    assert [tokenizer.decode(part) for part in (rows[0].context, rows[0].targets)] == ["the cat </s>", "sat </s>"]


def test_an_encoder_decoder_writes_no_blank_before_the_answer():
    task = Task.from_records("task", {"test": [{"prompt": "the cat", "answer": " yes"}]})
    (row,) = encode_sources(task, "test", tokenizer_of("byte-level"), max_length=9, settings=EncodingSettings()).rows
    assert tokenizer_of("byte-level").decode(row.targets) == "yes"


def test_an_encoder_decoder_reads_what_begins_texts_before_the_answer_too():
    task = Task.from_records("task", {"test": [{"prompt": "the cat", "answer": "sat"}]})
    tokenizer = make_tokenizer("bert")
    (row,) = encode_sources(task, "test", tokenizer, max_length=9, settings=EncodingSettings()).rows
    parts = (row.context, row.lead, row.targets)
    assert [tokenizer.decode(part) for part in parts] == ["<s> the cat </s>", "<s>", "sat"]


@pytest.mark.parametrize("encode_rows", [encode_continuations, encode_sources])
@pytest.mark.parametrize("score_eos", [False, True])
def test_an_answer_that_the_tokenizer_drops_is_an_error(encode_rows, score_eos):
    dropping = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=dropping, eos_token="</s>")
    task = Task.from_records("task", {"test": [{"prompt": "ab", "answer": "1"}]})
    with pytest.raises(TaskError, match="an answer of task/test example 0 has no tokens"):
        encode_rows(task, "test", tokenizer, max_length=9, settings=EncodingSettings(score_eos=score_eos))


@pytest.mark.parametrize("name", ["token_budget", "max_length"])
def test_numbers_of_tokens_are_positive(name):
    with pytest.raises(TaskError, match=rf"(?s){name} cannot be used.*1 or more.*got: 0.*--{name.replace('_', '-')}"):
        EncodingSettings(**{name: 0})

"""Rows of causal models and encoder-decoders: where the answer begins, by tokenizers of four kinds."""

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from modeconn.errors import TaskError
from modeconn.tasks import Task
from modeconn.tasks.encoding import EncodingSettings, encode_continuations, encode_sources

TEXTS = ["the cat sat on the mat", "is the answer yes or no", "undo the knot", "Answer: yes", "Answer: no"] * 20


def byte_level():
    """As GPT-2's: no special tokens around a text; a blank belongs to the word after it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=["<eos>"], show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")


def metaspace(model, trainer_class, *, split, **trainer):
    """As SentencePiece's: a text begins with <s>, a word with a mark; unsplit, pieces reach over blanks."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(split=split)
    tokenizer.decoder = decoders.Metaspace(split=split)
    special = ["<s>", "</s>", "<unk>"]
    tokenizer.train_from_iterator(TEXTS, trainer_class(special_tokens=special, show_progress=False, **trainer))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


@cache
def tokenizer_of(kind):
    if kind == "byte-level":
        return byte_level()
    if kind == "unigram":
        return metaspace(models.Unigram(), trainers.UnigramTrainer, split=True, vocab_size=60, unk_token="<unk>")
    if kind == "words":
        return make_tokenizer("llama")
    model = models.BPE(unk_token="<unk>")
    return metaspace(model, trainers.BpeTrainer, split=kind == "metaspace", vocab_size=150)


KINDS = ["byte-level", "metaspace", "unsplit", "unigram", "words"]


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
    ("byte-level", "the cat\n", "yes", ["the", "Ġcat"], ["Ċ", "yes"]),
    ("metaspace", "Answer:", "yes", ["<s>", "▁Answer:"], ["▁yes"]),
    ("metaspace", "Answer: ", "yes", ["<s>", "▁Answer:"], ["▁yes"]),
    ("unsplit", "Answer:", "yes", ["<s>", "▁Answer"], [":▁yes"]),
    ("unsplit", "is the answer", "yes", ["<s>"], ["▁is▁the▁answer▁yes"]),
    ("unigram", "is the answer", "yes", ["<s>", "▁", "i", "s", "▁", "t", "h", "e", "▁answer"], ["▁", "y", "e", "s"]),
    ("words", "the answer :", "yes", ["<s>", "the", "answer", ":"], ["yes"]),
]


@pytest.mark.parametrize(("kind", "prompt", "answer", "context", "targets"), BOUNDARIES)
def test_the_answer_begins_at_the_tokenizers_own_boundary(kind, prompt, answer, context, targets):
    assert pieces(kind, prompt, answer) == [context, targets]


def test_a_word_that_the_answer_completes_is_scored_whole():
    assert pieces("byte-level", "the un", "do", separator="") == [["the"], ["Ġundo"]]


def test_the_separator_is_a_setting():
    assert pieces("byte-level", "Answer:", "no", separator="\n") == [["Answer", ":"], ["Ċ", "no"]]


def test_a_blank_of_the_text_counts_before_the_separator():
    assert pieces("byte-level", "Answer: ", "no", separator="\n") == [["Answer", ":"], ["Ġno"]]


WORDS = st.sampled_from(["the", "cat", "Answer:", "yes", " ", "un", "do", "\n", "zebra", "é", ":", "mat."])
SENTENCES = st.lists(WORDS, min_size=1, max_size=6).map("".join).filter(str.strip)


@given(kind=st.sampled_from(KINDS), prompt=SENTENCES, answer=SENTENCES, separator=st.sampled_from(["", " ", "\n"]))
@settings(max_examples=150, deadline=None)
def test_a_row_is_the_tokenizers_own_tokenisation_of_the_text(kind, prompt, answer, separator):
    bare = prompt[-1].isspace() or answer[0].isspace()
    text = prompt + ("" if bare else separator) + answer
    tokenizer = tokenizer_of(kind)
    if tokenizer(text)["input_ids"][:1] == tokenizer(prompt.rstrip())["input_ids"][:1]:
        (row,) = encode(kind, prompt, answer, separator=separator).rows
        assert list(row.context + row.targets) == tokenizer(text)["input_ids"]


@given(prompt=SENTENCES, answer=SENTENCES)
@settings(max_examples=100, deadline=None)
def test_no_letter_of_the_answer_is_read_as_context(prompt, answer):
    tokenizer = tokenizer_of("byte-level")
    if tokenizer(f"{prompt} {answer}")["input_ids"][0] == tokenizer(prompt.rstrip())["input_ids"][0]:
        (row,) = encode("byte-level", prompt, answer).rows
        context, targets = tokenizer.decode(row.context), tokenizer.decode(row.targets)
        assert prompt.startswith(context)
        assert targets.endswith(answer)


def test_a_merge_with_the_whole_prompt_leaves_no_context_where_no_special_token_begins_the_text():
    with pytest.raises(TaskError, match="task/test example 0 has no context\n  expected: a prompt, or a tokenizer"):
        encode("byte-level", "un", "do", separator="")


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
    encoded = encode("words", "the answer :", "yes", labels=("no", "yes", "maybe"))
    spelled = [tokenizer_of("words").decode(row.targets) for row in encoded.rows]
    assert (spelled, [row.choice for row in encoded.rows], encoded.answers) == (["no", "yes", "maybe"], [0, 1, 2], (1,))


def test_training_takes_the_answers_row_only():
    encoded = encode("words", "the answer :", "yes", labels=("no", "yes", "maybe"), all_choices=False)
    assert [tokenizer_of("words").decode(row.targets) for row in encoded.rows] == ["yes"]


def test_all_choices_of_an_example_have_one_context():
    """The colon merges with "yes" but not with "zebra": likelihoods given different contexts cannot be compared."""
    rows = encode("unsplit", "Answer:", "yes", labels=("yes", "zebra")).rows
    tokens = [tokenizer_of("unsplit").convert_ids_to_tokens(list(row.targets)) for row in rows]
    assert rows[0].context == rows[1].context
    assert [words[0] for words in tokens] == [":▁yes", ":"]


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


@pytest.mark.parametrize("encode_rows", [encode_continuations, encode_sources])
@pytest.mark.parametrize("score_eos", [False, True])
def test_an_answer_that_the_tokenizer_drops_is_an_error(encode_rows, score_eos):
    dropping = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=dropping, eos_token="</s>")
    task = Task.from_records("task", {"test": [{"prompt": "ab", "answer": "1"}]})
    with pytest.raises(TaskError, match="an answer of task/test example 0 has no tokens"):
        encode_rows(task, "test", tokenizer, max_length=9, settings=EncodingSettings(score_eos=score_eos))

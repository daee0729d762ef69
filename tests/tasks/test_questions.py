"""What precedes a written answer: the prompt's own tokens, whatever the answer is."""

from dataclasses import replace

import pytest
from tiny import make_tokenizer
from tokenizer_kinds import KINDS, tokenizer_of

from modeconn.errors import TaskError
from modeconn.tasks import Task
from modeconn.tasks.encoding import EncodingSettings, encode_continuations, encode_sources
from modeconn.tasks.questions import asks_for_text, continuation_questions, source_questions

SETTINGS = EncodingSettings()


def task_of(*pairs, metric="generated_exact_match", **settings):
    records = [{"prompt": prompt, "answer": answer} for prompt, answer in pairs]
    return replace(Task.from_records("task", {"test": records}, metric=metric), **settings)


def contexts(kind, *pairs, max_length=600, **settings):
    questions = continuation_questions(
        task_of(*pairs, **settings), "test", tokenizer_of(kind), max_length=max_length, settings=SETTINGS
    )
    return [tokenizer_of(kind).convert_ids_to_tokens(list(context)) for context in questions.contexts]


@pytest.mark.parametrize(
    ("kind", "prompt", "answer", "context"),
    [
        ("byte-level", "Answer:", " yes", ["Answer", ":"]),
        ("byte-level", "Answer: ", "yes", ["Answer", ":"]),  # the blank belongs to the word that the model writes
        ("byte-level", "Answer: ", " yes", ["Answer", ":", "Ġ"]),  # there are two
        ("byte-level", "the cat\n", "yes", ["the", "Ġcat", "Ċ"]),
        ("metaspace", "Answer: ", "yes", ["<s>", "▁Answer:"]),
        ("unsplit", "the cat :", " yes", None),
        ("words", "the answer :", "yes", ["<s>", "the", "answer", ":"]),
    ],
)
def test_a_context_is_the_prompt_without_a_blank_at_its_end(kind, prompt, answer, context):
    (found,) = contexts(kind, (prompt, answer))
    assert found == (context or ["<s>", *tokenizer_of(kind).tokenize(prompt)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_does_not_show_in_the_context(kind):
    answers = ["yes", " yes", " no", "a", ": yes", "sat"]
    found = contexts(kind, *[("the cat", answer) for answer in answers])
    assert all(context == found[0] for context in found)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unsplit"])  # whose answers swallow the prompt
@pytest.mark.parametrize("answer", ["yes", " yes"])
def test_it_is_the_context_of_the_given_answer(kind, answer):
    task = task_of(*[(prompt, answer) for prompt in ("the cat :", "the cat : ", "the cat\n")])
    rows = encode_continuations(task, "test", tokenizer_of(kind), max_length=600, settings=SETTINGS).rows
    written = continuation_questions(task, "test", tokenizer_of(kind), max_length=600, settings=SETTINGS)
    assert written.contexts == tuple(row.context for row in rows)


def test_a_long_prompt_loses_its_middle_and_leaves_room_for_the_answer():
    task = task_of(("the cat sat on the big red mat", "yes"), ("the cat", "yes"), max_new_tokens=4)
    questions = continuation_questions(task, "test", make_tokenizer("llama"), max_length=9, settings=SETTINGS)
    spelled = [make_tokenizer("llama").decode(context) for context in questions.contexts]
    assert spelled == ["<s> the cat red mat", "<s> the cat"]
    assert (questions.num_new, questions.num_truncated) == (4, 1)


@pytest.mark.parametrize(("max_length", "expected"), [(2000, 256), (40, 20)])
def test_an_answer_may_have_256_tokens_or_half_of_what_fits(max_length, expected):
    task = task_of(("the cat", "yes"))
    causal = continuation_questions(task, "test", make_tokenizer("gpt2"), max_length=max_length, settings=SETTINGS)
    apart = source_questions(task, "test", make_tokenizer("t5"), max_length=max_length)
    assert causal.num_new == apart.num_new == expected


def test_an_encoder_reads_what_it_reads_for_the_given_answer():
    task = task_of(("the cat sat", "yes"), ("the dog", "no"))
    tokenizer = make_tokenizer("bert")  # special tokens on both sides
    rows = encode_sources(task, "test", tokenizer, max_length=12, settings=SETTINGS).rows
    questions = source_questions(task, "test", tokenizer, max_length=12)
    assert questions.contexts == tuple(row.context for row in rows)
    assert {questions.lead} == {row.lead for row in rows}


@pytest.mark.parametrize(("family", "ask"), [("llama", continuation_questions), ("t5", source_questions)])
def test_answers_longer_than_the_model_are_refused(family, ask):
    task = task_of(("the cat", "yes"), max_new_tokens=9)
    settings = {"settings": SETTINGS} if ask is continuation_questions else {}
    with pytest.raises(
        TaskError, match=r"(?s)answers of task do not fit.*max_length=8.*max_new_tokens=9.*give at most"
    ):
        ask(task, "test", make_tokenizer(family), max_length=8, **settings)


def test_only_evaluation_of_a_generated_metric_asks_for_text():
    task = task_of(("the cat", "yes"))
    assert asks_for_text(task, SETTINGS)
    assert not asks_for_text(task, EncodingSettings(all_choices=False))
    assert not asks_for_text(task, EncodingSettings(generate=False))
    assert not asks_for_text(replace(task, metric="exact_match"), SETTINGS)


@pytest.mark.parametrize("count", [0, -1, 2.5, "8", True])
def test_max_new_tokens_is_a_number_of_tokens(count):
    with pytest.raises(TaskError, match=r"(?s)max_new_tokens of the task 'task' is no number.*whole number, 1 or more"):
        task_of(("the cat", "yes"), max_new_tokens=count)


def test_task_json_declares_metric_and_length(tmp_path):
    (tmp_path / "test.json").write_text('[{"prompt": "the cat", "answer": "sat"}]')
    plain = Task.load(tmp_path, metric="rouge_l")
    (tmp_path / "task.json").write_text('{"metric": "rouge_l", "max_new_tokens": 7}')
    task = Task.load(tmp_path)
    assert (task.metric, task.max_new_tokens) == ("rouge_l", 7)
    assert task.fingerprint != plain.fingerprint
    assert task != plain

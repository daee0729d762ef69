"""Faulty records: each kind of fault has its message, and all of a split are told at once."""

import pytest

from modeconn.errors import TaskError
from modeconn.tasks import Task

GOOD = {"prompt": "p", "answer": "good"}


def load(*records, **settings):
    return Task.from_records("quiz", {"test": records}, **settings)


@pytest.mark.parametrize(
    ("record", "got"),
    [
        ({"prompt": "p"}, "'answer' is missing in example 1"),
        ({"prompt": "p", "answer": None}, "'answer' is null in example 1"),
        ({"prompt": "p", "answer": ""}, "'answer' is blank in example 1"),
        ({"prompt": "p", "answer": " \n"}, "'answer' is blank in example 1"),
        ({"answer": "a"}, "'prompt' is missing in example 1"),
        ({"prompt": None, "answer": "a"}, "'prompt' is null in example 1"),
        ({"prompt": "", "answer": "a"}, "'prompt' is blank in example 1"),
        ({"prompt": ["p"], "answer": "a"}, "'prompt' is not text but of type list in example 1"),
        ({"prompt": "p", "answer": 3}, "'answer' is not text but of type int in example 1"),
        ({"prompt": "p", "answer": True}, "'answer' is not text but of type bool in example 1"),
        ({"prompt": "p", "answer": 0.5}, "'answer' is not text but of type float in example 1"),
        ({"prompt": "p", "answer": "a\ud800"}, "'answer' holds half of a surrogate pair in example 1"),
        ("p a", "not a record but of type str in example 1"),
    ],
)
def test_a_record_must_hold_two_texts(record, got):
    with pytest.raises(
        TaskError, match=r"cannot use 1 of the 2 examples of the test split of the task 'quiz'\n"
    ) as told:
        load(GOOD, record)
    assert told.value.got == f"{got} (counted from 0)"
    assert told.value.expected == "text that is not blank as 'prompt' and 'answer' in every example"


def test_an_index_is_not_an_answer_even_with_labels():
    with pytest.raises(TaskError, match=r"'answer' is not text but of type int in example 0"):
        load({"prompt": "p", "answer": 0}, labels=["good", "bad"])


@pytest.mark.parametrize(
    ("label", "got"),
    [
        (2, r"'label' is the index 2, outside 0 to 1 in example 0"),
        (-1, r"'label' is the index -1, outside 0 to 1 in example 0"),
        ("7", r"'label' is the index 7, outside 0 to 1 in example 0"),
        (True, r"'label' is not text but of type bool in example 0"),
        (1.0, r"'label' is not text but of type float in example 0"),
        ("Good", r"'label' is 'Good', outside the label set in example 0"),
        (" good", r"'label' is ' good', outside the label set in example 0"),
    ],
)
def test_a_label_is_a_name_or_an_index_of_the_set(label, got):
    with pytest.raises(TaskError, match=rf"the label set is 'bad', 'good'\n  got: {got}"):
        load({"text": "t", "label": label}, labels=["good", "bad"])


def test_an_index_needs_declared_labels():
    records = [{"text": "t", "label": 1}, {"text": "t", "label": "good"}]
    with pytest.raises(TaskError, match=r"'label' is a number, and no label names are declared in example 0"):
        load(*records)


def test_digits_are_indices_as_csv_writes_them():
    assert load({"text": "t", "label": "1"}, labels=["good", "bad"]).split("test")[0].answer == "bad"


def test_digits_are_names_where_a_label_is_a_number():
    task = load({"text": "t", "label": "1"}, labels=["2", "1"])
    assert task.split("test")[0].answer == "1"
    with pytest.raises(TaskError, match=r"'label' is '0', outside the label set"):
        load({"text": "t", "label": "0"}, labels=["2", "1"])


def test_the_first_ten_indices_and_the_count_are_told():
    records = [GOOD, *[{"prompt": "p"}] * 12]
    with pytest.raises(TaskError, match=r"cannot use 12 of the 13 examples") as told:
        load(*records)
    assert "in examples 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more (12 in all)" in told.value.got


def test_the_first_ten_kinds_of_fault_and_the_count_are_told():
    records = [{"text": "t", "label": f"label{number}"} for number in range(12)]
    with pytest.raises(TaskError, match=r"cannot use 12 of the 12 examples") as told:
        load(*records, labels=["good", "bad"])
    assert told.value.got.count("outside the label set") == 10
    assert told.value.got.endswith("'label9', outside the label set in example 9; 2 faults more (counted from 0)")


def test_different_faults_are_told_together_with_their_remedies():
    with pytest.raises(
        TaskError, match=r"'answer' is blank in example 0; 'prompt' is not text .* in example 2"
    ) as told:
        load({"prompt": "p", "answer": ""}, GOOD, {"prompt": 1, "answer": "a"})
    assert told.value.remedy.endswith("answer_column=; write it as a string")


def test_long_labels_are_cut_in_messages():
    with pytest.raises(TaskError, match=r"'label' is 'x{57}\.\.\.', outside"):
        load({"text": "t", "label": "x" * 1000}, labels=["good"])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, r"the columns 'prompt' and 'answer' or 'text' and 'label' or 'image' and 'label'"),
        ({"prompt_column": "input", "answer_column": "gold"}, r"the columns 'gold', 'input'"),
    ],
)
def test_unknown_columns_are_listed(settings, expected):
    with pytest.raises(
        TaskError, match=rf"cannot find the columns of .*\n.*{expected}\n  got: the columns 'a', 'input'\n"
    ):
        load({"input": "p", "a": "b"}, **settings)

import collections
import random
import re
import shutil
import subprocess
import sys

import pytest

NAMES = ["arithmetic", "law", "medicine", "science", "simplification", "stance", "summary", "tone"]
SIZES = {"train": 400, "eval": 100, "test": 200}
LABELLED = ["law", "medicine", "science", "stance", "tone"]


def check(data_folder, tasks):
    command = [sys.executable, str(data_folder / "make_tasks.py"), "--check", "--output-dir", str(tasks)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_generator_gives_the_committed_files(data_folder):
    done = check(data_folder, data_folder / "tasks")
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_names_a_file_that_was_changed(data_folder, tmp_path):
    shutil.copytree(data_folder / "tasks", tmp_path / "tasks")
    changed = tmp_path / "tasks" / "law" / "eval.json"
    changed.write_text(changed.read_text(encoding="utf-8").replace("Answer:", "Reply:", 1), encoding="utf-8")
    (tmp_path / "tasks" / "tone" / "task.json").unlink()
    done = check(data_folder, tmp_path / "tasks")
    assert done.returncode == 1
    assert done.stdout.split() == ["these", "files", "differ:", "tone/task.json", "law/eval.json"]


def test_every_task_has_its_splits_in_full(splits):
    assert {key: len(records) for key, records in splits.items()} == {
        (name, split): size for name in NAMES for split, size in SIZES.items()
    }


@pytest.mark.parametrize("name", NAMES)
def test_no_prompt_occurs_twice(splits, name):
    prompts = [record["prompt"] for split in SIZES for record in splits[name, split]]
    assert len(set(prompts)) == sum(SIZES.values())


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_ends_with_its_cue_and_an_answer_starts_with_the_space(splits, name):
    records = [record for split in SIZES for record in splits[name, split]]
    assert all(record["prompt"].endswith("\nAnswer:") for record in records)
    assert all(re.fullmatch(r" \S.*\S| \S", record["answer"]) for record in records)


@pytest.mark.parametrize("name", LABELLED)
def test_labels_are_those_of_the_card_in_equal_shares(splits, cards, name):
    labels = cards[name]["labels"]
    for split in SIZES:
        counts = collections.Counter(record["answer"] for record in splits[name, split])
        assert set(counts) == set(labels)
        assert max(counts.values()) - min(counts.values()) <= 1


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_whether_answers_are_labels(cards, name):
    card = cards[name]
    assert (card["name"], card["kind"], card["source"]) == (name, name, "generated")
    expected = ("accuracy", True) if name in LABELLED else ("exact_match", False)
    assert (card["metric"], card["labels"] is not None) == expected


def test_the_train_split_lacks_every_fourth_topic_and_the_test_split_has_some(splits, kinds):
    hidden = set(kinds.KINDS["stance"].TOPICS[3::4])
    topics = {
        split: {re.match("Topic: (.*)", record["prompt"])[1] for record in splits["stance", split]} for split in SIZES
    }
    assert not hidden & topics["train"]
    assert len(hidden & topics["test"]) > 5


def test_sums_and_comparisons_are_right(splits):
    right = {
        "with more have": max,
        "with fewer have": min,
        "are there in all": lambda a, b: a + b,
        "are left": lambda a, b: a - b,
    }
    for split in SIZES:
        for record in splits["arithmetic", split]:
            a, b = map(int, re.findall(r"\d+", record["prompt"]))
            (reckon,) = [function for words, function in right.items() if words in record["prompt"]]
            assert int(record["answer"]) == reckon(a, b), record


def test_a_summary_names_what_stands_in_the_minutes(splits):
    form = re.compile(r" The (.+?) (approved|rejected|postponed) (.+)\.")
    for record in splits["summary", "test"]:
        body, _, matter = form.fullmatch(record["answer"]).groups()
        assert f"Minutes of the {body}." in record["prompt"]
        assert matter.lower() in record["prompt"].lower()


@pytest.mark.parametrize(("name", "questions"), [("law", 3), ("medicine", 3), ("science", 4)])
def test_the_options_of_a_question_keep_their_order(splits, name, questions):
    options = {record["prompt"].split("\n")[-2] for split in SIZES for record in splits[name, split]}
    assert len(options) == questions
    assert all(re.fullmatch(r"A\. .+ B\. .+ C\. .+ D\. .+", line) for line in options)


def test_texts_for_the_base_model_never_ask_what_a_task_asks(splits, kinds):
    rng = random.Random(7)
    read = set()
    for module in kinds.KINDS.values():
        for _ in range(300):
            read.add(module.document(rng))
            read.add("".join(module.drill(rng)))
    questions = {record["prompt"].split("\n")[-2] for split in SIZES for record in splits["stance", split]}
    questions |= {record["prompt"].split("\n")[-2] for split in SIZES for record in splits["tone", split]}
    prompts = {record["prompt"] for records in splits.values() for record in records}
    assert len(questions) == 2
    assert not [text for text in read if any(question in text for question in questions)]
    assert not [text for text in read if any(text.startswith(prompt) for prompt in prompts)]

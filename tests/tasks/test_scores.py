"""Scores of written answers against libraries, definitions and values worked by hand."""

import sys
from difflib import SequenceMatcher

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from modeconn.errors import TaskError
from modeconn.tasks.metrics import GENERATED
from modeconn.tasks.scores import score_outputs
from modeconn.tasks.task import Example, Task


def score(metric: str, output: str, answer: str, prompt: str = "Say it.") -> float:
    (found,) = score_outputs(metric, [output], [Example(prompt, answer)])
    return float(found)


@pytest.mark.parametrize("metric", sorted(set(GENERATED) - {"sari"}))
def test_the_answer_itself_scores_one_and_nothing_scores_zero(metric):
    assert score(metric, " It cost 30 pounds.\n", " It cost 30 pounds.") == 1.0
    assert score(metric, "", " It cost 30 pounds.") == 0.0


@pytest.mark.parametrize("metric", GENERATED)
@given(output=st.text(max_size=30), answer=st.text(min_size=1, max_size=30))
def test_scores_are_shares(metric, output, answer):
    assert 0.0 <= score(metric, output, answer) <= 1.0


def test_rouge_l_by_hand():
    # The longest common subsequence of "the cat sat" and "the big cat ran off" is "the cat": 2/3 and 2/5.
    assert score("rouge_l", "The cat sat", "the big cat ran off.") == pytest.approx(2 * (2 / 3) * (2 / 5) / (16 / 15))


@given(st.text(alphabet="aB1 .,-_\n", max_size=25), st.text(alphabet="aB1 .,-_\n", min_size=1, max_size=25))
def test_rouge_l_of_ascii_is_that_of_rouge_score(output, answer):
    expected = RougeScorer(["rougeL"]).score(answer.strip(), output.strip())["rougeL"].fmeasure
    assert score("rouge_l", output, answer) == expected


@pytest.mark.parametrize(
    ("output", "answer", "expected"),
    [("Größe", "grösse", 0.0), ("Die Größe", "größe", 2 / 3), ("支持这项", "支持", 2 / 3), ("да нет", "ДА", 2 / 3)],
)
def test_rouge_l_reads_other_scripts(output, answer, expected):
    assert score("rouge_l", output, answer) == pytest.approx(expected)


def test_edit_similarity_by_hand():
    # "cat" -> "cart": one letter put in, of 7 in both; "cat" -> "cut": one out, one in, of 6.
    assert score("edit_similarity", "cat", "cart") == pytest.approx(6 / 7)
    assert score("edit_similarity", "cat", "cut") == pytest.approx(4 / 6)


@given(st.text(alphabet="ab", min_size=1, max_size=12), st.text(alphabet="ab", min_size=1, max_size=12))
def test_edit_similarity_counts_letters_put_in_and_taken_out(output, answer):
    common = np.zeros((len(output) + 1, len(answer) + 1), dtype=int)  # the longest common subsequence
    for i, left in enumerate(output):
        for j, right in enumerate(answer):
            common[i + 1, j + 1] = common[i, j] + 1 if left == right else max(common[i, j + 1], common[i + 1, j])
    found = score("edit_similarity", output, answer)
    assert found == pytest.approx(2 * common[-1, -1] / (len(output) + len(answer)))
    assert found >= SequenceMatcher(None, output, answer).ratio() - 1e-12  # the other library's greedy blocks


@pytest.mark.parametrize(
    ("output", "expected"),
    [("3 boxes of 40 make 1,200 g", 1.0), ("1200.0", 1.0), ("1200, or 1201", 0), ("many", 0.0)],
)
def test_the_last_number_counts(output, expected):
    assert score("exact_number", output, "The answer is 1200 grams") == expected


def test_exact_match_ignores_blanks_around_the_text_only():
    assert score("generated_exact_match", "\n yes sir ", " yes sir") == 1.0
    assert score("generated_exact_match", "yes  sir", "yes sir") == 0.0
    assert score("generated_exact_match", "Yes sir", "yes sir") == 0.0


def test_an_unknown_score_is_an_error():
    with pytest.raises(TaskError, match=r"(?s)called 'bleu'.*expected: one of edit_similarity, exact_number"):
        score("bleu", "a", "a")


@pytest.mark.parametrize(
    ("metric", "module", "package"),
    [
        ("rouge_l", "rouge_score.rouge_scorer", "rouge-score"),
        ("sari", "sacrebleu.tokenizers.tokenizer_13a", "sacrebleu"),
        ("edit_similarity", "rapidfuzz.fuzz", "rapidfuzz"),
    ],
)
def test_a_missing_library_names_the_extra(monkeypatch, metric, module, package):
    monkeypatch.setitem(sys.modules, module, None)  # what an import of a missing module meets
    with pytest.raises(TaskError, match=rf"(?s)cannot score by {metric}.*library {package}.*'modeconn\[text\]'"):
        score(metric, "not seen before", "nor this")


def test_answers_without_a_number_are_refused_by_index():
    examples = (Example("q", "3"), Example("q", "three"), Example("q", "CO2"))
    with pytest.raises(TaskError, match=r"(?s)'sums', split test by exact_number.*of example 1, 2 \(counted from 0\)"):
        Task("sums", {"test": examples}, metric="exact_number")

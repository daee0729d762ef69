"""SARI against published values, a sum worked by hand, and a slow rational oracle."""

from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeconn.tasks.sari import sari
from modeconn.tasks.scores import score_outputs
from modeconn.tasks.task import Example

SOURCE = "About 95 species are currently accepted."
REFERENCES = [
    "About 95 species are currently known.",
    "About 95 species are now accepted.",
    "95 species are now accepted.",
]
WORDS = st.lists(st.sampled_from("abcd"), max_size=7)


def split(text: str) -> list[str]:
    """Tokens of the published example: words in lower case, the full stop by itself."""
    return text.lower().replace(".", " .").split()


def slow_sari(source: Sequence[str], output: Sequence[str], references: Sequence[Sequence[str]]) -> Fraction:
    """The definition gram by gram, in fractions."""
    total = Fraction(0)
    for n in range(1, 5):
        texts = [[tuple(text[i : i + n]) for i in range(len(text) - n + 1)] for text in (source, output, *references)]
        grams = sorted({gram for text in texts for gram in text})
        i, o = ({gram: Fraction(text.count(gram)) for gram in grams} for text in texts[:2])
        r = {gram: Fraction(sum(text.count(gram) for text in texts[2:]), len(references)) for gram in grams}
        added = [gram for gram in grams if o[gram] and not i[gram]]
        to_add = [gram for gram in grams if r[gram] and not i[gram]]
        both = [gram for gram in added if gram in to_add]
        total += f1(ratio(len(both), len(added)), ratio(len(both), len(to_add)))
        kept = [gram for gram in grams if min(i[gram], o[gram])]
        right = {gram: min(i[gram], o[gram], r[gram]) for gram in grams}
        precision = ratio(sum(right[gram] / min(i[gram], o[gram]) for gram in kept), len(kept))
        total += f1(precision, ratio(sum(right.values()), sum(min(i[gram], r[gram]) for gram in grams)))
        deleted = [gram for gram in grams if i[gram] > o[gram]]
        gone = [max(i[gram] - o[gram] - r[gram], Fraction(0)) / (i[gram] - o[gram]) for gram in deleted]
        total += ratio(sum(gone), len(deleted))
    return total / 12


def ratio(part: Fraction | int, whole: Fraction | int) -> Fraction:
    return Fraction(part) / Fraction(whole) if whole else Fraction(1)


def f1(precision: Fraction, recall: Fraction) -> Fraction:
    return 2 * precision * recall / (precision + recall) if precision + recall else Fraction(0)


@pytest.mark.parametrize(
    ("num_references", "expected"),
    [
        (3, 0.26953601953601954),  # the example of Hugging Face's metric `sari`
        (1, 0.21805555555555557),  # that of its metric `wiki_split`
    ],
)
def test_published_values(num_references, expected):
    references = [split(text) for text in REFERENCES[:num_references]]
    assert sari(split(SOURCE), split("About 95 you now get in."), references) == pytest.approx(expected, abs=1e-12)


def test_a_sum_worked_by_hand():
    # Unigrams: add 0 (d is not there), keep 2/3 (a right of a, b), delete 1 (c). Bigrams: add 0, keep 0, delete 1.
    # Trigrams: nothing to add or keep, abc rightly gone: 3. Of four words there are none: 3.
    found = sari(["a", "b", "c"], ["a", "b"], [["a", "d"]])
    assert found == pytest.approx((0 + 2 / 3 + 1 + 0 + 0 + 1 + 3 + 3) / 12)


@given(source=WORDS, output=WORDS, references=st.lists(WORDS, min_size=1, max_size=3))
def test_it_is_the_definition(source, output, references):
    assert sari(source, output, references) == pytest.approx(float(slow_sari(source, output, references)), abs=1e-12)


@given(source=WORDS, output=WORDS, references=st.lists(WORDS, min_size=1, max_size=3))
def test_references_count_by_their_shares(source, output, references):
    assert sari(source, output, references * 2) == pytest.approx(sari(source, output, references), abs=1e-12)


def test_texts_are_split_and_lowered_as_the_published_example_was():
    example = Example(SOURCE, REFERENCES[0])
    (found,) = score_outputs("sari", ["ABOUT 95 you now get in."], [example])
    assert found == pytest.approx(0.21805555555555557, abs=1e-12)


def test_no_reference_is_an_error():
    with pytest.raises(ValueError, match="one reference or more"):
        sari(["a"], ["a"], [])

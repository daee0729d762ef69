"""Which number a text ends with."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeconn.tasks.last_number import last_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("first 3, then 17.", 17),
        ("1,234,567.25 in all", Fraction(123456725, 100)),
        ("1,23", 23),  # no groups of three: two numbers
        ("12,3456", 3456),
        ("-5", -5),
        ("= −5 °C", -5),
        ("from 3-5", 5),  # a range
        ("10 - 5", 5),  # a difference
        ("(3)-2", 2),
        ("-$5", -5),
        ("$-5", -5),
        ("€3.50", Fraction(7, 2)),
        ("+7", 7),
        (".5", Fraction(1, 2)),
        ("50%", 50),
        ("12km", 12),
        ("3/4", Fraction(3, 4)),
        ("-1 / 2 cup", Fraction(-1, 2)),
        ("1/0", 0),  # no fraction
        ("1e3", 1000),
        ("2.5E-1", Fraction(1, 4)),
        ("5 CO2", 5),  # digits of a word
        ("４２", 42),
        ("007", 7),
    ],
)
def test_numbers_in_texts(text, number):
    assert last_number(text) == number


@pytest.mark.parametrize("text", ["", "none", "CO2", "one - two", ".", "1"[:0]])
def test_texts_without_a_number(text):
    assert last_number(text) is None


@given(st.integers(-(10**12), 10**12), st.integers(0, 9999))
def test_what_is_written_is_read(whole, cents):
    text = f"The total of 3 parts is {whole:,}.{cents:04d} metres"
    assert last_number(text) == Fraction(whole) + Fraction(cents, 10**4) * (-1 if text.count(" -") else 1)


def test_thousands_of_digits_are_a_number():
    assert last_number("9" * 5000) == 10**5000 - 1

import doctest
import importlib
import random

import pytest


@pytest.fixture(scope="module")
def grammar(kinds):
    return importlib.import_module(f"{kinds.__name__}.grammar")


def test_the_examples_in_the_docstrings_hold(grammar):
    failed, tried = doctest.testmod(grammar)
    assert (failed, tried > 3) == (0, True)


def test_short_lists_are_never_cut(grammar):
    assert grammar.visible(list("abcdefg"), held_out=False) == list("abcdefg")


def test_a_slot_inside_a_filling_is_filled(grammar):
    lexicon = {"outer": ["an {inner}"], "inner": ["owl"]}
    assert grammar.fill("see {outer}", lexicon, random.Random(0), held_out=True) == "see an owl"


def test_an_unknown_slot_is_an_error(grammar):
    with pytest.raises(KeyError, match="beast"):
        grammar.fill("a {beast}", {}, random.Random(0), held_out=True)


def test_a_letter_drill_is_answered_by_its_own_line(grammar):
    rng = random.Random(3)
    for _ in range(20):
        prompt, answer = grammar.letter_drill(["tin", "oak", "silk"], rng)
        asked = prompt.split("stands before ")[1].split("?")[0]
        assert f"{answer.strip()}. {asked}" in prompt

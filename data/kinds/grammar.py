"""Sentences from templates and word lists, with a part of every list kept out of the train split."""

import random
import re
from collections.abc import Mapping, Sequence

SLOT = re.compile(r"\{(\w+)\}")
HELD_OUT_SHARE = 4  # one entry in four never occurs in a train split
SHORTEST_SPLIT = 8  # shorter lists are function words: all of them occur everywhere


def entries(block: str) -> tuple[str, ...]:
    """The entries of a block of text in which `|` stands between entries.

    Example:
        >>> entries("red | dark blue |  green")
        ('red', 'dark blue', 'green')
    """
    return tuple(" ".join(entry.split()) for entry in block.split("|"))


def visible(words: Sequence[str], *, held_out: bool) -> Sequence[str]:
    """All words, or without those that only the eval and test splits may use.

    Args:
        words: A list of a lexicon, in its written order.
        held_out: Whether the held-out entries may be used.

    Returns:
        The whole list, or the list without every fourth entry. Lists shorter than eight are never cut.

    Example:
        >>> visible("abcdefgh", held_out=False)
        ['a', 'b', 'c', 'e', 'f', 'g']
    """
    if held_out or len(words) < SHORTEST_SPLIT:
        return words
    return [word for index, word in enumerate(words) if index % HELD_OUT_SHARE != HELD_OUT_SHARE - 1]


def pick(words: Sequence[str], rng: random.Random, *, held_out: bool) -> str:
    """One visible word, every one as likely as the others."""
    return rng.choice(visible(words, held_out=held_out))


def fill(
    template: str,
    lexicon: Mapping[str, Sequence[str]],
    rng: random.Random,
    *,
    held_out: bool,
    **given: str,
) -> str:
    """A template with its `{slots}` filled, slots inside the fillings too.

    Args:
        template: Text with slots.
        lexicon: The words for each slot that is not given.
        rng: Source of the choices.
        held_out: Whether held-out words may be used.
        **given: Fillings that are already settled.

    Returns:
        The text without slots.

    Raises:
        KeyError: A slot is neither given nor in the lexicon.

    Example:
        >>> fill("{who} sings", {"who": ["the {bird}"]}, random.Random(0), held_out=True, bird="wren")
        'the wren sings'
    """

    def filling(match: re.Match[str]) -> str:
        name = match[1]
        return given[name] if name in given else pick(lexicon[name], rng, held_out=held_out)

    while SLOT.search(template):
        template = SLOT.sub(filling, template)
    return template


def sentence(text: str) -> str:
    """The text with a capital first letter and a full stop if it has no end mark.

    Example:
        >>> sentence("the wren sings")
        'The wren sings.'
    """
    text = text[0].upper() + text[1:]
    return text if text[-1] in ".?!" else text + "."


def with_article(noun: str) -> str:
    """The noun with `a` or `an`, by its first letter.

    Example:
        >>> with_article("owl"), with_article("wren")
        ('an owl', 'a wren')
    """
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def choices(options: Sequence[str]) -> str:
    """Lettered options on one line.

    Example:
        >>> choices(["lead", "tin"])
        'A. lead B. tin'
    """
    return " ".join(f"{letter}. {option}" for letter, option in zip("ABCD", options, strict=False))


def letter_drill(options: Sequence[str], rng: random.Random) -> tuple[str, str]:
    """A question that only needs reading the letters: which letter stands before an option."""
    shown = rng.sample(list(options), k=len(options))
    index = rng.randrange(len(shown))
    return f"{choices(shown)}\nWhich letter stands before {shown[index]}?\nAnswer:", f" {'ABCD'[index]}"

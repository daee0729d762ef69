"""Arithmetic in words: compare, add or subtract two counts; the answer is a number."""

import random

from .grammar import entries, fill, pick, sentence

LABELS = None
METRIC = "exact_match"

WORDS = {
    "name": entries("""Anna | Bilal | Chen | Dina | Erik | Fatima | Georg | Hana | Ivan | Jana | Kofi |
        Lena | Marco | Nadia | Omar | Petra | Rosa | Sven | Tara | Yusuf"""),
    "thing": entries("""apples | pencils | stamps | marbles | eggs | coins | books | shells | tickets |
        cards | buttons | plums | candles | beads | nails | postcards | tiles | seeds | ribbons | stickers"""),
    "place": entries("""in the drawer | on the table | in a red box | in the bag | at home | in the shed |
        on the shelf | in the basket"""),
    "has": entries("has | owns | counts | keeps | finds | buys"),
}
STORIES = {
    "more": (
        "{name} {has} {a} {thing} {place} and {other} {has} {b}.",
        "How many {thing} does the one with more have?",
    ),
    "fewer": (
        "{name} {has} {a} {thing} {place} and {other} {has} {b}.",
        "How many {thing} does the one with fewer have?",
    ),
    "sum": (
        "{name} {has} {a} {thing} {place}. {other} brings {b} more.",
        "How many {thing} are there in all?",
    ),
    "left": (
        "{name} {has} {a} {thing} {place}. {other} takes {b} of them.",
        "How many {thing} are left?",
    ),
}


def numbers(story: str, rng: random.Random) -> tuple[int, int, int]:
    """Two counts and the answer: up to 99 to compare, up to 20 to reckon."""
    if story in ("more", "fewer"):
        a, b = rng.sample(range(2, 100), k=2)
        return a, b, max(a, b) if story == "more" else min(a, b)
    small = rng.randint(1, 9)
    other = rng.randint(1, 11)
    if story == "sum":
        return other, small, other + small
    return small + other, small, other


def example(rng: random.Random, *, label: str | None, held_out: bool) -> tuple[str, str]:
    """One story with its question; `label` is not used, the answer is a number."""
    del label
    story = rng.choice(list(STORIES))
    a, b, answer = numbers(story, rng)
    name = pick(WORDS["name"], rng, held_out=held_out)
    other = pick([n for n in WORDS["name"] if n != name], rng, held_out=held_out)
    thing = pick(WORDS["thing"], rng, held_out=held_out)
    told, question = STORIES[story]
    given = {"name": name, "other": other, "thing": thing, "a": str(a), "b": str(b)}
    text = fill(told, WORDS, rng, held_out=held_out, **given)
    return f"{text} {question.format(thing=thing)}\nAnswer:", f" {answer}"


def document(rng: random.Random) -> str:
    """A line of sums, of comparisons, or a story without a question."""
    form = rng.randrange(3)
    if form == 0:
        told = []
        for _ in range(6):
            a, b, answer = numbers("sum", rng)
            told.append(rng.choice((f"{a} + {b} = {answer}", f"{answer} - {b} = {a}")))
        return ", ".join(told)
    if form == 1:
        pairs = [numbers("more", rng) for _ in range(5)]
        return ", ".join(f"{answer} > {a + b - answer}" for a, b, answer in pairs)
    thing = rng.choice(WORDS["thing"])
    told = "{name} {has} {a} {thing} {place}. {other} {has} {b}. Nobody else {has} any {thing}."
    a, b, _ = numbers("more", rng)
    given = {"other": rng.choice(WORDS["name"]), "thing": thing, "a": str(a), "b": str(b)}
    return fill(told, WORDS, rng, held_out=True, **given)


def drill(rng: random.Random) -> tuple[str, str]:
    """A story with a question for the thing, or a bare sum."""
    if rng.random() < 0.5:
        a, b, answer = numbers("sum", rng)
        if rng.random() < 0.5:
            return f"{a} plus {b}?\nAnswer:", f" {answer}"
        return f"{answer} minus {b}?\nAnswer:", f" {a}"
    name, other = rng.sample(WORDS["name"], k=2)
    a, b, _ = numbers("more", rng)
    given = {"name": name, "other": other, "a": str(a), "b": str(b)}
    text = sentence(fill(STORIES["more"][0], WORDS, rng, held_out=True, **given))
    asked, answer = rng.choice(((name, a), (other, b)))
    return f"{text} How many belong to {asked}?\nAnswer:", f" {answer}"

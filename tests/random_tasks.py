"""Tasks of random words in prompts of different lengths."""

import random
from collections.abc import Sequence

from tiny import WORDS

import modeconn as mc


def random_task(
    *, labels: Sequence[str] | None = None, num_examples: int = 9, seed: int = 0, name: str = "words"
) -> mc.Task:
    """A test split of random prompts of 1 to 12 words; the answers are random labels, or 1 to 3 random words."""
    source = random.Random(seed)

    def words(longest: int) -> str:
        return " ".join(source.choice(WORDS) for _ in range(source.randint(1, longest)))

    records = [
        {"prompt": words(12), "answer": source.choice(labels) if labels else words(3)} for _ in range(num_examples)
    ]
    return mc.Task.from_records(name, {"test": records}, labels=labels)

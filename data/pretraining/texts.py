"""The texts that the base model reads: real tasks from a folder, free text of the generated kinds."""

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from kinds import KINDS

DRILL_SHARE = 0.4  # of the generated texts; the rest is free text


def task_texts(folder: Path, split: str) -> dict[str, list[str]]:
    """Prompt and answer of every example of every task in a folder, by task.

    Args:
        folder: Holds one folder a task, or a folder `tasks` of such folders.
        split: The file to read, without `.json`.

    Raises:
        SystemExit: The folder has no task with that split.
    """
    root = folder / "tasks" if (folder / "tasks").is_dir() else folder
    texts = {}
    for path in sorted(root.glob(f"*/{split}.json")):
        records = json.loads(path.read_text(encoding="utf-8"))
        texts[path.parent.name] = [record["prompt"] + record["answer"] for record in records]
    if not texts:
        raise SystemExit(f"no NAME/{split}.json below {root}: give a folder of tasks")
    return texts


def generated_texts(seed: int) -> Iterator[str]:
    """Free text and drills of all kinds in turn, without end; the eight tasks' questions do not occur."""
    rng = random.Random(f"{seed}-texts")
    for kind in itertools.cycle(KINDS.values()):
        if rng.random() < DRILL_SHARE:
            prompt, answer = kind.drill(rng)
            yield prompt + answer
        else:
            yield kind.document(rng)


def generated_sample(count: int, seed: int) -> list[str]:
    """The first texts of a stream of `generated_texts`."""
    return list(itertools.islice(generated_texts(seed), count))


def repeated(texts: Sequence[str], rng: random.Random) -> Iterator[str]:
    """All texts over and over, in a new order each time."""
    while True:
        yield from rng.sample(texts, k=len(texts))


def mixed_texts(real: Sequence[str], seed: int, *, real_share: float) -> Iterator[str]:
    """Real and generated texts without end, interleaved so that the real ones keep their share.

    Args:
        real: Read several times over, in a new order each time.
        seed: Of that order and of the generated texts.
        real_share: Of the characters.
    """
    sources = {True: repeated(real, random.Random(f"{seed}-real")), False: generated_texts(seed)}
    read = {True: 0, False: 0}
    while True:
        behind = read[True] <= real_share * (read[True] + read[False])
        text = next(sources[behind])
        read[behind] += len(text)
        yield text

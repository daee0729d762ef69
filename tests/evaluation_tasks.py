"""Tasks over the tiny vocabulary."""

from tiny import LABELS

import modeconn as mc


def make_task(name: str, shift: int, *, num_examples: int = 24, labels: bool = True) -> mc.Task:
    """A task over the tiny vocabulary: which of three words follows."""
    records = [
        {
            "prompt": f"question : the cat {['sat', 'ran', 'is'][i % 3]} on {'big ' * (i % 5)}mat ? answer :",
            "answer": " " + LABELS[(i + shift) % 3],
        }
        for i in range(num_examples)
    ]
    splits = {"train": records, "test": records[: num_examples - 2]}
    return mc.Task.from_records(name, splits, labels=[" " + label for label in LABELS] if labels else None)

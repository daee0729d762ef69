"""Parts of tasks, so that studies on large data end in hours."""

import random
from dataclasses import replace

import modeconn as mc


def sampled(task: mc.Task, seed: int = 0, **sizes: int) -> mc.Task:
    """A task with at most so many examples of each split: always the same ones, in the order in which they stood.

    Args:
        task: The whole.
        seed: Of the draw.
        **sizes: Split -> number of examples; other splits stay whole.
    """
    splits = dict(task.splits)
    for split, size in sizes.items():
        examples = task.split(split)
        drawn = random.Random(f"{seed} {task.name} {split}").sample(range(len(examples)), min(size, len(examples)))
        splits[split] = tuple(examples[number] for number in sorted(drawn))
    return replace(task, splits=splits)

"""Make the eight generated tasks: `python data/make_tasks.py` writes `data/tasks`, `--check` compares.

Everything follows from the word lists in `kinds` and one seed. The train split sees three in four entries of
every list; the eval and test splits draw from all of them.
"""

import argparse
import json
import random
import sys
from pathlib import Path

from kinds import KINDS

SEED = 20240601
SIZES = {"train": 400, "eval": 100, "test": 200}
FOLDER = Path(__file__).resolve().parent / "tasks"
Record = dict[str, str]


def make_split(kind: str, split: str, seen: set[str]) -> list[Record]:
    """The examples of one split, labels in equal shares, no prompt that is already in `seen`.

    Args:
        kind: A name in `KINDS`.
        split: A name in `SIZES`.
        seen: Prompts of the splits made before; the new ones are added.
    """
    module = KINDS[kind]
    rng = random.Random(f"{SEED}-{kind}-{split}")
    labels = module.LABELS or (None,)
    records: list[Record] = []
    while len(records) < SIZES[split]:
        label = labels[len(records) % len(labels)]
        prompt, answer = module.example(rng, label=label, held_out=split != "train")
        if prompt not in seen:
            seen.add(prompt)
            records.append({"prompt": prompt, "answer": answer})
    rng.shuffle(records)
    return records


def make_task(kind: str) -> dict[str, str]:
    """The files of one task: file name to content."""
    module = KINDS[kind]
    card = {
        "name": kind,
        "kind": kind,
        "labels": [f" {label}" for label in module.LABELS] if module.LABELS else None,
        "metric": module.METRIC,
        "source": "generated",
    }
    seen: set[str] = set()
    files: dict[str, object] = {f"{split}.json": make_split(kind, split, seen) for split in SIZES}
    files["task.json"] = card
    return {name: json.dumps(content, indent=1) + "\n" for name, content in files.items()}


def differing(folder: Path) -> list[str]:
    """Paths below `folder` whose content is not what would be written now."""
    wrong = []
    for kind in KINDS:
        for name, content in make_task(kind).items():
            path = folder / kind / name
            if not path.is_file() or path.read_text(encoding="utf-8") != content:
                wrong.append(f"{kind}/{name}")
    return wrong


def main() -> int:
    """Write or check the tasks; 0 when all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=Path, default=FOLDER, help="folder of the tasks")
    parser.add_argument("--check", action="store_true", help="write nothing; say which files differ")
    arguments = parser.parse_args()
    if arguments.check:
        wrong = differing(arguments.output_dir)
        print("\n".join(["these files differ:", *wrong]) if wrong else "all files are as made")
        return int(bool(wrong))
    for kind in KINDS:
        for name, content in make_task(kind).items():
            path = arguments.output_dir / kind / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

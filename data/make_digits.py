"""Make the five tasks of digits: `python data/make_digits.py` writes `data/digits`, `--check` compares.

They are scikit-learn's digits, two classes a task. The images of a class stand in the order of the data set: the first
110 are for training, the next 20 for validation, the next 44 for testing, so that all classes have equal shares.
"""

import argparse
import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

SIZES = {"train": 110, "eval": 20, "test": 44}  # images of a class
PAIRS = ((0, 1), (2, 3), (4, 5), (6, 7), (8, 9))
FOLDER = Path(__file__).resolve().parent / "digits"
SOURCE = "Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998 (CC BY 4.0); scikit-learn's copy"


@cache
def all_digits() -> tuple[Any, Any]:
    """Images `[N, 8, 8]` of 0 to 16, and their classes `[N]`."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.images, digits.target


def records_of(pair: tuple[int, int], split: str) -> list[dict[str, object]]:
    """The images of two classes, alternating; 0 to 16 in the data set becomes 0 to 255."""
    images, classes = all_digits()
    start = sum(size for name, size in SIZES.items() if list(SIZES).index(name) < list(SIZES).index(split))
    places = [(classes == digit).nonzero()[0][start : start + SIZES[split]] for digit in pair]
    pixels = (images * 16).clip(max=255).astype(int)
    return [
        {"image": pixels[place].tolist(), "label": str(digit)}
        for both in zip(*places, strict=True)
        for digit, place in zip(pair, both, strict=True)
    ]


def files_of(pair: tuple[int, int]) -> dict[str, str]:
    """The files of one task: file name to content, a line for each image."""
    card = {"name": f"digits-{pair[0]}{pair[1]}", "labels": [str(digit) for digit in pair], "metric": "accuracy"}
    files = {"task.json": json.dumps({**card, "source": SOURCE}, indent=1) + "\n"}
    for split in SIZES:
        lines = [json.dumps(record, separators=(",", ":")) for record in records_of(pair, split)]
        files[f"{split}.json"] = "[\n" + ",\n".join(lines) + "\n]\n"
    return files


def contents() -> dict[str, str]:
    """All files: path below the folder to content."""
    return {f"{a}{b}/{name}": content for a, b in PAIRS for name, content in files_of((a, b)).items()}


def main() -> int:
    """Write or check the tasks; 0 when all is as it should be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=Path, default=FOLDER, help="folder of the tasks")
    parser.add_argument("--check", action="store_true", help="write nothing; say which files differ")
    arguments = parser.parse_args()
    paths = {arguments.output_dir / name: content for name, content in contents().items()}
    if arguments.check:
        wrong = [path for path, text in paths.items() if not path.is_file() or path.read_text("utf-8") != text]
        print("\n".join(["these files differ:", *map(str, wrong)]) if wrong else "all files are as made")
        return int(bool(wrong))
    for path, content in paths.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

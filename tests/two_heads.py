"""Ends of one classifier with heads of their own, and a task for each."""

import json
from pathlib import Path

from tiny import LABELS, WORDS, make_adapter, make_base

import modeconn as mc

OTHER_LABELS = ("yes", "no")


def words_and(labels: tuple[str, ...] | None, count: int, shift: int) -> list[dict[str, str]]:
    """Prompts of different lengths; answers of one label or of 1 to 3 words."""
    return [
        {
            "prompt": " ".join(WORDS[(i * k + shift) % 15] for k in range(1, 3 + (i * 5) % 9)),
            "answer": labels[(i + shift) % len(labels)]
            if labels
            else " ".join(WORDS[(i + k) % 15] for k in range(1 + i % 3)),
        }
        for i in range(count)
    ]


def adapters_of_two_heads(root: Path) -> list[mc.Adapter]:
    """Adapters of one base whose heads have three classes and two."""
    for seed, labels in enumerate([LABELS, OTHER_LABELS]):
        base = make_base(root / f"base-{seed}", "bert", num_labels=len(labels))
        folder = make_adapter(root / f"end-{seed}", base, "bert", seed=seed)
        config = json.loads((folder / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = str(root / "base-0")
        (folder / "adapter_config.json").write_text(json.dumps(config))
        (folder / "modeconn.json").write_text(json.dumps({"labels": list(labels)}))
    return [mc.Adapter.from_pretrained(root / f"end-{seed}") for seed in (0, 1)]


def tasks_of_two_heads() -> list[mc.Task]:
    """A task for either head, with a training and a validation split."""
    return [
        mc.Task.from_records(
            name, {"train": words_and(labels, 24, shift), "eval": words_and(labels, 6, shift)}, labels=labels
        )
        for shift, (name, labels) in enumerate({"first": LABELS, "second": OTHER_LABELS}.items())
    ]

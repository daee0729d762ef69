import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import AutoImageProcessor, AutoModelForImageClassification

from modeconn import Task

NAMES = ["01", "23", "45", "67", "89"]
SIZES = {"train": 220, "eval": 40, "test": 88}


@pytest.fixture(scope="module")
def tasks(data_folder: Path) -> dict[str, Task]:
    return {name: Task.load(data_folder / "digits" / name) for name in NAMES}


@pytest.fixture(scope="module")
def vit(data_folder: Path) -> torch.nn.Module:
    return AutoModelForImageClassification.from_pretrained(data_folder / "vit", dtype=torch.float32).eval()


def recognised(vit, data_folder, tasks, split):
    """The base's answers to the even digits of a split, by transformers alone, and the right ones."""
    processor = AutoImageProcessor.from_pretrained(data_folder / "vit", backend="pil")
    examples = [one for task in tasks.values() for one in task.split(split) if int(one.answer) % 2 == 0]
    images = [one.image.pixels() for one in examples]
    pixels = processor(images, return_tensors="pt", input_data_format="channels_last")["pixel_values"]
    with torch.no_grad():
        found = vit(pixel_values=pixels).logits.argmax(1).tolist()
    return [vit.config.id2label[number] for number in found], [one.answer for one in examples]


def test_the_script_gives_the_committed_files(data_folder):
    done = subprocess.run(
        [sys.executable, str(data_folder / "make_digits.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_changed_file_is_found(data_folder, tmp_path):
    command = [sys.executable, str(data_folder / "make_digits.py"), "--output-dir", str(tmp_path)]
    subprocess.run(command, capture_output=True, check=True)
    (tmp_path / "23" / "eval.json").write_text("[]")
    done = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[1:]) == (1, [str(tmp_path / "23" / "eval.json")])


def test_every_task_has_its_splits_with_classes_in_equal_shares(tasks):
    for name, task in tasks.items():
        assert task.of_images
        assert (task.name, task.labels) == (f"digits-{name}", tuple(name))
        for split, size in SIZES.items():
            answers = [example.answer for example in task.split(split)]
            assert [answers.count(label) for label in name] == [size // 2] * 2


def test_the_images_are_those_of_scikit_learn(tasks):
    from sklearn.datasets import load_digits

    digits = load_digits()
    known = {(one.astype(int).tobytes(), label) for one, label in zip(digits.images, digits.target, strict=True)}
    for task in tasks.values():
        for split in SIZES:
            for example in task.split(split):
                levels = (example.image.pixels()[..., 0].astype(int) + 15) // 16  # 255 was 16
                assert (levels.tobytes(), int(example.answer)) in known


def test_no_image_is_in_two_splits(tasks):
    prompts = [example.prompt for task in tasks.values() for split in SIZES for example in task.split(split)]
    assert len(set(prompts)) == len(prompts) == sum(SIZES.values()) * len(NAMES)


def test_the_folders_are_small(data_folder):
    assert sum(path.stat().st_size for path in (data_folder / "vit").iterdir()) < 400_000
    assert sum(path.stat().st_size for path in (data_folder / "digits").rglob("*") if path.is_file()) < 500_000


def test_the_weights_are_bfloat16(data_folder):
    with safe_open(data_folder / "vit" / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118, not a dict


@pytest.mark.parametrize("split", SIZES)
def test_the_base_recognises_the_digits_that_it_has_seen_as_its_card_says(vit, data_folder, tasks, split):
    answers, right = recognised(vit, data_folder, tasks, split)
    share = np.mean([answer == one for answer, one in zip(answers, right, strict=True)])
    card = (data_folder / "vit" / "README.md").read_text(encoding="utf-8")
    assert f"{share:.3f} of the {split} splits" in " ".join(card.split())
    assert share > 0.9


def test_the_base_knows_even_digits_only(vit):
    assert list(vit.config.id2label.values()) == ["0", "2", "4", "6", "8"]


def test_the_task_cards_name_the_source_and_its_licence(data_folder):
    for name in NAMES:
        settings = json.loads((data_folder / "digits" / name / "task.json").read_text(encoding="utf-8"))
        assert "Alpaydin and Kaynak" in settings["source"]
        assert "CC BY 4.0" in settings["source"]

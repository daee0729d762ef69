"""Make the embedded vision transformer: `python data/make_vit.py` writes `data/vit`.

A ViT for images of 8 x 8 pixels, trained from scratch on one class of every pair in `data/digits`: the even digits, of
which it sees the train splits alone. So of each task one class is known to it, and the other is new. It takes about a
minute on one core.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import transformers
from pretraining.vit_card import write_card
from torch.nn import functional
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

HERE = Path(__file__).resolve().parent
SEEN = ("0", "2", "4", "6", "8")


@dataclass(frozen=True)
class Recipe:
    """Settings of the training.

    Args:
        epochs: Passes over the images.
        batch: Images a step.
        learning_rate: Highest rate; a cosine leads to 0.
        weight_decay: Of AdamW.
        seed: Of the weights, the order and the shifts.
    """

    epochs: int = 150
    batch: int = 50
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    seed: int = 0


def images_of(split: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The images of the seen classes in a split, `[N, 1, 8, 8]` in [-1, 1], and their classes, `[N]`."""
    files = sorted((HERE / "digits").glob(f"*/{split}.json"))
    records = [one for file in files for one in json.loads(file.read_text("utf-8")) if one["label"] in SEEN]
    pixels = torch.tensor([one["image"] for one in records], dtype=torch.float32)[:, None]
    return pixels / 127.5 - 1, torch.tensor([SEEN.index(one["label"]) for one in records])


def shifted(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each image moved by at most a pixel up, down, left or right; what comes in is empty."""
    padded = functional.pad(images, (1, 1, 1, 1), value=-1.0)
    places = torch.randint(3, (len(images), 2), generator=generator).tolist()
    return torch.stack([one[:, y : y + 8, x : x + 8] for one, (y, x) in zip(padded, places, strict=True)])


def new_model(seed: int) -> ViTForImageClassification:
    """A ViT of 4 layers and 64 hidden units that reads patches of 2 x 2 pixels."""
    torch.manual_seed(seed)
    config = ViTConfig(
        image_size=8,
        patch_size=2,
        num_channels=1,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        id2label=dict(enumerate(SEEN)),
        label2id={label: number for number, label in enumerate(SEEN)},
    )
    return ViTForImageClassification(config)


def train(model: ViTForImageClassification, recipe: Recipe) -> None:
    """Cross-entropy on shifted images."""
    images, classes = images_of("train")
    generator = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = recipe.epochs * -(-len(images) // recipe.batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(images), generator=generator).split(recipe.batch):
            logits = model(pixel_values=shifted(images[rows], generator)).logits
            functional.cross_entropy(logits, classes[rows]).backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()


@torch.inference_mode()
def accuracy(model: ViTForImageClassification, split: str) -> float:
    """Share of the seen classes' images in a split that are recognised."""
    images, classes = images_of(split)
    return float((model(pixel_values=images).logits.argmax(1) == classes).float().mean())


def make_vit(folder: Path, recipe: Recipe) -> None:
    """Train, save, measure what was saved, write the card, put it in place."""
    torch.set_num_threads(1)
    model, began = new_model(recipe.seed), time.perf_counter()
    train(model, recipe)
    seconds = time.perf_counter() - began
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".vit-", dir=folder.parent))
    model.to(torch.bfloat16).save_pretrained(temporary)
    processor = ViTImageProcessorPil(size={"height": 8, "width": 8}, image_mean=[0.5], image_std=[0.5])
    processor.save_pretrained(temporary)
    saved = ViTForImageClassification.from_pretrained(temporary, dtype=torch.float32).eval()
    measured = {split: accuracy(saved, split) for split in ("train", "eval", "test")}
    print(f"{saved.num_parameters():,} parameters, {seconds:.0f} s, {measured}")
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    write_card(temporary, asdict(recipe), measured, parameters=saved.num_parameters(), versions=versions)
    replace_folder(temporary, folder)


def replace_folder(new: Path, folder: Path) -> None:
    """Put a finished folder in the place of an older one by two renames."""
    old = folder.with_name(f".{folder.name}-old-{os.getpid()}")
    if folder.exists():
        folder.rename(old)
    new.chmod(0o755)  # temporary folders are made for their maker alone
    for path in new.iterdir():
        path.chmod(0o644)
    new.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def main() -> None:
    """Read the flags and make the model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output-dir", type=Path, default=HERE / "vit", help="folder of the model")
    for name, default in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    flags = vars(parser.parse_args())
    make_vit(flags.pop("output_dir"), Recipe(**flags))


if __name__ == "__main__":
    main()

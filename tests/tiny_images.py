"""Tiny image classifiers, and tasks of images that they can learn in a few steps."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

import modeconn as mc

LABELS = ("top", "bottom", "left", "right")
_BRIGHT = {
    "top": np.s_[:4, :],
    "bottom": np.s_[4:, :],
    "left": np.s_[:, :4],
    "right": np.s_[:, 4:],
}


def make_vit(folder: Path, *, seed: int = 0, **overrides: Any) -> Path:
    """Save a tiny vision transformer for grey images of 8 x 8 pixels, and its image processor."""
    torch.manual_seed(seed)
    settings: dict[str, Any] = {
        "image_size": 8, "patch_size": 4, "num_channels": 1, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_labels": 3,
    }  # fmt: skip
    model = ViTForImageClassification(ViTConfig(**(settings | overrides)))
    for parameter in model.parameters():  # far from uniform predictions, so that differences show
        parameter.data.mul_(3.0)
    model.save_pretrained(folder)
    processor_of(model.config.image_size, model.config.num_channels).save_pretrained(folder)
    return folder


def processor_of(size: int, channels: int) -> ViTImageProcessorPil:
    """An image processor for a size and a number of channels."""
    mean = [0.5] * channels
    return ViTImageProcessorPil(size={"height": size, "width": size}, image_mean=mean, image_std=mean)


def image(label: str, rng: np.random.Generator) -> np.ndarray:
    """Noise `[8, 8]` with one bright half."""
    pixels = rng.integers(0, 120, (8, 8))
    pixels[_BRIGHT[label]] += 120
    return pixels.astype(np.uint8)


def image_records(labels: tuple[str, ...], count: int, seed: int) -> list[dict[str, object]]:
    """Images of some classes in turn."""
    rng = np.random.default_rng(seed)
    return [{"image": image(label, rng), "label": label} for n in range(count) for label in [labels[n % len(labels)]]]


def image_task(name: str, labels: tuple[str, ...] = LABELS[:2], *, count: int = 24) -> mc.Task:
    """A task of images with all three splits."""
    splits = {split: image_records(labels, count, seed) for seed, split in enumerate(("train", "eval", "test"))}
    return mc.Task.from_records(name, splits, labels=labels)

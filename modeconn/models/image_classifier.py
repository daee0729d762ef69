"""Image classifiers: how they read a task, and how they score a batch."""

from dataclasses import dataclass, field
from typing import Any

import torch

from modeconn.adapters.skeleton import IMAGES
from modeconn.errors import TaskError
from modeconn.models.encoded import Batch
from modeconn.models.family import Classifier, Family
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.image_rows import encode_images, stacked_pixels
from modeconn.tasks.rows import EncodedRows
from modeconn.tasks.task import Task


@dataclass(frozen=True)
class ImageClassifier(Classifier):
    """Classifiers whose input is an image: one class an image, no padding.

    The batch says by `attention_mask` `[B, L]` how many positions the model makes of an image, all of them to be
    looked at; the model is given `pixel_values` alone.
    """

    task_type: str = field(default=IMAGES)

    def encode(
        self, task: Task, split: str, tokenizer: Any, max_length: int, settings: EncodingSettings  # noqa: ANN401
    ) -> EncodedRows:  # fmt: skip
        """The image as it is, the answer as the class; `tokenizer` is the model's `ImageReader`."""
        del max_length, settings
        return encode_images(task, split, tokenizer, labels=self.labels)

    def collate(self, rows: list[Any], pad_id: int) -> Batch:  # of ImageRow
        """Images `[B, C, H, W]` and classes `[B, 1]`."""
        del pad_id
        mask = torch.ones(len(rows), len(rows[0].context), dtype=torch.long)  # [B, L]
        inputs = {"pixel_values": stacked_pixels(rows), "attention_mask": mask}
        return Batch(inputs, torch.tensor([row.targets for row in rows]))

    def logits(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """One row of logits an image."""
        dtype = next(one.dtype for one in model.parameters() if one.is_floating_point())
        pixels = batch.inputs["pixel_values"].to(dtype)
        return model(pixel_values=pixels).logits[:, None, :]  # [B, C] -> [B, 1, C]


def check_kind(family: Family, task: Task) -> None:
    """Raise if a model of texts is given images, or the other way round.

    Raises:
        TaskError: If it is.
    """
    reads = isinstance(family, ImageClassifier)
    if reads == task.of_images:
        return
    has, wants = ("images", "texts") if task.of_images else ("texts", "images")
    raise TaskError(
        f"the task {task.name} cannot be given to this model",
        expected=f"a task of {wants}, which a model of the kind {family.task_type} reads",
        got=f"a task of {has}",
        remedy="give another base model (--base-model), or another task",
    )

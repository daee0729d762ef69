"""Image processors of base models: what they make of images, and whether that fits the model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoImageProcessor

from modeconn.errors import ModelError, TaskError, listed
from modeconn.models.sources import NO_CODE, from_local_first, quiet_transformers, told
from modeconn.tasks.image_rows import sizes_differ
from modeconn.tasks.images import ImageFault, StoredImage

_GREY = np.array([299, 587, 114])  # thousandths of red, green and blue in ITU-R 601 luma, as Pillow has it
_SIDE = 64  # pixels of the image that is tried out, where the model does not say


@dataclass(frozen=True, eq=False)
class ImageReader:
    """An image processor of transformers, for images as tasks hold them.

    Attributes:
        processor: The processor, of the backend that needs Pillow only: others resize otherwise.
        num_channels: Those that the model reads: 1 or 3.
        num_tokens: Positions that the model makes of an image; 1 where it has none.
    """

    processor: Any
    num_channels: int
    num_tokens: int = 1

    def read(self, images: Sequence[StoredImage], *, names: Sequence[str]) -> torch.Tensor:
        """Images as the model's input, `[N, C, H, W]` float32; grey and colour become what the model reads.

        Args:
            images: The images.
            names: What they are called in messages.

        Raises:
            TaskError: If an image cannot be decoded, or the processor leaves them in different sizes.
        """
        pixels = [self._pixels(image, name) for image, name in zip(images, names, strict=True)]
        found = self.processor(images=pixels, input_data_format="channels_last")["pixel_values"]
        made = [torch.from_numpy(np.ascontiguousarray(one, dtype=np.float32)) for one in found]  # [C, H, W] each
        if len({tuple(one.shape) for one in made}) > 1:
            raise sizes_differ(tuple(one.shape) for one in made)
        return torch.stack(made)

    @property
    def model_max_length(self) -> int:
        """What a tokenizer calls so: all images have one length."""
        return self.num_tokens

    @property
    def settings(self) -> dict[str, Any]:
        """The processor's class and settings, as `run.json` records them."""
        return {"class": type(self.processor).__name__, **self.processor.to_dict()}

    def save_pretrained(self, folder: str | Path) -> None:
        """Write preprocessor_config.json."""
        self.processor.save_pretrained(str(folder))

    def _pixels(self, image: StoredImage, name: str) -> np.ndarray:
        """The pixels `[H, W, C]` with the model's channels."""
        try:
            pixels = image.pixels()
        except ImageFault as fault:  # it was read once when the task was made
            raise TaskError(
                "an image of a task cannot be read any more",
                expected="the files that the task was made of",
                got=f"{fault.what}" if image.name else f"{name}: {fault.what}",
                remedy=fault.remedy,
            ) from fault
        if pixels.shape[2] == self.num_channels:
            return pixels
        if self.num_channels == 1:
            return ((pixels @ _GREY + 500) // 1000).astype(np.uint8)[..., None]
        return np.repeat(pixels, self.num_channels, axis=2)


def image_facts(reader: Any) -> dict[str, Any]:  # noqa: ANN401
    """What a run records of a model's image processor; nothing for a tokenizer.

    Args:
        reader: What a model reads examples with.
    """
    return {"image_processor": reader.settings} if isinstance(reader, ImageReader) else {}


def load_image_reader(source: str | Path, module: Any) -> ImageReader:  # noqa: ANN401  (a model of transformers)
    """The image processor of a base model, tried out on a blank image.

    Args:
        source: The base's folder or hub id.
        module: The base model.

    Raises:
        ModelError: If there is none, or the model cannot read what it makes, or has no backbone of its own.
    """
    _check_backbone(module)
    try:
        with quiet_transformers():
            processor = from_local_first(AutoImageProcessor.from_pretrained, source, backend="pil", **NO_CODE)
    except ModelError as error:
        raise ModelError(
            f"the base model {source} has no image processor that can be read",
            expected="preprocessor_config.json beside the weights, as save_pretrained of an image processor writes it",
            got=error.got,
            remedy="save it there: AutoImageProcessor.from_pretrained(ORIGINAL).save_pretrained(FOLDER)",
        ) from error
    channels, height, width = input_shape(module.config)
    reader = ImageReader(processor, channels)
    blank = StoredImage(np.zeros((height, width, channels), dtype=np.uint8))
    try:
        pixels = reader.read([blank], names=["a blank image"])
        return replace(reader, num_tokens=_num_tokens(module, pixels))
    except (ValueError, RuntimeError, IndexError, TypeError, KeyError) as error:  # of numpy, Pillow, torch
        raise ModelError(
            f"the image processor of {source} does not fit its model",
            expected="pixel_values in the size and with the channels that the model's config.json gives",
            got=told(error),
            remedy="use the preprocessor_config.json that belongs to the model (size, image_mean, image_std)",
        ) from error


def input_shape(config: Any) -> tuple[int, int, int]:  # noqa: ANN401
    """Channels, height and width of the images that a model reads; 64 pixels where any size will do.

    Args:
        config: The model's; of a model of texts and images, the part for images counts.
    """
    config = getattr(config, "vision_config", None) or config
    size = getattr(config, "image_size", None) or _SIDE
    height, width = (size, size) if isinstance(size, int) else size
    return int(getattr(config, "num_channels", 3)), int(height), int(width)


def _check_backbone(module: Any) -> None:  # noqa: ANN401
    """Raise unless a head can be told from what it stands on, as it cannot in CLIP's and SigLIP's classifiers."""
    prefix = module.base_model_prefix
    if not prefix or not hasattr(module, prefix):
        raise ModelError(
            f"the head of {type(module).__name__} cannot be told from its backbone",
            expected=f"an image classifier with its backbone in one module, {prefix!r}",
            got=f"the modules {listed(name for name, _ in module.named_children())}",
            remedy="take another base model, such as a ViT, DeiT, BEiT, DINOv2, Swin or ConvNeXt",
        )


@torch.inference_mode()
def _num_tokens(module: nn.Module, pixels: torch.Tensor) -> int:
    """Positions of the last hidden states, `[B, L, D]`, or `[B, D, H, W]` of convolutions; 1 where there are none."""
    like = next(one for one in module.parameters() if one.is_floating_point())
    found = module(pixel_values=pixels.to(like.device, like.dtype), output_hidden_states=True)
    states = getattr(found, "hidden_states", None)
    if not states or states[-1].ndim not in (3, 4):
        return 1
    return int(states[-1].shape[1] if states[-1].ndim == 3 else states[-1][0, 0].numel())

"""What LoRETTA rep and LoRETTA adp share: the settings of their tensor-trains."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from modeconn.adapters.methods.settings import TargetedConfig, is_shapes
from modeconn.adapters.methods.tensor_train import new_cores, tensor_shape
from modeconn.errors import AdapterError, listed


@dataclass
class LorettaConfig(TargetedConfig):
    """Settings of matrices that are held as tensor-trains.

    Attributes:
        tensor_rank: The rank R of the tensor-trains.
        tensor_shapes: Shapes of tensors, each for the matrices with as many entries; by default the published ones,
            and for other widths those of `tensor_train.tensor_shape`. `get_peft_model` notes all that it used.
        start: "zero" starts as the base model: the last core of the second matrix is zero. "published" leaves no core
            at zero, as the published code does, and changes the model from the start.
    """

    tensor_rank: int = 5
    tensor_shapes: Sequence[Sequence[int]] | None = None
    start: str = "zero"

    def wrong_settings(self) -> dict[str, str]:
        """The settings that cannot be used -> what they have to be."""
        wrong = self.unlike({"tensor_rank": "rank", "start": "zero|published"})
        shapes = self.tensor_shapes
        if not is_shapes(shapes) or len({math.prod(shape) for shape in shapes or ()}) < len(shapes or ()):
            wrong["tensor_shapes"] = "a list of lists of whole numbers above 0, each list with another product"
        return wrong


def note_shapes(config: LorettaConfig, widths: Iterable[int], rank: int) -> None:
    """Write the shapes of all matrices into the settings, so that a file is read as it was trained.

    Args:
        config: The settings.
        widths: The widths of all matrices.
        rank: The other side of all matrices.

    Raises:
        AdapterError: If a shape was given that no matrix has.
    """
    given = config.tensor_shapes or ()
    shapes = {width * rank: tensor_shape(width, rank, given) for width in widths}
    unused = [shape for shape in given if math.prod(shape) not in shapes]
    if unused:
        raise AdapterError(
            "tensor_shapes has shapes that no matrix can have",
            expected=f"products among {listed(map(str, shapes))}: the modules' widths times {rank}",
            got=listed(f"{list(shape)} with product {math.prod(shape)}" for shape in unused),
            remedy="leave these shapes out; other widths get a shape by themselves",
        )
    config.tensor_shapes = [list(shapes[entries]) for entries in sorted(shapes)]


def new_train(config: LorettaConfig, width: int, rank: int) -> list[torch.Tensor]:
    """Random cores of a matrix between a width and a rank, as the published code starts them.

    The entries have the variance `1 / (width + rank)`.

    Args:
        config: The settings.
        width: One side of the matrix.
        rank: The other.
    """
    shape = tensor_shape(width, rank, config.tensor_shapes)
    return new_cores(shape, config.tensor_rank, std=(width + rank) ** -0.5)

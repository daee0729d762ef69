"""Images as rows that a model scores."""

import hashlib
import math
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from modeconn.errors import TaskError, listed
from modeconn.tasks.encoding import class_numbers
from modeconn.tasks.examples import ImageExample
from modeconn.tasks.images import ImageReader
from modeconn.tasks.rows import EncodedRows, Row
from modeconn.tasks.task import Task

_PIECE = 64  # images that are decoded at once
_MOST_IN_MEMORY = 1 << 30  # bytes


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of a split as a model reads them; two are equal if all their numbers are.

    Attributes:
        values: `[N, C, H, W]` float32.
        digest: SHA-256 in hex of the shape and the values.
    """

    values: torch.Tensor
    digest: str

    @classmethod
    def of(cls, values: torch.Tensor) -> "Pixels":
        """Pixels with their digest."""
        digest = hashlib.sha256(repr(tuple(values.shape)).encode())
        digest.update(values.contiguous().numpy().data)
        return cls(values, digest.hexdigest())

    def __eq__(self, other: object) -> bool:
        """By content."""
        return isinstance(other, Pixels) and self.digest == other.digest

    def __hash__(self) -> int:
        """By content."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """The digest: keys of results are made from it."""
        return f"Pixels({self.digest})"


@dataclass(frozen=True, kw_only=True)
class ImageRow(Row):
    """One image to be scored. Its context is as long as the model's positions are many; the zeros in it mean nothing.

    Attributes:
        pixels: The images of its split.
        place: Which of them it is.
    """

    pixels: Pixels
    place: int


def encode_images(task: Task, split: str, reader: ImageReader, *, labels: Sequence[str]) -> EncodedRows:
    """Rows for a classifier of images: the target is the answer's place in `labels`.

    The images are decoded once, and held as the model reads them: 4 bytes for each of C x H x W numbers. Splits of more
    than 1 GiB are held in a temporary file, of which the system keeps in memory what there is room for.

    Args:
        task: A task of images.
        split: Which of its splits.
        reader: The model's image processor.
        labels: The classes in the order of the head.

    Raises:
        TaskError: If an answer is not one of `labels`, an image cannot be read any more, or the folder of temporary
            files is too small.
    """
    answers = class_numbers(task, split, labels)
    examples = [example for example in task.split(split) if isinstance(example, ImageExample)]
    pixels = Pixels.of(_read(examples, reader))
    context = (0,) * reader.num_tokens
    rows = tuple(
        ImageRow(context, (answer,), number, pixels=pixels, place=number) for number, answer in enumerate(answers)
    )
    return EncodedRows(rows, tuple(answers), 0)


def stacked_pixels(rows: Sequence[ImageRow]) -> torch.Tensor:
    """The images of rows, `[B, C, H, W]`; no copy where they lie one after the other."""
    first = rows[0]
    alike = all(row.pixels is first.pixels and row.place == first.place + n for n, row in enumerate(rows))
    if alike:
        return first.pixels.values[first.place : first.place + len(rows)]
    return torch.stack([row.pixels.values[row.place] for row in rows])


def sizes_differ(shapes: Iterable[tuple[int, ...]]) -> TaskError:
    """The error for images that the model's processor leaves in different sizes."""
    return TaskError(
        "the images do not have one size",
        expected="images that the model's image processor brings to one size [C, H, W]",
        got=listed(str(list(shape)) for shape in set(shapes)),
        remedy="set do_resize and size in preprocessor_config.json, or give images of one size",
    )


def _read(examples: Sequence[ImageExample], reader: ImageReader) -> torch.Tensor:
    """All images, `[N, C, H, W]`, filled in piece by piece: there is never more than one copy and a piece."""
    values = torch.empty(0)
    for start in range(0, len(examples), _PIECE):
        some = examples[start : start + _PIECE]
        piece = reader.read([one.image for one in some], names=[one.shown for one in some])
        if start == 0:
            values = _room(len(examples), *piece.shape[1:])
        if piece.shape[1:] != values.shape[1:]:
            raise sizes_differ({tuple(piece.shape[1:]), tuple(values.shape[1:])})
        values[start : start + len(some)] = piece
    return values


def _room(*shape: int) -> torch.Tensor:
    """A tensor to be filled; a large one is that of a file without a name, which goes when the tensor goes."""
    size = 4 * math.prod(shape)
    if size <= _MOST_IN_MEMORY:
        return torch.empty(*shape)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free  # asked first: a mapped file that does not fit ends the process
    if size > free:
        raise TaskError(
            "there is no room for the images of a split",
            expected=f"{size / 2**30:.1f} GiB in the folder of temporary files, {folder}",
            got=f"{free / 2**30:.1f} GiB",
            remedy="name a larger folder with TMPDIR, or take fewer images",
        )
    with tempfile.TemporaryFile(dir=folder) as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))

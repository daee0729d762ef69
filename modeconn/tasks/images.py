"""Images as tasks hold them: files, encoded bytes or pixels, decoded when they are looked at."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

Encoded = Path | bytes
_AS_PIXELS = "give 8-bit pixels [H, W], [H, W, 1] or [H, W, 3], whole numbers from 0 to 255 with the channels last"


class ImageFault(ValueError):
    """What is wrong with an image.

    Args:
        what: In words.
        remedy: How it is mended.
    """

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy


class ImageReader(Protocol):
    """What makes of images what a model reads."""

    @property
    def num_tokens(self) -> int:
        """Positions that the model makes of an image."""
        ...

    def read(self, images: "Sequence[StoredImage]", *, names: Sequence[str]) -> Any:  # noqa: ANN401
        """Images as the model's input, `[N, C, H, W]` float32."""
        ...


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class StoredImage:
    """One image; files stay on disk, and are decoded each time.

    Attributes:
        content: A file, the bytes of one, or pixels `[H, W, C]` uint8.
        name: What a user knows it by, such as `cat/3.png`; may be empty.
    """

    content: Encoded | np.ndarray
    name: str = ""

    def pixels(self) -> np.ndarray:
        """The pixels, `[H, W, C]` uint8: grey images have C = 1, all others 3; alpha is left out.

        Raises:
            ImageFault: If the file cannot be decoded, or has more than 8 bits a channel.
        """
        return self.content if isinstance(self.content, np.ndarray) else _decoded(self.content, self.name)

    def __repr__(self) -> str:
        """Where it is, never the pixels."""
        return f"StoredImage({self.name or type(self.content).__name__!r})"


def is_image(value: object) -> bool:
    """Whether a record's value is meant as an image: a path, bytes, an array, a matrix of numbers, a Pillow image.

    Example:
        >>> is_image([[0, 255], [255, 0]]), is_image("a text")
        (True, False)
    """
    if isinstance(value, Mapping):
        return bool(value) and value.keys() <= {"bytes", "path"}  # an image that `datasets` has not decoded
    rows = isinstance(value, list) and bool(value) and isinstance(value[0], list)
    return rows or isinstance(value, Path | bytes | np.ndarray) or _is_of(value, "PIL", "torch")


def stored_image(value: object) -> StoredImage:
    """The image that a record's value is.

    Args:
        value: Something that `is_image`.

    Raises:
        ImageFault: If it holds no pixels, or not as 8-bit grey or colour.

    Example:
        >>> stored_image([[0, 255], [255, 0]]).pixels().shape
        (2, 2, 1)
    """
    if isinstance(value, Mapping):
        path = value.get("path")
        content = value.get("bytes") or (Path(str(path)) if path else None)
        if content is None:
            raise ImageFault("without bytes and path", _AS_PIXELS)
        return StoredImage(content, Path(str(path)).name if path else "")
    if isinstance(value, Path):
        return StoredImage(value, f"{value.parent.name}/{value.name}")
    if isinstance(value, bytes):
        return StoredImage(value)
    return StoredImage(_from_pillow(value) if _is_of(value, "PIL") else _from_numbers(value))


def digest_of(pixels: np.ndarray) -> str:
    """SHA-256 in hex of an image's shape and pixels, `[H, W, C]` uint8."""
    return hashlib.sha256(repr(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _is_of(value: object, *packages: str) -> bool:
    """Whether a value's class comes from one of some packages, which need not be imported to know."""
    return type(value).__module__.partition(".")[0] in packages


def _decoded(content: Encoded, name: str) -> np.ndarray:
    """The pixels of a file or of its bytes."""
    from PIL import Image

    try:
        with Image.open(BytesIO(content) if isinstance(content, bytes) else content) as opened:
            return _from_pillow(opened)
    except ImageFault as fault:
        raise ImageFault(f"{name or 'an image'}, {fault.what}", fault.remedy) from fault
    except Exception as error:  # every format's decoder has errors of its own
        told = str(error).partition("\n")[0] or "no reason given"
        raise ImageFault(
            f"{name or 'an image'} cannot be decoded ({type(error).__name__}: {told})",
            "copy or save the image again, or remove it",
        ) from error


def _from_pillow(image: Any) -> np.ndarray:  # noqa: ANN401
    """The pixels of a Pillow image, turned as its EXIF orientation says."""
    from PIL import ImageOps

    if image.mode == "F" or image.mode.startswith("I"):
        raise ImageFault(f"of the mode {image.mode}: more than 8 bits a channel", "save it with 8 bits a channel")
    upright = ImageOps.exif_transpose(image)
    if upright.mode in ("1", "L"):
        return np.asarray(upright.convert("L"), dtype=np.uint8)[..., None]
    if "transparency" in upright.info:  # Pillow warns unless the palette's transparency is kept first
        upright = upright.convert("RGBA")
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def _from_numbers(value: object) -> np.ndarray:
    """Pixels that were given as numbers, copied."""
    try:
        given = np.asarray(value)
    except (ValueError, RuntimeError, TypeError) as error:  # ragged lists; tensors on a GPU or with gradients
        raise ImageFault(f"no array of pixels ({str(error).partition('.')[0]})", _AS_PIXELS) from error
    if given.dtype == bool or not np.issubdtype(given.dtype, np.integer):
        raise ImageFault(f"an array of {given.dtype}", f"{_AS_PIXELS}: scale floats, then .astype(np.uint8)")
    grey = given[..., None] if given.ndim == 2 else given
    if grey.ndim != 3 or grey.shape[2] not in (1, 3) or 0 in grey.shape:
        raise ImageFault(f"an array of shape {list(given.shape)}", _AS_PIXELS)
    if grey.min() < 0 or grey.max() > 255:
        raise ImageFault(f"an array with numbers from {grey.min()} to {grey.max()}", _AS_PIXELS)
    pixels = grey.astype(np.uint8)
    pixels.setflags(write=False)
    return pixels

"""Folders of images: a folder for each class, in folders named after the splits."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from modeconn.errors import TaskError, listed

from .splits import ALIASES

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def holds_images(folder: Path) -> bool:
    """Whether images lie in a folder or below it."""
    return folder.is_dir() and next(_images(folder), None) is not None


def check_splits_of_images(folder: Path, names: Sequence[str]) -> None:
    """Raise TaskError if folders of images lie where splits should, and none of them is called like a split."""
    if {name for both in ALIASES.values() for name in both}.isdisjoint(names):
        raise TaskError(
            f"the folder {folder} holds images, but no splits of them",
            expected="folders called train, eval or test, each with a folder for each class: train/CLASS/FILE",
            got=f"the folders {listed(names)}",
            remedy="put the folders of the classes into a folder train, eval or test",
        )


def image_records(folder: Path) -> list[object]:
    """One record an image, sorted by class and path: the file, and its class's name, which is the first folder's.

    Files with the suffix of no image are left alone, and so is what begins with a dot.

    Args:
        folder: A split: `CLASS/.../FILE`.

    Raises:
        TaskError: If an image lies in no class's folder, or a class has none.
    """
    loose = [path.name for path in _images(folder) if path.parent == folder]
    if loose:
        raise TaskError(
            f"the folder {folder} holds images without a class",
            expected="a folder for each class, with its images: CLASS/FILE",
            got=listed(loose),
            remedy="move them into the folders of their classes",
        )
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    by_class = {one.name: sorted(_images(one)) for one in classes}
    empty = [name for name, paths in by_class.items() if not paths]
    if empty:
        raise TaskError(
            f"the folder {folder} holds classes without images",
            expected=f"a file with one of the suffixes {', '.join(SUFFIXES)} in each",
            got=listed(empty),
            remedy="remove these folders, or add their images",
        )
    return [{"image": path, "label": name} for name, paths in by_class.items() for path in paths]


def _images(folder: Path) -> Iterator[Path]:
    """The image files in a folder and below it."""
    return (
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )

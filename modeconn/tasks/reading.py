"""A folder, a file or an id -> a task as it was read."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from modeconn.errors import TaskError, listed

from .files import SUFFIXES, parse_json, read_records, read_text
from .image_folders import check_splits_of_images, holds_images, image_records
from .labels import checked_labels
from .splits import RawTask, choose_splits

SETTINGS_FILE = "task.json"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", re.ASCII)


def read_source(source: str | os.PathLike[str], *, splits: Mapping[str, str] | None = None) -> RawTask:
    """What stands in a folder, in a file, or on the hub.

    The hub is asked only for an id of which neither the whole nor the owner is a path here.

    Raises:
        TaskError: If there is nothing to read, or it cannot be read.
    """
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            return _read_folder(path, splits)
        if path.exists():
            return _read_single(path, splits)
    except OSError as error:
        raise TaskError(
            f"cannot read {error.filename or path}",
            expected="folders and files that can be read",
            got=error.strerror or type(error).__name__,
            remedy="check the path and its permissions",
        ) from error
    is_id = isinstance(source, str) and _HUB_ID.fullmatch(source) is not None
    # Where the part before the slash is a folder here, this is a mistyped path: the hub would take long to say so.
    if is_id and not path.parent.is_dir():
        from .hub import read_hub

        return read_hub(str(source), splits=splits)
    raise TaskError(
        f"cannot find the task {path}",
        expected="a folder, a file, or the id of a hub data set (owner/name or owner/name:config)",
        got=f"nothing of that name in the folder {path.parent}" if is_id else "no such file or folder",
        remedy="check the path; to reach the hub, start in another folder" if is_id else "check the path",
    )


def _read_folder(folder: Path, splits: Mapping[str, str] | None) -> RawTask:
    """All splits of a folder, and its settings."""
    names = sorted(path.name for path in folder.iterdir())
    found = {
        name: Path(name).stem
        for name in names
        if Path(name).suffix in SUFFIXES and name != SETTINGS_FILE and (folder / name).is_file()
    }
    of_images = [name for name in names if not name.startswith(".") and holds_images(folder / name)]
    if of_images and not found and splits is None:
        check_splits_of_images(folder, of_images)
    found |= {name: name for name in of_images}
    if not found:
        raise TaskError(
            f"the folder {folder} holds no task",
            expected=f"train, eval or test with one of the suffixes {', '.join(SUFFIXES)}; of images, as folders that"
            " hold a folder for each class",
            got=f"the files {listed(names)}" if names else "an empty folder",
            remedy="check the path, or write the splits into it",
        )
    chosen = choose_splits(found, splits, where=f"the folder {folder}")
    paths = {split: folder / name for split, name in chosen.items()}
    settings = _read_settings(folder / SETTINGS_FILE)
    return RawTask(
        name=settings.get("name") or _plain_name(folder),
        splits={split: image_records(path) if path.is_dir() else read_records(path) for split, path in paths.items()},
        origins={split: str(path) for split, path in paths.items()},
        labels=checked_labels(settings.get("labels"), where=str(folder / SETTINGS_FILE)),
        metric=settings.get("metric") or "",
        max_new_tokens=settings.get("max_new_tokens"),
        source=settings.get("source") or "",
    )


def _read_single(path: Path, splits: Mapping[str, str] | None) -> RawTask:
    """The one split of a file."""
    if path.suffix not in SUFFIXES:
        raise TaskError(
            f"cannot read {path}",
            expected=f"a file with one of the suffixes {', '.join(SUFFIXES)}",
            got=f"the suffix {path.suffix!r}",
            remedy="convert the file, or give it the suffix that fits what it holds",
        )
    default = {"test": path.stem}
    (split,) = choose_splits({path.name: path.stem}, default if splits is None else splits, where=str(path))
    return RawTask(name=path.stem, splits={split: read_records(path)}, origins={split: str(path)})


def _read_settings(path: Path) -> dict:
    """The settings in task.json, if there is one; keys that are not known are notes and stay unread."""
    if not path.exists():
        return {}
    expected = "JSON: an object with name, labels, metric, max_new_tokens and source, each optional"
    settings = parse_json(read_text(path), path, expected=expected)
    if not isinstance(settings, dict):
        got = f"a value of type {type(settings).__name__}"
        raise TaskError(f"cannot read {path}", expected=expected, got=got, remedy="write an object")
    texts = ("name", "metric", "source")  # `labels` has its own check
    wrong = [f"{key} of type {type(settings[key]).__name__}" for key in texts if not _is_text(settings, key)]
    if wrong:
        raise TaskError(
            f"cannot read {path}",
            expected="name, metric and source as strings",
            got=listed(wrong),
            remedy="write strings, or leave these keys out",
        )
    return settings


def _is_text(settings: dict, key: str) -> bool:
    """Whether a setting is absent, null or a string."""
    return isinstance(settings.get(key), str | None)


def _plain_name(path: Path) -> str:
    """The last part of a path, also of `.` and of links."""
    return Path(os.path.abspath(path)).name

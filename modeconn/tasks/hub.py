"""Data sets of the `datasets` library, and hub data sets by their id -> a task as it was read."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from modeconn.errors import TaskError, listed

from .splits import RawTask, choose_splits


def read_hub(identifier: str, *, splits: Mapping[str, str] | None = None) -> RawTask:
    """A hub data set by its id, `owner/name` or `owner/name:config`.

    Raises:
        TaskError: If the extra `hub` is not installed, or the data set cannot be loaded.
    """
    try:
        import datasets
    except ImportError as error:
        raise TaskError(
            f"cannot load {identifier!r}",
            expected="a folder or file of that name, or a hub data set and the library datasets",
            got="no such file or folder, and datasets is not installed",
            remedy="check the path, or pip install 'modeconn[hub]'",
        ) from error
    path, _, config = identifier.partition(":")
    try:
        loaded = datasets.load_dataset(path, config or None)
    # The library fails in too many ways to name: network, unknown ids, configs, formats, disk.
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise TaskError(
            f"cannot load the hub data set {identifier!r}",
            expected="a folder or file of that name, or a data set on the hub that can be reached",
            got=f"no such file or folder, and {type(error).__name__}: {lines[0]}",
            remedy="check the path or the id and the network, or download the data and give their folder",
        ) from error
    return raw_from_dataset(loaded, name=path.rpartition("/")[2], splits=splits, source=identifier)


def raw_from_dataset(
    dataset: object, *, name: str, splits: Mapping[str, str] | None = None, source: str = ""
) -> RawTask:
    """The records of a data set or of a mapping of data sets, with the names of its class labels.

    Raises:
        TaskError: If it cannot be iterated, has no split, or its splits name their classes differently.
    """
    where = f"the data set {name!r}"
    if not isinstance(dataset, Mapping):
        split = str(getattr(dataset, "split", None) or "test")
        dataset, splits = {split: dataset}, {"test": split} if splits is None else splits
    chosen = choose_splits({str(key): str(key) for key in dataset}, splits, where=where)
    parts = {split: _iterable(dataset[key], split, where) for split, key in chosen.items()}
    return RawTask(
        name=name,
        splits={split: list(_undecoded(part)) for split, part in parts.items()},
        origins={split: f"the {split} split of {where}" for split in parts},
        class_names=_class_names(parts, where),
        source=source,
    )


def _iterable(part: object, split: str, where: str) -> Iterable[object]:
    """The part, which must have rows."""
    if isinstance(part, Iterable):
        return part
    raise TaskError(
        f"cannot read {where}",
        expected="data sets of rows",
        got=f"a value of type {type(part).__name__} as the {split} split",
        remedy="give a datasets.Dataset or a mapping of them",
    )


def _undecoded(part: Any) -> Iterable[object]:  # noqa: ANN401
    """The part with its images as they are stored: decoded, all of them would be in memory at once."""
    for column, feature in (getattr(part, "features", None) or {}).items():
        if type(feature).__name__ == "Image" and hasattr(part, "cast_column"):
            part = part.cast_column(column, replace(feature, decode=False))
    return part


def _class_names(parts: Mapping[str, Iterable[object]], where: str) -> dict[str, tuple[str, ...]]:
    """The class names of each column that has them, the same in all splits."""
    names: dict[str, tuple[str, ...]] = {}
    for split, part in parts.items():
        for column, feature in (getattr(part, "features", None) or {}).items():
            found = getattr(feature, "names", None)
            if found is not None and names.setdefault(column, tuple(found)) != tuple(found):
                raise TaskError(
                    f"cannot read {where}",
                    expected=f"the same classes of {column!r} in every split: {listed(names[column])}",
                    got=f"{listed(found)} in the {split} split",
                    remedy="cast the column to one ClassLabel in all splits",
                )
    return names

"""The paths that a command line gives: a line, lines in a row, fitted curves."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, Protocol

from modeconn.cli.naming import named

if TYPE_CHECKING:
    from modeconn.paths.path import Path


class PathSettings(Protocol):
    """The settings that say which paths."""

    @property
    def start(self) -> str | None:
        """Checkpoint at t = 0 of a line."""
        ...

    @property
    def end(self) -> str | None:
        """Checkpoint at t = 1."""
        ...

    @property
    def points(self) -> tuple[str, ...]:
        """Checkpoints in a row."""
        ...

    @property
    def path(self) -> tuple[str, ...]:
        """Path folders."""
        ...

    @property
    def space(self) -> Literal["weights", "factors", "aligned-factors"]:
        """The coordinates of the lines."""
        ...

    @property
    def heads(self) -> Literal["shared", "own", "skip"] | None:
        """Whose head counts."""
        ...


def given_paths(settings: PathSettings) -> "list[Path]":
    """The paths in the order line, lines between consecutive points, path folders; all with names of their own.

    Raises:
        PathError: If there is none, an end is missing, there is one point only, or a path is given twice.
        AdapterError: If a checkpoint cannot be read, or two cannot be joined.
    """
    from modeconn.adapters.adapter import Adapter
    from modeconn.errors import PathError, listed
    from modeconn.paths import LinearPath, load_path

    rows = [source for source in (settings.start, settings.end) if source], list(settings.points)
    if len(rows[0]) == 1 or len(rows[1]) == 1 or not (rows[0] or rows[1] or settings.path):
        raise PathError(
            "there is no path to evaluate",
            expected="--start and --end, two --points or more, or --path",
            got=f"{len(rows[0])} ends, {len(rows[1])} points, {len(settings.path)} path folders",
            remedy="give both ends of a line, or the folder that modeconn fit wrote",
        )
    sources = list(dict.fromkeys([*rows[0], *rows[1]]))
    points = {source: Adapter.from_pretrained(source, name=name) for source, name in named(sources)}
    lines = [
        LinearPath(points[start], points[end], space=settings.space, heads=settings.heads)
        for row in rows
        for start, end in pairwise(row)
    ]
    paths = [*lines, *_told_apart([load_path(folder) for folder in settings.path], settings.path, lines)]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise PathError(
            "the paths cannot be told apart",
            expected="paths with names of their own",
            got=listed(names),
            remedy="give each path once",
        )
    return paths


def _told_apart(paths: "list[Path]", folders: Sequence[str], lines: "Sequence[Path]") -> "list[Path]":
    """Paths that were saved under a name that another path has, with their folders' names added."""
    counts = Counter(path.name for path in (*lines, *paths))
    for path, (_, folder) in zip(paths, named(list(folders)), strict=True):
        if counts[path.name] > 1:
            path.name = f"{path.name} ({folder})"
    return paths

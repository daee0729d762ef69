"""Path folders: what kind of path, in which space, and its control points as adapter folders."""

import json
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, get_args

from modeconn import atomic
from modeconn.adapters.adapter import Adapter
from modeconn.adapters.heads import with_heads_of
from modeconn.errors import PathError, listed
from modeconn.paths.bezier import BezierCurve
from modeconn.paths.chain import PolygonalChain
from modeconn.paths.line import LinearPath
from modeconn.paths.path import Path, Space
from modeconn.paths.piecewise import PiecewiseBezier
from modeconn.paths.slerp import SlerpPath

PATH_FILE = "path.json"
_KINDS: Mapping[str, Any] = {
    "line": LinearPath,
    "bezier": BezierCurve,
    "chain": PolygonalChain,
    "piecewise-bezier": PiecewiseBezier,
    "slerp": SlerpPath,
}


def save_path(path: Path, folder: str | FilePath) -> FilePath:
    """Write a path folder: path.json and every control point as an adapter that plain PEFT loads.

    A control point that is not an adapter, as a full fine-tune, is named by its folder and fingerprint instead.

    Args:
        path: A line, Bezier curve, chain, piecewise Bezier curve or slerp.
        folder: Where; it may not exist, or hold a path, which is replaced.

    Returns:
        The folder.

    Raises:
        PathError: If the path is of another kind, or the folder holds something else or cannot be written.
    """
    folder = FilePath(folder)
    names = {kind: name for name, kind in _KINDS.items()}
    if type(path) not in names:
        raise PathError(
            f"the path {path.name!r} cannot be saved",
            expected=listed(_KINDS),
            got=type(path).__name__,
            remedy="save the path that it was made from",
        )
    if folder.exists() and any(folder.iterdir()) and not (folder / PATH_FILE).exists():
        raise PathError(
            f"cannot save a path to {folder}",
            expected="a new or empty folder, or one that holds a path",
            got=listed(file.name for file in folder.iterdir()),
            remedy="give another folder",
        )
    try:
        with atomic.replacing(folder, scratch=folder.parent) as temporary:
            temporary.mkdir()
            points = [_save_point(point, temporary, number) for number, point in enumerate(_with_own_heads(path))]
            content = {
                "kind": names[type(path)],
                "space": path.space,
                "name": path.name,
                "heads": path.heads,
                "degree": getattr(path, "degree", None) if isinstance(path, PiecewiseBezier) else None,
                "points": points,
            }
            text = json.dumps(content, indent=2, sort_keys=True) + "\n"
            (temporary / PATH_FILE).write_text(text, encoding="utf-8")
    except OSError as error:
        raise PathError(
            f"cannot save a path to {folder}",
            expected="a folder that can be written",
            got=f"{type(error).__name__}: {error.strerror or error}",
            remedy="give a folder on a disk with space and write permission",
        ) from error
    return folder


def load_path(folder: str | FilePath) -> Path:
    """Read a path folder, or a run folder that holds one under `path`.

    Args:
        folder: As `save_path` or `modeconn fit` writes it.

    Raises:
        PathError: If path.json is missing or broken, or a point is no longer the one that was saved.
        AdapterError: If a control point cannot be read.
    """
    given = FilePath(folder).expanduser()
    folder = given / "path" if (given / "path" / PATH_FILE).exists() else given
    content = _read(folder / PATH_FILE)
    try:
        make, kind, space = _KINDS[content["kind"]], content["kind"], content["space"]
        points = [_load_point(folder, entry) for entry in content["points"]]
        if space not in get_args(Space):
            raise ValueError(f"space {space!r}")
        degree = {"degree": content["degree"]} if kind == "piecewise-bezier" else {}
    except (KeyError, TypeError, ValueError) as error:
        raise PathError(
            f"cannot read the path in {folder}",
            expected=f"a {PATH_FILE} as modeconn writes it",
            got=f"{type(error).__name__}: {error}",
            remedy="fit or save the path again",
        ) from error
    # Saved points lie in the path's coordinates already; aligning them again would turn the bends.
    read_in = "factors" if space == "aligned-factors" else space
    arguments = points if kind in ("line", "slerp") else [points]
    if content.get("heads") == "own":  # the end brings its own head along, which the path keeps aside
        degree["heads"] = "own"
    path = make(*arguments, space=read_in, name=content["name"], **degree)
    path.space = space
    path.heads = content.get("heads")  # the points were saved under the policy
    return path


def _with_own_heads(path: Path) -> tuple[Adapter, ...]:
    """A path's control points; with `heads="own"` the last one has its own head again."""
    if path.heads != "own":
        return path.points
    return (*path.points[:-1], with_heads_of(path.end, path.head_of_end))


def _save_point(point: Adapter, folder: FilePath, number: int) -> dict[str, Any]:
    """One control point in the folder of a path; its entry in path.json."""
    entry = {"name": point.name, "fingerprint": point.fingerprint}
    if point.config.kind.name == "FULL" and point.source is not None:  # too large to be copied
        return {**entry, "source": str(point.source.resolve())}
    inner = f"point-{number}"
    point.save_pretrained(folder / inner)
    return {**entry, "folder": inner}


def _load_point(folder: FilePath, entry: Mapping[str, Any]) -> Adapter:
    """A control point from its entry.

    Raises:
        PathError: If its folder leaves the path's, or its content has changed.
    """
    inner = entry.get("folder")
    if inner is not None and (FilePath(inner).is_absolute() or len(FilePath(inner).parts) != 1 or inner == ".."):
        raise ValueError(f"a point in {inner!r}")
    source = folder / inner if inner is not None else FilePath(entry["source"])
    point = Adapter.from_pretrained(source, name=entry["name"], allow_zero=True)
    if point.fingerprint != entry["fingerprint"]:
        raise PathError(
            f"the control point {entry['name']!r} of {folder} is not the one that was saved",
            expected=f"fingerprint {entry['fingerprint'][:12]}",
            got=f"{point.fingerprint[:12]} in {source}",
            remedy="fit the path again, or bring the former checkpoint back",
        )
    return point


def _read(file: FilePath) -> dict[str, Any]:
    """A path.json."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else f"{type(error).__name__}: {error}"
        raise PathError(
            f"cannot read {file}", expected="a path folder", got=got, remedy="give the folder that modeconn fit wrote"
        ) from error
    if not isinstance(content, dict):
        raise PathError(
            f"cannot read {file}",
            expected="a JSON object",
            got=type(content).__name__,
            remedy="give the folder that modeconn fit wrote",
        )
    return content

"""How long fitted paths are and how they bend, for `modeconn geometry`: a table and sentences."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.adapters.part import BaseWeights

_STRAIGHT = 1e-6  # curvature times length: below, what bends is rounding


def shapes_of(folders: Sequence[str], base: "BaseWeights | None") -> "tuple[pd.DataFrame | None, dict[str, str]]":
    """The shapes of the paths in some folders, and the fingerprints of their control points.

    Args:
        folders: Path folders.
        base: The base's weights, where updates are functions of them.

    Returns:
        One row for each path: path, space, length, distance (of the ends), turn (degrees), curvature (the largest,
        per unit of length) and t_at_curvature; None of no folders. And what was read -> its hash.

    Raises:
        PathError: If a folder holds no path, or the path has no shape: a spherical one, or ends at one place.
    """
    import pandas as pd

    from modeconn.cli.naming import named
    from modeconn.evaluation.curvature import path_shape
    from modeconn.paths import load_path

    rows, hashes = [], {}
    found = [(label, load_path(folder)) for folder, label in named(list(folders))]
    counts = Counter(path.name for _, path in found)
    for label, path in found:
        shape = path_shape(path if base is None else path.on(base))
        name = path.name if counts[path.name] == 1 else f"{path.name} ({label})"
        rows.append({"path": name, "space": path.space, **shape._asdict()})
        hashes |= {f"{name} point {number}": point.fingerprint for number, point in enumerate(path.points)}
    return (pd.DataFrame(rows).rename(columns={"t": "t_at_curvature"}) if rows else None), hashes


def path_sentences(shapes: "pd.DataFrame | None") -> list[str]:
    """What the table says, a sentence for each path; nothing of no table."""
    return [] if shapes is None else [_on_path(row) for row in shapes.to_dict("records")]


def _on_path(row: dict[Any, Any]) -> str:
    """One path beside the straight line between its ends."""
    length, distance, bend = row["length"], row["distance"], row["curvature"]
    ends = f"{length / distance:.3g} times the {distance:.3g} between its ends" if distance > 0 else "from a place back"
    told = f"{row['path']} (space={row['space']}) is {length:.3g} long, {ends}, and turns by {row['turn']:.3g} degrees"
    if bend * length < _STRAIGHT:
        return f"{told}."
    return f"{told}, most sharply at t = {row['t_at_curvature']:.2f}, like a circle of the radius {1 / bend:.3g}."

"""What a run reads: named the same however it was typed, and never inside the folder that the run writes."""

from collections.abc import Iterable
from pathlib import Path

from modeconn.errors import RunError, listed


def resolved(source: str | Path) -> str:
    """The absolute path of a file or folder that is there; a hub id stays as it is.

    Example:
        >>> resolved("owner/name")
        'owner/name'
        >>> resolved("./") == resolved(Path.cwd())
        True
    """
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else str(source)


def refuse_inputs_inside(folder: str | Path, inputs: Iterable[str | Path | None]) -> None:
    """Keeps a run from writing among the files that it reads, and from clearing them away.

    Args:
        folder: The run folder; it need not exist.
        inputs: Files, folders or hub ids that the run reads; None and what is not on disk count for nothing.

    Raises:
        RunError: One of them is the run folder or lies in it.
    """
    target = Path(folder).expanduser().resolve()
    here = [Path(source).expanduser() for source in inputs if source is not None]
    inside = [str(path) for path in here if path.exists() and path.resolve().is_relative_to(target)]
    if inside:
        raise RunError(
            f"cannot use {folder} as a run folder",
            expected="a folder that holds nothing that the run reads",
            got=f"inputs in it: {listed(inside)}",
            remedy="give another --output-dir",
        )

"""Trackers that follow a training run, as accelerate knows them: TensorBoard, Weights & Biases, MLflow and others."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from modeconn.errors import RunError, listed

Numbers = Mapping[str, float]


class Trackers:
    """Any number of trackers, told the same.

    Args:
        names: As accelerate names them.
        folder: The run folder: its name is the run's, and what trackers write themselves goes to `trackers` in it.
        settings: What the run is made of.

    Raises:
        RunError: If a tracker is not known or not installed.
    """

    def __init__(self, names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> None:
        self._trackers = [_started(kind, folder) for kind in _kinds(names)]
        plain = {name: one if isinstance(one, bool | int | float | str) else str(one) for name, one in settings.items()}
        for tracker in self._trackers:
            tracker.store_init_configuration(plain)

    def log(self, values: Numbers, step: int) -> None:
        """Numbers of a step, counted over all tasks."""
        for tracker in self._trackers:
            tracker.log(dict(values), step=step)

    def finish(self) -> None:
        """Close all of them."""
        for tracker in self._trackers:
            tracker.finish()


@contextlib.contextmanager
def tracked(names: Sequence[str], folder: Path, settings: Mapping[str, Any]) -> Iterator[Trackers]:
    """Trackers that are closed afterwards, also after an error.

    Args:
        names: As accelerate names them; none may be.
        folder: The run folder.
        settings: What the run is made of.

    Raises:
        RunError: If a tracker is not known or not installed.
    """
    trackers = Trackers(names, folder, settings)
    try:
        yield trackers
    finally:
        trackers.finish()


def check_trackers(names: Sequence[str]) -> None:
    """Raise unless all can be used.

    Raises:
        RunError: If a tracker is not known or not installed.
    """
    _kinds(names)


def _kinds(names: Sequence[str]) -> list[Any]:
    """The trackers' classes."""
    if not names:
        return []
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
    from accelerate.utils import LoggerType

    known = {str(name): kind for name, kind in LOGGER_TYPE_TO_CLASS.items()}
    installed = {str(one) for one in get_available_trackers()}
    built_in = {str(one) for one in LoggerType}
    usable = [name for name in known if name in installed or name not in built_in]
    unusable = [name for name in names if name not in usable]
    if unusable:
        raise RunError(
            "the run cannot be tracked",
            expected=f"trackers that are installed: {listed(usable) if usable else 'none is'}",
            got=listed(unusable),
            remedy=f"install its package, or leave out --report-to; accelerate knows {listed(known)}",
        )
    return [known[name] for name in dict.fromkeys(names)]


def _started(kind: Any, folder: Path) -> Any:  # noqa: ANN401  (a GeneralTracker's class, and a tracker)
    """A tracker that is ready."""
    from accelerate import PartialState

    PartialState()  # trackers ask it which process they are in
    beside = {"logging_dir": folder / "trackers"} if kind.requires_logging_directory else {}
    tracker = kind(folder.name, **beside)
    if hasattr(tracker, "start"):  # since accelerate 1.8
        tracker.start()
    return tracker

"""The state of a training run, kept in its run folder until the run is finished."""

import pickle
from dataclasses import dataclass, field
from typing import Any

import torch

from modeconn.errors import RunError
from modeconn.runs import RunFolder

_FILE = "train-state.pt"


@dataclass
class TrainState:
    """All that a run needs to go on with the same bits on a CPU.

    Attributes:
        task: The task in work, counted from 1.
        step: Steps that were made on it.
        trained: Whether its checkpoint is saved, and only the scores are missing.
        weights: Name -> the learner's weights.
        method: What the method remembers.
        scores: Rows of the score matrix so far.
        log: The loss parts of every step so far.
        within: Optimiser, schedule, random numbers and early stopping, inside a task; empty between tasks.
    """

    task: int = 1
    step: int = 0
    trained: bool = False
    weights: dict[str, torch.Tensor] = field(default_factory=dict)
    method: dict[str, Any] = field(default_factory=dict)
    scores: list[tuple[Any, ...]] = field(default_factory=list)
    log: list[dict[str, Any]] = field(default_factory=list)
    within: dict[str, Any] = field(default_factory=dict)


def load_state(run: RunFolder) -> TrainState | None:
    """The state that was kept last, or None; tensors and plain values only, nothing in the file is run.

    Raises:
        RunError: If the file is broken, or of another version.
    """
    file = run.partial(_FILE)
    if not file.exists():
        return None
    try:
        return TrainState(**torch.load(file, map_location="cpu", weights_only=True))
    except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise RunError(
            f"cannot go on with the training in {run.folder}",
            expected="the state that this version of modeconn kept",
            got=f"{type(error).__name__}: {first_line[:200]}",
            remedy="begin again with --overwrite",
        ) from error


def save_state(run: RunFolder, state: TrainState) -> None:
    """Keep a state in place of the one before, whole or not at all."""
    with run.replacing(run.partial(_FILE)) as temporary, temporary.open("wb") as file:
        torch.save(dict(vars(state)), file)  # torch would open the file itself and not say why a disk refuses

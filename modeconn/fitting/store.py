"""The state of a fit, kept in its run folder until the run is finished."""

import torch

from modeconn.fitting.state import FitState
from modeconn.runs import RunFolder

_FILE = "fit-state.pt"


class RunFitStore:
    """Keeps the state as a part of a run.

    Args:
        run: The run folder, opened.
    """

    def __init__(self, run: RunFolder) -> None:
        self._run = run

    def load(self) -> FitState | None:
        """The state that was kept last, or None; tensors and plain values only, nothing in the file is run."""
        file = self._run.partial(_FILE)
        return FitState(**torch.load(file, map_location="cpu", weights_only=True)) if file.exists() else None

    def save(self, state: FitState) -> None:
        """Keep a state in place of the one before, whole or not at all."""
        with self._run.replacing(self._run.partial(_FILE)) as temporary:
            torch.save(dict(vars(state)), temporary)

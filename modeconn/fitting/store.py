"""The state of a fit, kept in its run folder until the run is finished."""

import pickle

import torch

from modeconn.errors import FitError
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
        """The state that was kept last, or None; tensors and plain values only, nothing in the file is run.

        Raises:
            FitError: If the file is broken, or of another version.
        """
        file = self._run.partial(_FILE)
        if not file.exists():
            return None
        try:
            return FitState(**torch.load(file, map_location="cpu", weights_only=True))
        except (OSError, EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
            first_line = (str(error).strip().splitlines() or [""])[0]
            raise FitError(
                f"cannot go on with the fit in {self._run.folder}",
                expected="the state that this version of modeconn kept",
                got=f"{type(error).__name__}: {first_line[:200]}",
                remedy="begin again with --overwrite",
            ) from error

    def save(self, state: FitState) -> None:
        """Keep a state in place of the one before, whole or not at all."""
        with self._run.replacing(self._run.partial(_FILE)) as temporary, temporary.open("wb") as file:
            torch.save(dict(vars(state)), file)  # torch would open the file itself and not say why a disk refuses

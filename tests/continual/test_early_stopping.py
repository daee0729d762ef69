"""A task that ends early ends where its validation loss was lowest: the weights, and what follows them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from method_runs import SEQUENCE, check_resumes

from modeconn.continual import train
from modeconn.continual.methods import METHODS, ILoRA, MovingAverage
from modeconn.continual.run import Run

EARLY: dict[str, Any] = {"early_stopping_patience": 2, "validation_split": "train", "learning_rate": 0.3}
SLOW = [MovingAverage(decay=0.9, decay_warmup=True), ILoRA(decay=0.9, buffer_size=16)]


@pytest.mark.parametrize("method", SLOW)
def test_the_slow_learner_holds_no_step_that_is_taken_back(
    bases: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    fast: list[dict[str, torch.Tensor]] = []
    ended: dict[str, Any] = {}

    class Watched(METHODS[method.name]):
        def start(self, run: Run) -> Any:
            fast.append(run.weights())
            return super().start(run)

        def after_step(self) -> None:
            super().after_step()
            fast.append(self.run.weights())

        def end_task(self, number: int) -> None:
            super().end_task(number)
            ended.update(slow=self.result(), fast=self.run.weights())

    monkeypatch.setitem(METHODS, method.name, Watched)
    settings = {**EARLY, "num_train_epochs": 20, "per_device_train_batch_size": 8}
    train(tmp_path / "run", bases("llama"), SEQUENCE[:1], method=method, **settings)
    (best,) = [k for k, one in enumerate(fast) if all(torch.equal(one[name], ended["fast"][name]) for name in one)]
    assert 0 < best < len(fast) - 1
    for name, value in ended["slow"].items():
        expected = fast[0][name].double()
        for k in range(best):
            decay = min(0.9, 1 - 1 / (k + 1)) if method.decay_warmup else 0.9
            expected = decay * expected + (1 - decay) * fast[k + 1][name].double()
        assert torch.allclose(value.double(), expected, atol=1e-5)


def test_killed_after_the_best_epoch_it_goes_back_as_far(bases: Callable[[str], Path], tmp_path: Path) -> None:
    settings = {**EARLY, "num_train_epochs": 6, "save_steps": 1}
    check_resumes(tmp_path, bases("llama"), MovingAverage(decay=0.9), at_step=8, **settings)

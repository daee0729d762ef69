"""Two processes make the steps of one, whatever a method brings into a step or keeps of it."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from launches import ThreadProcesses, together
from method_runs import SEQUENCE, SHORT, log_of, points

from modeconn.continual import TrainRun, train, trainer
from modeconn.continual.methods import GEM, L2P, DERpp, LwF, OLoRA, Sequential

POOL = {"adapter": "l2p", "adapter_options": {"pool_size": 6, "prompt_length": 2, "top_n": 2}}
CASES = [
    (DERpp(buffer_size=16, logit_weight=2.0), {}),
    (LwF(distillation_weight=3.0), {}),
    (GEM(buffer_size=16), {}),
    (OLoRA(orthogonality_weight=3.0), {}),
    (L2P(spread_tasks=True), POOL),
]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads sum as processes do, and make their learners one after the other: they share torch's random numbers."""
    lock, prepared = threading.Lock(), trainer.prepared

    def in_turn(*arguments: Any) -> Any:
        with lock:
            return prepared(*arguments)

    def summed(self: ThreadProcesses, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        parts = self.gathered(lambda: [one.detach().clone() for one in tensors])
        return [torch.stack(pieces).sum(0) for pieces in zip(*parts, strict=True)]

    monkeypatch.setattr(trainer, "prepared", in_turn)
    monkeypatch.setattr(ThreadProcesses, "summed", summed, raising=False)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("method", "settings"), CASES, ids=[method.name for method, _ in CASES])
def test_two_processes_make_the_steps_of_one(
    bases: Callable[[str], Path], tmp_path: Path, method: Sequential, settings: dict[str, Any]
) -> None:
    settings = {**SHORT, "num_train_epochs": 1, "per_device_train_batch_size": 7, **settings}

    def trained(name: str, **how: Any) -> TrainRun:
        return train(tmp_path / name, bases("llama"), SEQUENCE, method=method, **settings, **how)

    alone = trained("one")
    shared, other = together(2, lambda processes: trained("two", processes=processes))
    assert isinstance(shared, TrainRun), shared
    assert shared.scores.equals(other.scores)
    for one, two in zip(points(alone), points(shared), strict=True):
        gap = sum((value - two.tensors[name]).square().sum() for name, value in one.tensors.items())
        assert gap < 1e-8 * sum(value.square().sum() for value in one.tensors.values())
    for one, two in zip(log_of(alone), log_of(shared), strict=True):
        assert one.pop("task") == two.pop("task")
        assert one == pytest.approx(two, rel=2e-3, abs=1e-5)

"""The batches of one point, shared by processes: every batch is scored once, and the numbers keep their bits."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from launches import together

import modeconn as mc
from modeconn.models.encoded import ExampleSums
from modeconn.models.module_model import ModuleModel, TensorTask, module_point
from modeconn.runs.processes import Processes
from modeconn.tasks.encoding import EncodingSettings

SMALL = EncodingSettings(token_budget=70)  # a few rows a batch


def same(one: ExampleSums, other: ExampleSums) -> bool:
    """Whether two results are equal, bit for bit."""
    numbers = ("loss_sum", "num_tokens", "score")
    return one.outputs == other.outputs and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in numbers
    )


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_shared_batches_give_the_numbers_of_one_process(
    adapters: Callable[..., Path], family: str, packed: bool
) -> None:
    folder = adapters(family, 1)
    tasks = [make_task("first", 0)]
    if family != "bert":
        tasks.append(replace(make_task("written", 1, labels=False), metric="rouge_l", max_new_tokens=4))

    point = mc.Adapter.from_pretrained(folder)
    models = [mc.AdapterModel.from_pretrained(adapters=[point], packed=None if packed else False) for _ in range(3)]

    def evaluated(processes: Processes) -> list[ExampleSums]:
        model = models[processes.index]
        return model.evaluate(point, [model.encode(task, settings=SMALL) for task in tasks], processes.share)

    expected = evaluated(Processes())
    for found in together(3, evaluated):
        assert len(found) == len(expected) == len(tasks)
        assert all(map(same, found, expected))


class Counting(torch.nn.Linear):
    """Counts the inputs that it has seen."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.seen: Counter[float] = Counter()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.update(inputs[:, 0].tolist())
        return super().forward(inputs)


def test_the_batches_of_any_module_are_shared_too() -> None:
    modules = [Counting() for _ in range(3)]
    inputs = torch.stack([torch.arange(10.0), torch.ones(10)], dim=1)
    task = TensorTask("numbers", {"test": (inputs, torch.arange(10) % 2)})

    def evaluated(processes: Processes) -> ExampleSums:
        module = modules[processes.index]
        module.load_state_dict(modules[0].state_dict())
        model = ModuleModel(module, torch.nn.CrossEntropyLoss(reduction="none"), batch_size=3)
        return model.evaluate(module_point(module, name="one"), [model.encode(task, "test")], processes.share)[0]

    found = together(3, evaluated)
    assert [len(module.seen) for module in modules] == [4, 3, 3]  # of 10 examples in batches of 3, 3, 3 and 1
    assert sum((module.seen for module in modules), Counter()) == Counter(inputs[:, 0].tolist())
    assert all(same(one, evaluated(Processes())) for one in found)

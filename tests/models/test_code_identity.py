"""What a loss computes as a hash: the same for the same code and what it holds, another for any other."""

import functools
import threading

import pytest
import torch
from torch import nn
from torch.nn import functional

from modeconn.errors import ModelError
from modeconn.models.code_identity import architecture_identity, function_identity

HEIGHT = 2.0


def identity(function):
    return function_identity(function, "the loss")


def power(exponent):
    def loss(outputs, targets):
        return (outputs - targets).abs() ** exponent

    return loss


def mean(outputs, targets):
    return outputs.mean() - targets


def total(outputs, targets):
    return outputs.sum() - targets


def high(outputs, _):
    return HEIGHT * outputs


def through_another(outputs, targets):
    return 2 * mean(outputs, targets)


class Focal:
    """A loss with a setting."""

    def __init__(self, gamma):
        self.gamma = gamma

    def __call__(self, outputs, targets):
        return (outputs - targets) ** self.gamma

    def other(self, outputs, targets):
        return outputs * targets * self.gamma


class Steeper(Focal):
    """The same settings, another function."""

    def __call__(self, outputs, targets):
        return 3 * (outputs - targets) ** self.gamma


SAME = {
    "closure": lambda: power(2.0),
    "partial": lambda: functools.partial(mean, targets=torch.ones(2)),
    "object": lambda: Focal(2.0),
    "method": lambda: Focal(2.0).other,
    "module": lambda: nn.CrossEntropyLoss(torch.ones(3), reduction="none"),
    "built in": lambda: torch.sub,
    "of torch": lambda: functional.cross_entropy,
    "array": lambda: power(torch.arange(3).numpy()),
    "containers": lambda: power([{"a": {1, 2}}, (torch.float32, None)]),
}
OTHERS = {
    "closure": (power(2.0), power(3.0)),
    "closure over a tensor": (power(torch.zeros(2)), power(torch.tensor([0.0, 1e-7]))),
    "dtype of a tensor": (power(torch.zeros(2)), power(torch.zeros(2, dtype=torch.int32))),
    "kind of a number": (power(1), power(True)),
    "default": (lambda x, k=1: x * k, lambda x, k=2: x * k),
    "keyword default": (lambda x, *, k=1: x * k, lambda x, *, k=2: x * k),
    "constant": (lambda x: x + 1, lambda x: x + 2),
    "constant within": (lambda x: [y + 1 for y in x], lambda x: [y + 2 for y in x]),
    "name": (lambda x: x.abs(), lambda x: x.exp()),
    "partial": (functools.partial(mean, targets=1), functools.partial(mean, targets=2)),
    "setting of an object": (Focal(1.0), Focal(2.0)),
    "class of an object": (Focal(1.0), Steeper(1.0)),
    "method": (Focal(1.0).other, Focal(1.0).__call__),
    "setting of a module": (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss()),
    "tensor of a module": (nn.CrossEntropyLoss(torch.ones(3)), nn.CrossEntropyLoss(torch.zeros(3))),
    "built in": (torch.sub, torch.add),
    "containers": (power([1, 2]), power((1, 2))),
}


@pytest.mark.parametrize("made", SAME.values(), ids=SAME)
def test_what_is_made_twice_alike_has_one_identity(made):
    assert identity(made()) == identity(made())


@pytest.mark.parametrize("pair", OTHERS.values(), ids=OTHERS)
def test_what_may_give_other_numbers_has_another(pair):
    first, second = pair
    assert identity(first) != identity(second)


def test_a_number_of_the_file_counts(monkeypatch):
    before = identity(high)
    monkeypatch.setitem(globals(), "HEIGHT", 3.0)
    assert identity(high) != before


def test_a_function_of_the_file_counts(monkeypatch):
    before = identity(through_another)
    monkeypatch.setitem(globals(), "mean", total)
    assert identity(through_another) != before


def test_functions_may_call_themselves():
    def countdown(number):
        return 0 if number == 0 else countdown(number - 1)

    assert identity(countdown) == identity(countdown)


def test_where_a_function_stands_in_its_file_does_not_count():
    sources = ["def loss(x):\n    return x + 1\n", "\n\n\ndef loss(x):\n    return x + 1\n"]
    spaces = [{"__name__": "losses"} for _ in sources]
    for source, space in zip(sources, spaces, strict=True):
        exec(compile(source, "losses.py", "exec"), space)
    assert identity(spaces[0]["loss"]) == identity(spaces[1]["loss"])


def test_what_cannot_be_told_is_refused():
    message = (
        r"it cannot be told what the loss computes.*\n  expected: .*functions and torch modules.*"
        r"\n  got: _thread.lock in exponent, which .*loss closes over\n  remedy: .*ModuleModel\(module, loss, identity="
    )
    with pytest.raises(ModelError, match=message):
        identity(power(threading.Lock()))


class Net(nn.Module):
    """A line, a bend, and a table that is none of the points'."""

    def __init__(self, bend=functional.relu, table=0.0, factor=1.0):
        super().__init__()
        self.line, self.factor = nn.Linear(2, 2), factor
        self.bend = bend
        self.register_buffer("table", torch.tensor(table))

    def forward(self, inputs):
        return self.factor * self.bend(self.line(inputs)) + self.table


class Upside(Net):
    """The same tensors, another function."""

    def forward(self, inputs):
        return -super().forward(inputs)


def architecture(module):
    return architecture_identity(module, without=lambda _: False)


def test_the_values_of_parameters_do_not_count():
    assert architecture(Net()) == architecture(Net())


def test_the_mode_of_a_module_does_not_count():
    assert architecture(Net().eval()) == architecture(Net().train())


@pytest.mark.parametrize(
    "other",
    [
        Upside(),
        Net(factor=2.0),
        Net(table=1.0),
        nn.Sequential(Net()),
    ],
    ids=["code", "attribute", "buffer", "names"],
)
def test_all_else_of_a_module_counts(other):
    assert architecture(other) != architecture(Net())


def test_parts_without_parameters_count():
    """A network of other bends has the same names and shapes."""
    bends = nn.ReLU(), nn.Tanh(), nn.LeakyReLU(0.1), nn.LeakyReLU(0.2)
    assert len({architecture(nn.Sequential(nn.Linear(2, 2), bend)) for bend in bends}) == 4


def test_a_buffer_may_be_left_out():
    without = {architecture_identity(Net(table=value), without=lambda name: name == "table") for value in (0.0, 1.0)}
    assert len(without) == 1

"""Any module as a function of a point: its parameters are the coordinates, its buffers are nobody's."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import modeconn as mc
from modeconn.errors import ModelError, TaskError
from modeconn.models.trainable import Trainable, placed_trainable


class Net(nn.Module):
    """A convolution with batch norm, dropout and a head."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.norm, self.head = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, inputs):
        hidden = functional.relu(self.norm(self.conv(inputs))).mean((2, 3))
        return self.head(functional.dropout(hidden, 0.5, self.training))


def loss(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none")


@pytest.fixture
def task():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(20, 1, 6, 6, generator=generator)
    targets = torch.randint(3, (20,), generator=generator)
    return mc.TensorTask("random", {"train": (inputs, targets), "test": (inputs[:7], targets[:7])})


@pytest.fixture
def model(task):
    return mc.ModuleModel(Net(), loss, norm_inputs=task.splits["train"][0], batch_size=5)


def entries(module):
    named = [*module.named_parameters(), *module.named_buffers()]
    return [(name, id(value), value.detach().numpy().tobytes()) for name, value in named]


def test_a_point_is_a_copy_of_the_parameters():
    module = Net(3)
    point = mc.module_point(module, name="three")
    values = {name: value.detach().clone() for name, value in module.named_parameters()}
    module.head.weight.data.zero_()
    assert point.name == "three"
    assert point.saved.keys() == values.keys()
    assert all(torch.equal(point.saved[name], value) for name, value in values.items())


def test_an_evaluation_is_that_of_the_module_with_statistics_of_its_training_inputs(task, model):
    module = Net(5)
    point = mc.module_point(module)
    sums = model.evaluate(point, [model.encode(task, "test")])[0]
    module.norm.momentum = None  # the plain mean over four batches of five
    module.norm.train()
    inputs, targets = task.splits["test"]
    with torch.no_grad():
        for start in range(0, 20, 5):
            functional.relu(module.norm(module.conv(task.splits["train"][0][start : start + 5])))
        outputs = module.eval()(inputs)
    np.testing.assert_allclose(sums.loss_sum, loss(outputs, targets).numpy(), rtol=1e-5)
    np.testing.assert_array_equal(sums.score, (outputs.argmax(1) == targets).numpy())
    np.testing.assert_array_equal(sums.num_tokens, np.ones(7))


def test_the_statistics_change_the_numbers(task, model):
    """A point far from the module's own: its loss by the module's statistics is another one."""
    encoded, point = model.encode(task, "test"), mc.module_point(Net(5))
    stale = Net(0).eval()
    stale.load_state_dict(dict(point.saved), strict=False)
    assert np.abs(model.score_rows(stale, encoded)[0] - model.evaluate(point, [encoded])[0].loss_sum).max() > 0.01


@pytest.mark.parametrize("fails", [False, True])
def test_the_module_is_bit_unchanged_by_evaluation_and_by_training(task, model, fails):
    before, state = entries(model.module), [part.training for part in model.module.modules()]
    point = mc.module_point(Net(5))
    encoded = model.encode(task, "test")
    model.evaluate(point, [encoded])
    if fails:
        with pytest.raises(RuntimeError, match="of the user's"), model.at(point):
            raise RuntimeError("an error of the user's")
    saved = {name: value.clone().requires_grad_() for name, value in point.saved.items()}
    with placed_trainable(model.module, Trainable(None, {}, saved)):
        model.batch_losses(model.collate([(encoded, row) for row in range(6)])).sum().backward()
    assert all(value.grad is not None for value in saved.values())
    assert entries(model.module) == before
    assert [part.training for part in model.module.modules()] == state
    assert model.module.norm.momentum == 0.1


def test_a_training_batch_is_normalised_by_itself(task, model):
    point, encoded = mc.module_point(Net(5)), model.encode(task, "train")
    batch = model.collate([(encoded, row) for row in (3, 1, 8)])
    with placed_trainable(model.module, Trainable(None, {}, point.saved)):
        found = model.batch_losses(batch)
    module = Net(5)
    module.norm.train()
    hidden = functional.relu(module.norm(module.conv(batch[0]))).mean((2, 3))
    torch.testing.assert_close(found, loss(module.head(hidden), batch[1]))


def test_the_gate_compares_ends_with_a_module_that_read_them(task, model):
    """Ends that are combinations as well, whose tensors have other names in a file."""
    a, b = mc.module_point(Net(1), name="a"), mc.module_point(Net(2), name="b")
    middle = mc.LinearPath(a, b)(0.5)
    profile = mc.evaluate_path(mc.LinearPath(a, middle), model, [task], num_points=3)
    assert len(profile.frame) == 3


def test_a_line_in_weights_space_is_the_line_of_factors_space(task, model):
    a, b = (mc.module_point(Net(seed)) for seed in (1, 2))
    encoded = [model.encode(task, "test")]
    losses = [model.evaluate(mc.LinearPath(a, b, space=space)(0.3), encoded)[0].loss_sum
              for space in ("weights", "factors")]  # fmt: skip
    np.testing.assert_allclose(*losses, rtol=1e-5)


def test_a_score_of_ones_own(task):
    model = mc.ModuleModel(
        Net(), loss, score=lambda outputs, _: outputs.softmax(1)[:, 0], norm_inputs=task.splits["train"][0]
    )
    scores = model.evaluate(mc.module_point(Net(1)), [model.encode(task)])[0].score
    assert len(np.unique(scores)) == 7
    assert ((scores > 0) & (scores < 1)).all()


def test_batch_norm_needs_inputs():
    message = r"(?s)batch norm, whose statistics .*\n  expected: .*\n  got: no norm_inputs\n  remedy: .*norm_inputs="
    with pytest.raises(ModelError, match=message):
        mc.ModuleModel(Net(), loss)


def test_a_module_without_batch_norm_needs_none():
    module = nn.Linear(4, 3)
    task = mc.TensorTask("plain", {"test": (torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1]))})
    sums = mc.ModuleModel(module, loss).evaluate(mc.module_point(module), [mc.ModuleModel(module, loss).encode(task)])
    expected = loss(module(task.splits["test"][0]), task.splits["test"][1]).detach()
    np.testing.assert_allclose(sums[0].loss_sum, expected.numpy(), rtol=1e-6)


def test_a_point_of_a_part_of_the_module_is_refused(model):
    point = mc.module_point(nn.ModuleDict({"head": nn.Linear(4, 3)}))
    message = (
        r"(?s)does not hold all parameters of Net.*\n  got: nothing for conv.bias, conv.weight, norm.bias, norm.weight"
    )
    with pytest.raises(ModelError, match=message):
        model.check(point)


def test_a_point_of_another_module_is_refused(model):
    with pytest.raises(ModelError, match=r"(?s)does not fit the base model Net.*not there: other.bias, other.weight"):
        model.check(mc.module_point(nn.ModuleDict({"other": nn.Linear(2, 2)})))


@pytest.mark.parametrize(
    ("splits", "got"), [({}, "none"), ({"test": (torch.zeros(3, 1), torch.zeros(2))}, r"\[3, 2\]")]
)
def test_a_split_that_cannot_be_used(model, splits, got):
    message = rf"the task bad has no usable split 'test'\n  expected: .*\n  got: {got}\n  remedy: "
    with pytest.raises(TaskError, match=message):
        model.encode(mc.TensorTask("bad", splits))


def test_identities_tell_data_apart(task, model):
    inputs, targets = task.splits["test"]
    other = mc.TensorTask("random", {"test": (inputs, targets.flip(0))})
    first, second = (model.encode(one).identity for one in (task, other))
    assert first == model.encode(task).identity
    assert first != second


def test_it_says_what_parameters_it_has(model):
    assert model.has("norm.weight")
    assert not model.has("norm.running_mean")
    assert torch.equal(model.weight("head.bias"), model.module.head.bias)
    assert not model.transposed("head.weight")


class Tabled(nn.Module):
    """A line and a table that is a buffer."""

    def __init__(self, table=0.0):
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.register_buffer("table", torch.full((3,), table))

    def forward(self, inputs):
        return self.head(inputs) + self.table


def smooth(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=0.1)


def test_a_fingerprint_is_that_of_the_architecture_whatever_its_weights(task):
    inputs = task.splits["train"][0]
    first, second = (mc.ModuleModel(Net(seed), loss, norm_inputs=inputs) for seed in (0, 1))
    assert first.fingerprint == second.fingerprint


OTHER_MODELS = {
    "loss": lambda inputs: mc.ModuleModel(Net(), smooth, norm_inputs=inputs),
    "score": lambda inputs: mc.ModuleModel(Net(), loss, norm_inputs=inputs, score=lambda outputs, _: outputs[:, 0]),
    "norm_inputs": lambda inputs: mc.ModuleModel(Net(), loss, norm_inputs=inputs + 1),
    "batch_size": lambda inputs: mc.ModuleModel(Net(), loss, norm_inputs=inputs, batch_size=7),
    "identity": lambda inputs: mc.ModuleModel(Net(), loss, norm_inputs=inputs, identity="mine"),
    "architecture": lambda inputs: mc.ModuleModel(nn.Sequential(Net()), loss, norm_inputs=inputs),
}


@pytest.mark.parametrize("made", OTHER_MODELS.values(), ids=OTHER_MODELS)
def test_whatever_decides_the_numbers_has_another_fingerprint(made, task):
    inputs = task.splits["train"][0]
    assert made(inputs).fingerprint != mc.ModuleModel(Net(), loss, norm_inputs=inputs).fingerprint


def test_a_store_does_not_give_the_numbers_of_another_loss(task, tmp_path):
    from modeconn.evaluation.store import RunPointStore
    from modeconn.runs import RunFolder

    line = mc.LinearPath(*(mc.module_point(Net(seed), name=f"p{seed}") for seed in (1, 2)))
    inputs, found = task.splits["train"][0], []
    with RunFolder.open(tmp_path / "run", command="evaluate", settings={}) as run:
        for function in (loss, smooth):
            model = mc.ModuleModel(Net(), function, norm_inputs=inputs)
            found.append(mc.evaluate_path(line, model, [task], num_points=3, store=RunPointStore(run)).frame)
    with np.testing.assert_raises(AssertionError):
        np.testing.assert_allclose(found[0]["loss"], found[1]["loss"], rtol=1e-3)


def test_a_loss_that_cannot_be_told_needs_a_name():
    import threading

    lock = threading.Lock()

    def guarded(outputs, targets):
        with lock:
            return loss(outputs, targets)

    with pytest.raises(ModelError, match=r"it cannot be told what the loss computes"):
        mc.ModuleModel(Tabled(), guarded)
    named = [mc.ModuleModel(Tabled(), guarded, identity=name).fingerprint for name in ("a", "a", "b")]
    assert named[0] == named[1] != named[2]


def test_instance_norm_with_running_statistics_needs_inputs_as_well():
    module = nn.Sequential(nn.Conv1d(1, 2, 1), nn.InstanceNorm1d(2, track_running_stats=True))
    with pytest.raises(ModelError, match=r"the module has instance norm, whose statistics are those of one point"):
        mc.ModuleModel(module, loss)


def test_buffers_in_which_checkpoints_differ_are_refused():
    model = mc.ModuleModel(Tabled(), loss)
    model.check(mc.module_point(Tabled(), name="same"))
    message = (
        r"(?s)buffers of other and of Tabled differ.*\n  expected: .*in common"
        r".*\n  got: other values in table\n  remedy: .*nn.Parameter"
    )
    with pytest.raises(ModelError, match=message):
        model.check(mc.module_point(Tabled(1.0), name="other"))

"""Two independently trained networks with batch norm: the line meets a barrier, a fitted curve does not."""

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional

import modeconn as mc
from modeconn.fitting.fit import fit_curve

# About 10 s on one idle thread: training 4 s, three profiles 4 s, the fit 3 s.
pytestmark = pytest.mark.slow


def network(width=8):
    """A small convolutional network with batch norm."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
        nn.BatchNorm2d(2 * width),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, 10),
    )


def trained(inputs, targets, seed, steps=300):
    """A minimum of the training loss, reached from a start and an order of its own."""
    torch.manual_seed(seed)
    module, generator = network().train(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    for _ in range(steps):
        rows = torch.randint(len(inputs), (64,), generator=generator)
        optimizer.zero_grad()
        functional.cross_entropy(module(inputs[rows]), targets[rows]).backward()
        optimizer.step()
    return mc.module_point(module, name=f"seed {seed}")


@pytest.fixture(scope="module")
def digits():
    """1,797 images of 8 x 8 in three splits."""
    found = load_digits()
    order = torch.randperm(len(found.target), generator=torch.Generator().manual_seed(0))
    inputs = torch.tensor(found.images / 16, dtype=torch.float32)[order, None]
    targets = torch.tensor(found.target)[order]
    parts = {"train": slice(0, 1200), "eval": slice(1200, 1500), "test": slice(1500, None)}
    return mc.TensorTask("digits", {name: (inputs[part], targets[part]) for name, part in parts.items()})


@pytest.fixture(scope="module")
def minima(digits):
    return [trained(*digits.splits["train"], seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def model(digits):
    def loss(outputs, targets):
        return functional.cross_entropy(outputs, targets, reduction="none")

    return mc.ModuleModel(network(), loss, norm_inputs=digits.splits["train"][0], batch_size=400)


def barrier(path, model, task, split):
    profile = mc.evaluate_path(path, model, [task], num_points=21, split=split)
    return float(profile.barriers("loss").set_index("baseline")["barrier"]["chord"])


def test_one_bend_takes_away_most_of_the_barrier_of_the_line(digits, minima, model):
    """Garipov 2018 (arXiv 1802.10026), on data that no fit has seen and on the training data."""
    before = [(name, id(value), value.clone()) for name, value in model.module.state_dict(keep_vars=True).items()]
    fit = fit_curve(
        mc.BezierCurve.between(*minima), model, [digits],
        num_steps=400, learning_rate=0.02, per_device_train_batch_size=64,
    )  # fmt: skip
    line = mc.LinearPath(*minima)
    for split in ("train", "test"):
        wall = barrier(line, model, digits, split)
        assert wall > 0.2
        assert barrier(fit.curve, model, digits, split) < 0.2 * wall
    after = model.module.state_dict(keep_vars=True)
    assert [(name, id(value)) for name, value in after.items()] == [entry[:2] for entry in before]
    assert all(torch.equal(after[name], value) for name, _, value in before)


def test_the_statistics_of_batch_norm_belong_to_the_point(digits, minima, model):
    """With those that lie between the ends' statistics the midpoint has another loss."""
    point = mc.LinearPath(*minima)(0.5)
    encoded = model.encode(digits, "test")
    own = model.evaluate(point, [encoded])[0].loss_sum.mean()
    between = network().eval()
    between.load_state_dict(dict(point.saved), strict=False)
    ends = []
    for end in minima:
        with model.at(end) as module:
            ends.append({name: value.clone() for name, value in module.named_buffers()})
    for name, value in between.named_buffers():
        value.copy_((ends[0][name] + ends[1][name]) / 2)
    mixed = model.score_rows(between, encoded)[0].mean()
    assert abs(mixed - own) > 0.1

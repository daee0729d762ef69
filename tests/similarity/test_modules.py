"""CKA of any torch module: against activations taken by hand, and what cannot be compared."""

import numpy as np
import pytest
import torch
from direct_cka import direct_cka
from random_tasks import random_task
from tiny import LABELS
from torch import nn
from torch.nn import functional

import modeconn as mc
from modeconn.errors import EvaluationError, ModelError, TaskError
from modeconn.similarity import CKASettings, cka_along_path, cka_between, cka_drift

SITES = ("0", "2", "5")


def network(seed):
    """A convolution, another, and a linear layer, with rectifiers that overwrite what they read."""
    torch.manual_seed(seed)
    relu = nn.ReLU(inplace=True)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), relu, nn.Flatten(), nn.Linear(80, 6),
    )  # fmt: skip


def error(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none")


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 3, 8, 8, generator=generator)


@pytest.fixture(scope="module")
def task(images):
    return mc.TensorTask("shapes", {"test": (images, torch.zeros(40, dtype=torch.long))})


@pytest.fixture(scope="module")
def points():
    return [mc.module_point(network(seed), name=f"net-{seed}") for seed in (1, 2)]


@pytest.fixture
def model():
    return mc.ModuleModel(network(0), error, batch_size=16)


@torch.inference_mode()
def by_hand(seed, images, pooling):
    """The outputs at the sites, one module after another."""
    found, states = {}, images
    for number, part in enumerate(network(seed)):
        states = part(states)
        if str(number) in SITES:
            pooled = states.mean((2, 3)) if states.ndim == 4 and pooling == "mean" else states.flatten(1)
            found[str(number)] = pooled.clone()
    return found


@pytest.mark.parametrize("pooling", ["mean", "flatten"])
def test_all_pairs_equal_the_formula(model, points, task, images, pooling):
    found = cka_between(*points, model, task, settings=CKASettings(sites=SITES, pooling=pooling))
    x, y = by_hand(1, images, pooling), by_hand(2, images, pooling)
    table = found.frame.pivot(index="layer", columns="layer_reference", values="cka")
    expected = [[direct_cka(x[a], y[b]) for b in SITES] for a in SITES]
    np.testing.assert_allclose(table.loc[list(SITES), list(SITES)], expected, atol=1e-5)
    assert found.frame["num_features"].unique().tolist() == [x[site].shape[1] for site in SITES]
    assert found.checks["agree_with_peft_within"].keys() == {"net-1", "net-2"}


def test_a_path_and_a_drift_of_modules(model, points, task, images):
    settings = CKASettings(sites=SITES, pooling="mean")
    frame = cka_along_path(mc.LinearPath(*points), model, task, num_points=3, settings=settings).frame
    ends = frame[frame["t"] == 0]["cka"]
    assert ends.to_numpy() == pytest.approx(1, abs=1e-9)
    x, y = by_hand(1, images, "mean"), by_hand(2, images, "mean")
    last = frame[frame["t"] == 1].set_index("layer")["cka"]
    assert last.loc[list(SITES)].to_list() == pytest.approx([direct_cka(y[site], x[site]) for site in SITES], abs=1e-5)
    drift = cka_drift(points, model, task, reference="first", settings=settings).frame
    assert drift[drift["step"] == 2]["cka"].to_list() == pytest.approx(last.to_list(), abs=1e-9)


class Kept:
    """A store in memory."""

    def __init__(self):
        self.tables = {}

    def load(self, key):
        return self.tables.get(key)

    def save(self, key, table):
        self.tables[key] = table


def test_minibatches_and_a_store(model, points, task):
    store = Kept()
    settings = [CKASettings(sites=SITES, pooling=pooling, minibatch_size=10) for pooling in ("mean", "mean", "flatten")]
    first, again, other = (cka_between(*points, model, task, settings=one, store=store).frame for one in settings)
    assert (first["num_rows"] == 40).all()
    assert first.equals(again)
    assert len(store.tables) == 2
    assert not np.allclose(first["cka"], other["cka"])


def test_tokens_have_a_mean_and_a_first():
    class Reader(nn.Module):
        """One vector for each of seven tokens, which are summed before the head."""

        def __init__(self):
            super().__init__()
            self.words, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, tokens):
            return self.head(self.words(tokens).sum(1))

    torch.manual_seed(0)
    module, other, tokens = Reader(), Reader(), torch.randn(20, 7, 3)
    task = mc.TensorTask("tokens", {"test": (tokens, torch.zeros(20, dtype=torch.long))})
    with torch.no_grad():
        x, y = module.words(tokens), other.words(tokens)
    for pooling, expected in (
        ("mean", direct_cka(x.mean(1), y.mean(1))),
        ("cls", direct_cka(x[:, 0], y[:, 0])),
        ("flatten", direct_cka(x.flatten(1), y.flatten(1))),
    ):
        settings = CKASettings(sites="words", pooling=pooling)
        pair = mc.module_point(module), mc.module_point(other)
        found = cka_between(*pair, mc.ModuleModel(module, error), task, settings=settings).frame
        assert found["cka"].item() == pytest.approx(expected, abs=1e-5)


def test_all_sites_are_the_modules_with_weights(model, points, task):
    frame = cka_between(*points, model, task, settings=CKASettings(sites="all", pooling="flatten")).frame
    assert frame["layer"].unique().tolist() == list(SITES)


def test_two_architectures_read_the_same_tensors(model, points, task, images):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(192, 6))
    found = cka_between(
        points[0], mc.module_point(flat, name="flat"), model, task,
        reference_model=mc.ModuleModel(flat, error), settings=CKASettings(sites="all", pooling="mean"),
    )  # fmt: skip
    with torch.no_grad():
        expected = direct_cka(by_hand(1, images, "mean")["5"], flat(images))
    frame = found.frame.set_index(["layer", "layer_reference"])
    assert frame.loc[("5", "1"), "cka"] == pytest.approx(expected, abs=1e-5)


def test_the_module_is_what_it_was(model, points, task):
    before = {name: one.clone() for name, one in model.module.state_dict().items()}
    cka_between(*points, model, task, settings=CKASettings(sites="all", pooling="mean"))
    assert all(torch.equal(one, before[name]) for name, one in model.module.state_dict().items())
    assert not any(part._forward_hooks for part in model.module.modules())


class Twice(nn.Module):
    """Runs one layer two times."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, inputs):
        return self.head(self.one(self.one(inputs)))


def test_a_module_that_is_run_twice_is_refused_by_name_and_left_out_of_all():
    torch.manual_seed(0)
    task = mc.TensorTask("numbers", {"test": (torch.randn(20, 4), torch.zeros(20, dtype=torch.long))})
    points, model = [mc.module_point(Twice()) for _ in range(2)], mc.ModuleModel(Twice(), error)
    with pytest.raises(ModelError, match=r"(?s)at one cannot.*expected: a module that is run once.*a second run"):
        cka_between(*points, model, task, settings=CKASettings(sites="one", pooling="mean"))
    frame = cka_between(*points, model, task, settings=CKASettings(sites="all", pooling="mean")).frame
    assert frame["layer"].unique().tolist() == ["head"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"pooling": "last-token"}, EvaluationError, r"(?s)not pooled by 'last-token'.*\"mean\" over the positions"),
        ({"pooling": "all-tokens"}, EvaluationError, r"(?s)not pooled by 'all-tokens'.*remedy: use CKASettings"),
        ({"pooling": "mean"}, ModelError, r"(?s)layers of Sequential.*got: no list.*\"all\" \(0, 2, 5\)"),
        ({"pooling": "mean", "sites": "7"}, ModelError, r"(?s)no layer '7'.*modules out of 0, 1, 2, 3, 4, 5"),
        ({"pooling": "cls", "sites": "0"}, ModelError, r"(?s)at 0 cannot be compared.*got: shape \[16, 4, 6, 6\]"),
    ],
)
def test_what_modules_do_not_have_is_refused(model, points, task, options, kind, message):
    settings = CKASettings(**options)
    with pytest.raises(kind, match=message):
        cka_between(*points, model, task, settings=settings)


def test_a_module_has_no_base(model, points, task):
    settings = CKASettings(sites="5", pooling="mean")
    with pytest.raises(ModelError, match=r"(?s)Sequential has no base.*expected: a point.*got: None.*module_point"):
        cka_between(points[0], None, model, task, settings=settings)


def test_modules_and_models_read_their_own_kind_of_task(model, points, task, adapters):
    settings = CKASettings(sites="5", pooling="mean")
    with pytest.raises(TaskError, match=r"(?s)cannot read the task.*expected: a TensorTask.*got: Task"):
        cka_between(*points, model, random_task(labels=LABELS, num_examples=8), settings=settings)
    adapter = mc.Adapter.from_pretrained(adapters("llama", 1))
    llama = mc.AdapterModel.from_pretrained(adapters=[adapter])
    with pytest.raises(TaskError, match=r"(?s)cannot read the task shapes.*got: a TensorTask.*ModuleModel"):
        cka_between(adapter, None, llama, task)
    with pytest.raises(EvaluationError, match=r"(?s)not laid out flat.*got: 'flatten'"):
        cka_between(
            adapter, None, llama, random_task(labels=LABELS, num_examples=8), settings=CKASettings(pooling="flatten")
        )

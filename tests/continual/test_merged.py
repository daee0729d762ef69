"""Combinations of checkpoints as results: soups of every kind of adapter, exact in weights space."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_tasks import make_task
from method_runs import SHORT, check_resumes, fingerprints, points, short_train, tiny_run

import modeconn as mc
from modeconn.continual import TrainRun, train
from modeconn.continual.methods import Sequential, Soup
from modeconn.continual.methods.merged import MergedTensors, MergedUpdates
from modeconn.continual.methods.method import Result
from modeconn.continual.run import Run
from modeconn.errors import RunError

THREE = [make_task(name, shift) for shift, name in enumerate(("first", "second", "third"))]


def newest(run: TrainRun) -> list[mc.Adapter]:
    """What the learner was after each task."""
    return [mc.Adapter.from_pretrained(folder) for folder in run.others["newest"]]


def measured(run: Run, result: Result) -> np.ndarray:
    """Losses of rows at a result."""
    with run.module_at(result) as module:
        return run.model.score_rows(module, run.eval_sets[0])[0]


@pytest.mark.parametrize("adapter", ["lora", "rslora", "pissa", "wegeft"])
def test_a_soup_of_updates_is_their_mean(bases: Callable[[str], Path], tmp_path: Path, adapter: str) -> None:
    run = train(tmp_path / "run", bases("llama"), THREE, method=Soup(), adapter=adapter, rank=2, **SHORT)
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    trained = [one.on(model) for one in newest(run)]
    soup = points(run)[-1]
    assert set(soup.updates) == set(trained[0].updates)
    for name, update in soup.updates.items():
        mean = sum(one.updates[name].dense().double() for one in trained) / 3
        assert torch.allclose(update.dense().double(), torch.as_tensor(mean), rtol=1e-4, atol=1e-5)
    assert soup.config.kind.name == "LORA"


def test_a_soup_loads_in_plain_peft(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = short_train(tmp_path / "run", bases("llama"), Soup())
    point = points(run)[-1]
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])
    split = model.encode(THREE[0])
    with model.reference(point) as by_peft:
        expected = model.score_rows(by_peft, split)[0]
    with model.at(point) as placed:
        assert model.score_rows(placed, split)[0] == pytest.approx(expected, abs=1e-4)


def test_a_soup_of_factors_is_the_mean_of_tensors(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = train(tmp_path / "run", bases("llama"), THREE, method=Soup(space="factors"), adapter="dora", **SHORT)
    mean = torch.stack([one.vector for one in newest(run)]).mean(dim=0)
    assert torch.allclose(points(run)[-1].vector, mean, atol=1e-6)


def test_a_soup_trains_as_sequential(bases: Callable[[str], Path], tmp_path: Path) -> None:
    plain = short_train(tmp_path / "plain", bases("llama"), Sequential())
    soup = short_train(tmp_path / "soup", bases("llama"), Soup())
    assert [one.fingerprint for one in newest(soup)] == fingerprints(plain)
    assert fingerprints(soup)[0] == fingerprints(plain)[0]  # of one checkpoint
    assert fingerprints(soup)[1] != fingerprints(plain)[1]


def test_full_fine_tunes_have_one_space(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = short_train(tmp_path / "run", bases("llama"), Soup(), adapter="full", learning_rate=1e-3)
    one, other = newest(run)
    for name, value in points(run)[-1].tensors.items():
        assert torch.allclose(value, (one.tensors[name] + other.tensors[name]) / 2, atol=1e-6)


def test_a_head_is_in_the_mean(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = short_train(tmp_path / "run", bases("bert"), Soup())
    one, other = newest(run)
    soup = points(run)[-1]
    assert soup.saved
    assert soup.provenance["labels"] == one.provenance["labels"]
    for name, value in soup.saved.items():
        assert torch.allclose(value, (one.saved[name] + other.saved[name]) / 2, atol=1e-6)


@pytest.mark.parametrize("kind", [MergedTensors, MergedUpdates])
def test_lines_end_at_the_result_and_at_the_learner(
    bases: Callable[[str], Path], tmp_path: Path, kind: type[MergedUpdates]
) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"))
    place = kind(run)
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        run.load({name: torch.randn_like(value) for name, value in run.learner.weights.items()})
        losses.append(measured(run, None))
        line = place.line()
        if seed == 0:
            place.take(0.3)  # all of it: there was no result before
    assert measured(run, place.result) == pytest.approx(losses[0], abs=1e-4)
    assert measured(run, line(0.0)) == pytest.approx(losses[0], abs=1e-4)
    assert measured(run, line(1.0)) == pytest.approx(losses[1], abs=1e-4)


@pytest.mark.parametrize("method", [Soup(), Soup(space="factors")])
def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path, method: Soup) -> None:
    check_resumes(tmp_path, bases("llama"), method)


@pytest.mark.parametrize("adapter", ["dora", "loha", "prompt-tuning"])
def test_updates_without_factors_are_refused(bases: Callable[[str], Path], tmp_path: Path, adapter: str) -> None:
    message = (
        "the training method soup cannot combine checkpoints of this adapter in weights space\n"
        "  expected: an adapter whose updates have exact low-rank factors, such as lora, pissa or wegeft\n"
        f"  got: {adapter}, (.|\n)*remedy: train another adapter; or give space="
    )
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), Soup(), adapter=adapter)


def test_an_unknown_space_is_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="space of soup cannot be used\n  expected: weights or factors\n  got: 'both'"):
        short_train(tmp_path / "run", bases("llama"), Soup(space="both"))  # type: ignore[arg-type]

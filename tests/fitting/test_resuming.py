"""A fit that was killed or interrupted and started again ends with the same bits as one that went straight."""

import errno
import json
import os

import pytest
import torch
from disks import files_of_at_most
from fit_toys import Killed, Memory, Place, half_circle, noise, noisy_ring, plane_model, ring
from short_fits import STEPS, bits, language_fit, toy_fit

import modeconn as mc
from modeconn.errors import FitError, RunError
from modeconn.fitting import fit_curve
from modeconn.fitting.state import FitState
from modeconn.fitting.store import RunFitStore
from modeconn.fitting.validation import Validation
from modeconn.runs import RunFolder


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_fit_that_was_killed_and_resumed_is_the_fit_that_went_straight(optimizer, ends_and_model, words):
    straight = language_fit(ends_and_model, words, optimizer=optimizer)
    store = Memory(saves=2)
    with pytest.raises(Killed):
        language_fit(ends_and_model, words, store, optimizer=optimizer)
    assert store.state.step == 4
    resumed = language_fit(ends_and_model, words, store, optimizer=optimizer)
    assert bits(resumed) == bits(straight)


def test_a_fit_is_resumed_from_its_run_folder(ends_and_model, words, tmp_path):
    straight = language_fit(ends_and_model, words)

    def stop(done, *_):
        if done == 6:
            raise Killed

    def opened():
        return RunFolder.open(tmp_path / "run", command="fit", settings={"seed": 0})

    with pytest.raises(Killed), opened() as run:
        language_fit(ends_and_model, words, RunFitStore(run), stop)
    with opened() as run:
        assert RunFitStore(run).load().step == 4
        resumed = language_fit(ends_and_model, words, RunFitStore(run))
    assert bits(resumed) == bits(straight)


@pytest.mark.parametrize("size", [0, 3000])
def test_a_state_that_the_disk_does_not_take_leaves_the_one_before(size, tmp_path):
    with RunFolder.open(tmp_path / "run", command="fit", settings={}) as run:
        store = RunFitStore(run)
        store.save(FitState(step=4))
        told = rf"cannot write .*fit-state.pt\n  expected: .*\n  got: {os.strerror(errno.EFBIG)}\n"
        with files_of_at_most(size), pytest.raises(RunError, match=told):
            store.save(FitState(step=8, bends=[torch.ones(20_000)]))
        assert store.load().step == 4


def test_a_fit_that_is_interrupted_between_two_steps_goes_on_from_there():
    store = Memory()

    def interrupt(done, *_):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        toy_fit(store=store, progress=interrupt)
    assert store.state.step == 6
    assert any("as it was after step 6; started again in the same" in note for note in caught.value.__notes__)
    assert bits(toy_fit(store=store)) == bits(toy_fit())


def test_a_fit_that_is_interrupted_within_a_step_goes_on_from_the_last_validation(monkeypatch):
    store, taken = Memory(), FitState.moved

    def interrupted(state, row):
        if state.step == 6:
            raise KeyboardInterrupt
        taken(state, row)

    with monkeypatch.context() as patch:
        patch.setattr(FitState, "moved", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            toy_fit(store=store)
    assert store.state.step == 4
    assert any("kept as it was after step 4; started again" in note for note in caught.value.__notes__)
    assert bits(toy_fit(store=store)) == bits(toy_fit())


def test_a_fit_that_is_interrupted_in_a_validation_makes_it_when_it_goes_on(monkeypatch):
    store, validations, taken = Memory(), [], Validation.losses

    def interrupted(validation, curve, positions, *, step):
        validations.append(step)
        if step == 4:
            raise KeyboardInterrupt
        return taken(validation, curve, positions, step=step)

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "losses", interrupted)
        with pytest.raises(KeyboardInterrupt):
            toy_fit(store=store)
    assert validations == [0, 0, 4]  # the ends once, and the positions of two validations
    assert (store.state.step, store.state.validated_step) == (4, 0)
    assert bits(toy_fit(store=store)) == bits(toy_fit())


def test_a_fit_that_is_interrupted_in_its_first_validation_is_kept_before_its_first_step(monkeypatch):
    store = Memory()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Validation, "losses", interrupted)
        with pytest.raises(KeyboardInterrupt) as caught:
            toy_fit(store=store)
    assert any("as it was after step 0" in note for note in caught.value.__notes__)
    assert bits(toy_fit(store=store)) == bits(toy_fit())


def test_an_interrupt_before_anything_is_kept_says_so(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(FitState, "validated", interrupted)
    with pytest.raises(KeyboardInterrupt) as caught:
        toy_fit(store=Memory())
    assert any(
        "before anything of it was kept; started again it begins anew" in note for note in caught.value.__notes__
    )


def test_a_fit_does_not_go_on_under_another_loss():
    store = Memory(saves=2)
    with pytest.raises(Killed):
        toy_fit(store=store)
    with pytest.raises(FitError, match="the state in the store is not that of this fit"):
        fit_curve(half_circle(), plane_model(ring), [noise()], store=store, **STEPS)


def test_a_fit_goes_on_whatever_the_weights_of_the_architecture():
    def fit(place, store=None):
        model = mc.ModuleModel(place, noisy_ring, score=zero)
        return fit_curve(half_circle(), model, [noise()], store=store, **STEPS)

    store = Memory(saves=2)
    with pytest.raises(Killed):
        fit(Place(), store)
    assert bits(fit(Place(5.0, 7.0), store)) == bits(fit(Place()))


def zero(outputs, _):
    return torch.zeros(len(outputs))


def test_without_a_store_an_interrupt_says_what_would_have_kept_the_fit():
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        toy_fit(progress=interrupt)
    assert any("store=" in note for note in caught.value.__notes__)


def test_a_fit_that_was_killed_between_validations_goes_on_from_the_state_that_was_kept_last():
    store = Memory(saves=2)  # at step 0 with the first validation, then after step 5
    with pytest.raises(Killed):
        toy_fit(store=store, eval_steps=0, save_steps=5)
    assert store.state.step == 5
    assert bits(toy_fit(store=store, eval_steps=0, save_steps=3)) == bits(toy_fit(eval_steps=0))


def test_a_finished_fit_is_not_made_again():
    store = Memory()
    first = toy_fit(store=store)
    steps = []
    assert bits(toy_fit(store=store, progress=lambda *_: steps.append(1))) == bits(first)
    assert not steps


def test_the_history_is_plain_numbers(tmp_path):
    store = Memory()
    toy_fit(store=store)
    assert json.loads(json.dumps(store.state.history)) == store.state.history
    torch.save(dict(vars(store.state)), tmp_path / "state.pt")
    loaded = FitState(**torch.load(tmp_path / "state.pt", weights_only=True))
    assert loaded.history == store.state.history

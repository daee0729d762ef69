"""Progressive prompts: earlier prompts stay, the checkpoint is one longer prompt for plain PEFT."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from method_runs import check_resumes, loss_of, points, short_train, tiny_run

from modeconn.adapters import Adapter
from modeconn.continual.methods import ProgressivePrompts
from modeconn.errors import RunError

PROMPTS = {"adapter": "prompt-tuning", "adapter_options": {"num_virtual_tokens": 2}, "learning_rate": 0.3}


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_the_checkpoint_does_what_the_learner_with_its_frozen_prompts_did(
    bases: Callable[[str], Path], tmp_path: Path, family: str
) -> None:
    run = tiny_run(tmp_path / "run", bases(family), **PROMPTS)
    method = ProgressivePrompts().start(run)
    lengths = []
    for number in (1, 2, 3):
        method.start_task(number)
        torch.manual_seed(number)
        run.load({name: torch.randn_like(value) for name, value in run.learner.weights.items()})
        learner = run.scores(run.eval_sets[:1])[0].loss_sum
        result = method.result()
        assert isinstance(result, Adapter)
        lengths.append(result.config.raw["num_virtual_tokens"])
        run.save(result, tmp_path / f"saved-{number}")
        saved = Adapter.from_pretrained(tmp_path / f"saved-{number}")
        (by_peft,) = run.model.evaluate(saved, run.eval_sets[:1])
        assert by_peft.loss_sum == pytest.approx(learner, rel=1e-4, abs=1e-4)
        again = run.scores(run.eval_sets[:1])[0].loss_sum  # saving changes nothing
        assert again == pytest.approx(learner, rel=1e-6)
    assert lengths == [2, 4, 6]


def test_new_prompts_stand_before_the_earlier_ones_which_stay(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = short_train(tmp_path / "run", bases("llama"), ProgressivePrompts(), **PROMPTS)
    first, second = (point.tensors["prompt_embeddings"] for point in points(run))
    assert torch.equal(second[2:], first)
    assert not torch.equal(second[:2], first)


def test_a_new_prompt_begins_with_tokens_of_the_vocabulary(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"), **PROMPTS)
    method = ProgressivePrompts().start(run)
    table = run.model.module.get_input_embeddings().weight  # type: ignore[operator, union-attr]
    found = []
    for number in (1, 2):
        method.start_task(number)
        same = (method._prompt.detach()[:, None] == table).all(dim=2)  # [2, vocabulary]
        assert same.any(dim=1).all()
        found.append(method._prompt.detach().clone())
    assert not torch.equal(*found)


@pytest.mark.parametrize(("answered_by", "stays"), [("own", True), ("newest", False)])
def test_which_checkpoint_answers(bases: Callable[[str], Path], tmp_path: Path, answered_by: str, stays: bool) -> None:
    method = ProgressivePrompts(answered_by=answered_by)  # type: ignore[arg-type]
    run = short_train(tmp_path / "run", bases("llama"), method, **PROMPTS)
    assert (loss_of(run, 2, "first") == loss_of(run, 1, "first")) is stays
    assert loss_of(run, 2, "second") != loss_of(run, 1, "second")


def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_resumes(tmp_path, bases("llama"), ProgressivePrompts(), lora_dropout=None, **PROMPTS)


def test_other_adapters_are_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    message = (
        "the training method progressive-prompts trains prompts\n  expected: --adapter prompt-tuning\n"
        "  got: lora\n  remedy: train with --adapter prompt-tuning, or with another --method"
    )
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("llama"), ProgressivePrompts())


def test_prompts_without_room_are_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    settings = {**PROMPTS, "adapter_options": {"num_virtual_tokens": 30}}
    message = r"of 2 tasks leave too little room(.|\n)*at most 64 positions\n  got: 60 vectors before \d+ tokens\n"
    with pytest.raises(RunError, match=message):
        short_train(tmp_path / "run", bases("gpt2"), ProgressivePrompts(), **settings)


def test_an_unknown_setting_is_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="answered_by of progressive-prompts cannot be used\n  expected: own or newest"):
        short_train(tmp_path / "run", bases("llama"), ProgressivePrompts(answered_by="all"), **PROMPTS)  # type: ignore[arg-type]

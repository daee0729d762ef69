"""What a plan refuses without any weight: the same as training, with the same words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluation_tasks import make_task
from method_runs import tiny_run

from modeconn.continual import TrainSettings, plan_training
from modeconn.errors import ModeconnError, ModelError, RunError

TASKS = [make_task("first", 0, num_examples=9), make_task("second", 1, num_examples=9)]


def refusal(work: Callable[[], Any]) -> str:
    """What an error says."""
    with pytest.raises(ModeconnError) as caught:
        work()
    return str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"method": "ilora", "method_options": {"decay": 1.2}}, "decay of ilora cannot be used"),
        ({"method": "ilora", "method_options": {"layers": 1}}, "the hidden states cannot be compared"),
        ({"method": "replay", "method_options": {"buffer_policy": "x"}}, "buffer_policy of replay cannot be used"),
        ({"method": "replay", "method_options": {"buffer_size": -1}}, "buffer_size of replay cannot be used"),
        ({"method": "replay", "method_options": {"buffer_tokens": 3}}, "buffer_tokens of replay cannot be used"),
        ({"method": "o-lora", "adapter": "dora"}, "the training method o-lora cannot be used with this adapter"),
        ({"method": "progressive-prompts"}, "the training method progressive-prompts trains prompts"),
        ({"method": "l2p"}, "the training method l2p trains a pool of prompts"),
        ({"adapter": "p-tuning", "gradient_checkpointing": True}, "the activations cannot be recomputed"),
        ({"early_stopping_patience": 1}, "the task 'first' has no split 'eval'"),
    ],
)
def test_a_plan_refuses_what_training_does(
    bases: Callable[[str], Path], tmp_path: Path, settings: dict[str, Any], told: str
) -> None:
    def start() -> None:
        run = tiny_run(tmp_path / "run", bases("llama"), TASKS, **settings)
        run.settings.made_method().start(run)

    planned = refusal(lambda: plan_training(bases("llama"), TASKS, settings=TrainSettings(**settings)))
    assert planned.startswith(told)
    assert planned == refusal(start)


@pytest.mark.parametrize(
    ("adapter", "combines"), [("lora", True), ("vera", True), ("pissa", True), ("dora", False), ("p-tuning", False)]
)
def test_a_plan_knows_which_adapters_can_be_merged(bases: Callable[[str], Path], adapter: Any, combines: bool) -> None:
    settings = TrainSettings(adapter=adapter, method="path-merge", method_options={"choose_on": "buffer"})
    if combines:
        assert plan_training(bases("llama"), TASKS, settings=settings).num_trained > 0
    else:
        with pytest.raises(RunError, match=r"cannot combine checkpoints of this adapter(.|\n)*got: "):
            plan_training(bases("llama"), TASKS, settings=settings)


def test_a_plan_refuses_trackers_and_benchmarks_that_cannot_be_used(bases: Callable[[str], Path]) -> None:
    for settings in ({"report_to": ("nobody",)}, {"lm_eval_examples": 3}):
        with pytest.raises(ModeconnError, match="remedy: "):
            plan_training(bases("llama"), TASKS, settings=TrainSettings(**settings))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"rank": 1.5}, "a whole number, or none\n  got: 1.5"),
        ({"rank": "8"}, "a whole number, or none\n  got: '8'"),
        ({"learning_rate": "1e-4"}, "numbers\n  got: 1e-4"),
        ({"learning_rate": float("inf")}, "numbers\n  got: inf"),
        ({"num_train_epochs": [3, 2.5]}, "whole numbers\n  got: 3 2.5"),
        ({"per_device_train_batch_size": True}, "a whole number\n  got: True"),
        ({"bf16": "yes"}, "true or false\n  got: 'yes'"),
        ({"lr_scheduler_type": "step"}, "one of linear, cosine, constant_with_warmup\n  got: 'step'"),
        ({"target_modules": "q_proj"}, "several texts, or none\n  got: 'q_proj'"),
        ({"method_options": None}, "settings by name\n  got: None"),
        ({"separator": 3}, "text\n  got: 3"),
    ],
)
def test_values_of_other_types_are_refused(settings: dict[str, Any], expected: str) -> None:
    (name,) = settings
    with pytest.raises(
        RunError, match=rf"^{name} cannot be used for training\n  expected: {expected}\n  remedy: give --"
    ):
        TrainSettings(**settings)


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("ilora", {"decay_warmup": "false"}, "true or false"),
        ("o-lora", {"published_sum": 1}, "true or false"),
        ("ewc", {"penalty_weight": float("inf")}, "a number"),
    ],
)
def test_other_values_of_a_methods_options_are_refused(method: str, options: dict[str, Any], expected: str) -> None:
    ((name, value),) = options.items()
    told = rf"^{name} of {method} cannot be used\n  expected: {expected}\n  got: {value!r}\n  remedy: give another"
    with pytest.raises(RunError, match=told):
        TrainSettings(method=method, method_options=options).made_method()


def test_a_setting_of_the_adapter_is_given_once(bases: Callable[[str], Path]) -> None:
    settings = TrainSettings(rank=8, adapter_options={"r": 4})
    told = (
        r"rank of the adapter is given twice\n  expected: --rank, or r in .*\n  got: --rank 8, and r=4\n  remedy: leave"
    )
    with pytest.raises(RunError, match=told):
        plan_training(bases("llama"), TASKS, settings=settings)


def test_a_device_that_torch_does_not_know_is_refused_and_one_that_is_absent_planned(
    bases: Callable[[str], Path],
) -> None:
    with pytest.raises(ModelError, match="cannot use the device 'cudo'\n"):
        plan_training(bases("llama"), TASKS, settings=TrainSettings(device="cudo"))
    assert plan_training(bases("llama"), TASKS, settings=TrainSettings(device="cuda:7")).num_trained > 0

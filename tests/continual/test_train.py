from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from evaluation_tasks import make_task
from safetensors.torch import load_file
from tiny import TARGETS, make_base

import modeconn as mc
from modeconn.continual import TrainRun, train
from modeconn.continual.settings import TrainSettings

FAST = {"num_train_epochs": 12, "learning_rate": 2e-2, "per_device_train_batch_size": 8}
SEQUENCE = [make_task("first", 0, num_examples=42), make_task("second", 1, num_examples=42)]


@pytest.fixture(scope="module")
def trained(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    """Two tasks with opposite answers, one after the other."""
    return train(tmp_path_factory.mktemp("train") / "run", bases("llama"), SEQUENCE, **FAST)


def score(run: TrainRun, after_task: int, task: str, metric: str = "accuracy") -> float:
    cells = run.scores.set_index(["after_task", "task", "metric"])["score"]
    return float(cells.loc[after_task, task, metric])


def test_every_task_is_learnt_and_the_former_forgotten(trained: TrainRun) -> None:
    assert score(trained, 1, "first") >= 0.9
    assert score(trained, 2, "second") >= 0.9
    assert score(trained, 2, "first") <= 0.3
    assert score(trained, 2, "first", "loss") > 2 * score(trained, 1, "first", "loss")


def test_the_first_row_is_the_base_model_itself(trained: TrainRun, bases: Callable[[str], Path]) -> None:
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    answers = model.encode(SEQUENCE[0], settings=mc.EncodingSettings(all_choices=False))
    right, _ = model.score_rows(model.module, answers)
    assert score(trained, 0, "first", "loss") == pytest.approx(right.mean(), rel=1e-6)  # one token an answer


def test_checkpoints_load_in_plain_peft_and_know_their_base(trained: TrainRun, bases: Callable[[str], Path]) -> None:
    points = [mc.Adapter.from_pretrained(folder) for folder in trained.checkpoints]
    assert [point.name for point in points] == ["after-1-first", "after-2-second"]
    model = mc.AdapterModel.from_pretrained(adapters=points)  # the base that the checkpoints name
    assert Path(model.base_name) == bases("llama").resolve()
    assert {point.provenance["base_fingerprint"] for point in points} == {model.fingerprint}
    profile = mc.evaluate_path(mc.LinearPath(*points), model, SEQUENCE, num_points=2)  # the gate uses PEFT
    ends = profile.frame.set_index(["task", "t"])["score"]
    assert ends["first", 0.0] == score(trained, 1, "first")
    assert ends["first", 1.0] == score(trained, 2, "first")


def test_a_finished_run_is_not_trained_again(
    trained: TrainRun, bases: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modeconn.models.adapter_model.load_base", None)  # calling it would fail
    again = train(trained.checkpoints[0].parent, f"{bases('llama')}/", SEQUENCE, **FAST)
    assert again.finished_before
    assert not trained.finished_before
    assert again.scores.equals(trained.scores)


def test_interrupted_in_the_second_task_it_ends_with_the_same_bits(
    trained: TrainRun, bases: Callable[[str], Path], tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        del total
        if "second" in what and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", bases("llama"), SEQUENCE, progress=interrupt, **FAST)
    assert (tmp_path / "run" / "after-1-first").exists()
    assert not (tmp_path / "run" / "scores.csv").exists()
    resumed = train(tmp_path / "run", bases("llama"), SEQUENCE, **FAST)
    assert resumed.scores.equals(trained.scores)
    for mine, theirs in zip(resumed.checkpoints, trained.checkpoints, strict=True):
        straight, restarted = (
            load_file(theirs / "adapter_model.safetensors"),
            load_file(mine / "adapter_model.safetensors"),
        )
        assert straight.keys() == restarted.keys()
        assert all(torch.equal(straight[name], restarted[name]) for name in straight)


def test_a_classifier_gets_one_head_over_the_union_of_the_labels(bases: Callable[[str], Path], tmp_path: Path) -> None:
    records = [{"text": f"the cat {'sat' if i % 2 else 'ran'} .", "label": "yes" if i % 2 else "no"} for i in range(20)]
    other = mc.Task.from_records("other", {"train": records, "test": records}, labels=["no", "yes"])
    run = train(
        tmp_path / "run",
        bases("bert"),
        [SEQUENCE[0], other],
        target_modules=TARGETS["bert"],
        **(FAST | {"learning_rate": 5e-3}),
    )
    point = mc.Adapter.from_pretrained(run.checkpoints[-1])
    assert point.provenance["labels"] == [" good", " bad", " maybe", "no", "yes"]
    assert point.saved["classifier.weight"].shape == (5, 16)
    assert score(run, 2, "other", "loss") < score(run, 1, "other", "loss")
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    masked = model.encode(SEQUENCE[0], settings=mc.EncodingSettings(mask_labels=True))
    (sums,) = model.evaluate(point, [masked])
    assert sums.score.mean() >= score(run, 2, "first")  # wrong classes of the other task cannot be chosen


def test_the_seed_decides(trained: TrainRun, bases: Callable[[str], Path], tmp_path: Path) -> None:
    other = train(tmp_path / "run", bases("llama"), SEQUENCE[:1], seed=1, num_train_epochs=1)
    first = load_file(trained.checkpoints[0] / "adapter_model.safetensors")
    second = load_file(other.checkpoints[0] / "adapter_model.safetensors")
    name = next(iter(first))
    assert not torch.equal(first[name], second[name])


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("learning_rate", 0, "above 0, at least one"),
        ("learning_rate", float("nan"), "numbers"),
        ("weight_decay", -0.1, "0 or a number above"),
        ("lora_dropout", 1.0, "from 0 to below 1"),
        ("lora_dropout", -0.5, "from 0 to below 1"),
        ("warmup_ratio", 1.5, "from 0 to 1"),
        ("warmup_ratio", float("nan"), "a number"),
    ],
)
def test_settings_that_cannot_train_are_refused(name: str, value: float, expected: str) -> None:
    flag = name.replace("_", "-")
    with pytest.raises(mc.RunError, match=f"(?s)^{name} cannot be used.*{expected}\n.*got: {value}\n.*--{flag}"):
        TrainSettings(**{name: value})  # type: ignore[arg-type]


def test_settings_at_their_bounds_are_taken() -> None:
    for name, bounds in {"weight_decay": [0], "lora_dropout": [0, 0.99], "warmup_ratio": [0, 1]}.items():
        assert [getattr(TrainSettings(**{name: bound}), name) for bound in bounds] == bounds  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a/b", "a\\b", "..", "."])
def test_a_task_that_cannot_name_a_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(mc.RunError, match=r"(?s)cannot name the checkpoints.*without slashes"):
        train(tmp_path / "run", "no/base", [make_task(name, 0)])
    assert list(tmp_path.iterdir()) == []


def test_tasks_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(mc.EvaluationError, match=r"(?s)cannot be told apart.*got: first, first"):
        train(tmp_path / "run", "no/base", [SEQUENCE[0], SEQUENCE[0]])
    with pytest.raises(mc.EvaluationError, match="there is no task"):
        train(tmp_path / "run", "no/base", [])


def test_a_base_inside_the_run_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run" / "base").mkdir(parents=True)
    with pytest.raises(mc.RunError, match=r"(?s)inputs in it: .*base"):
        train(tmp_path / "run", tmp_path / "run" / "base", SEQUENCE, overwrite=True)


def test_only_modules_that_take_lora_are_offered(bases: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(mc.ModelError, match=r"(?s)no module gets an adapter") as refused:
        train(tmp_path / "run", bases("llama"), SEQUENCE, target_modules=("input_layernorm",))
    offered = refused.value.expected.removeprefix("target_modules among ").split(", ")
    assert {"q_proj", "embed_tokens"} <= set(offered)
    assert not [name for name in offered if "norm" in name]


def test_bad_input(bases: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(mc.ModelError, match=r"(?s)no module gets an adapter.*q_proj.*got: nothing_like_it"):
        train(tmp_path / "a", bases("llama"), SEQUENCE, target_modules=("nothing_like_it",))
    without_train = mc.Task("held-out", {"test": SEQUENCE[0].split("test")}, labels=SEQUENCE[0].labels)
    with pytest.raises(mc.TaskError, match=r"(?s)'held-out' has no split 'train'"):
        train(tmp_path / "b", bases("llama"), [without_train])
    with pytest.raises(mc.EvaluationError, match=r"(?s)loss on first is not finite.*at step.*--learning-rate"):
        train(tmp_path / "c", bases("llama"), SEQUENCE, learning_rate=1e30, max_grad_norm=1e30, warmup_ratio=0.0)
    assert not list((tmp_path / "c").glob("after-*"))


def test_another_run_in_the_folder_is_refused(trained: TrainRun, bases: Callable[[str], Path]) -> None:
    with pytest.raises(mc.RunError, match=r"(?s)holds another run.*seed"):
        train(trained.checkpoints[0].parent, bases("llama"), SEQUENCE, **(FAST | {"seed": 5}))


def test_a_base_of_another_seed_is_told_from_the_right_one(trained: TrainRun, tmp_path: Path) -> None:
    other = make_base(tmp_path / "other", "llama", seed=9)
    point = mc.Adapter.from_pretrained(trained.checkpoints[0])
    with pytest.raises(mc.ModelError, match=r"(?s)was trained on another base model.*fingerprint.*--base-model"):
        mc.AdapterModel.from_pretrained(other, adapters=[point])

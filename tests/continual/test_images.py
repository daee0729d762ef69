import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tiny_images import LABELS, image_task, make_vit
from transformers import (
    AutoModelForImageClassification,
    ConvNextConfig,
    ResNetConfig,
    ResNetForImageClassification,
    SwinConfig,
    ViTForImageClassification,
)

import modeconn as mc
from modeconn.continual import TrainRun, train
from modeconn.continual.methods import ILoRA, Replay, Sequential

FAST: Mapping[str, Any] = {"num_train_epochs": 12, "learning_rate": 2e-2, "per_device_train_batch_size": 8}
SEQUENCE = [image_task("first", LABELS[:2]), image_task("second", LABELS[2:])]
REPLAY: Mapping[str, Any] = {"buffer_size": 16, "memory_batch_size": 8}
_SEEN: dict[str, Any] = {"image_size": 8, "num_channels": 1, "patch_size": 2}
STAGED = {  # models whose layers have fewer and fewer positions
    "swin": SwinConfig(**_SEEN, embed_dim=8, depths=[1, 1, 1], num_heads=[1, 2, 2], window_size=1),
    "convnext": ConvNextConfig(**_SEEN, hidden_sizes=[8, 16, 16], depths=[1, 1, 1], num_stages=3),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny vision transformer."""
    return make_vit(tmp_path_factory.mktemp("vit") / "base")


@pytest.fixture(scope="module")
def trained(base: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainRun:
    """Two tasks of two classes each, one after the other."""
    return train(tmp_path_factory.mktemp("train") / "run", base, SEQUENCE, **FAST)


def score(run: TrainRun, after_task: int, task: str, metric: str = "accuracy") -> float:
    cells = run.scores.set_index(["after_task", "task", "metric"])["score"]
    return float(cells.loc[after_task, task, metric])


def points(run: TrainRun) -> list[mc.Adapter]:
    return [mc.Adapter.from_pretrained(folder) for folder in run.checkpoints]


def test_every_task_is_learnt_and_the_former_forgotten(trained: TrainRun) -> None:
    assert score(trained, 1, "first") >= 0.9
    assert score(trained, 2, "second") >= 0.9
    assert score(trained, 2, "first") <= 0.5


def test_the_head_spans_the_classes_of_all_tasks(trained: TrainRun) -> None:
    first, second = points(trained)
    assert first.provenance["labels"] == list(LABELS)
    assert first.saved["classifier.weight"].shape == (4, 16)
    assert not torch.equal(first.saved["classifier.weight"], second.saved["classifier.weight"])
    assert sorted({name.split(".")[-2] for name in first.updates}) == ["q_proj", "v_proj"]


def test_checkpoints_are_plain_peft_folders_without_a_task_type(trained: TrainRun, base: Path) -> None:
    config = json.loads((trained.checkpoints[0] / "adapter_config.json").read_text())
    assert config["task_type"] is None
    assert config["modules_to_save"] == ["classifier"]
    whole = ViTForImageClassification.from_pretrained(base, num_labels=4, ignore_mismatched_sizes=True)
    PeftModel.from_pretrained(whole, str(trained.checkpoints[0]))  # a missing tensor is a warning, so an error


def test_the_path_between_checkpoints_ends_in_their_scores(trained: TrainRun) -> None:
    ends = points(trained)
    model = mc.AdapterModel.from_pretrained(adapters=ends)  # the base that the checkpoints name
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, SEQUENCE, num_points=3)  # the gate uses PEFT
    found = profile.frame.set_index(["task", "t"])["score"]
    for t, after_task in ((0.0, 1), (1.0, 2)):
        for task in ("first", "second"):
            assert found[task, t] == score(trained, after_task, task)


def test_a_run_records_the_image_processor(trained: TrainRun) -> None:
    record = json.loads((trained.checkpoints[0].parent / "run.json").read_text())
    assert record["facts"]["image_processor"]["image_mean"] == [0.5]


@pytest.mark.parametrize("method", [Replay(**REPLAY), ILoRA(decay=0.9, **REPLAY)], ids=["replay", "ilora"])
def test_replayed_images_keep_the_first_task(method: Sequential, trained: TrainRun, base: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "run", base, SEQUENCE, method=method, **FAST)
    assert score(run, 2, "first", "loss") < 0.7 * score(trained, 2, "first", "loss")


def test_the_consistency_of_ilora_acts(base: Path, tmp_path: Path) -> None:
    settings = {**FAST, "num_train_epochs": 2}
    runs = [
        train(tmp_path / f"{weight}", base, SEQUENCE, method=ILoRA(consistency_weight=weight, **REPLAY), **settings)
        for weight in (0.0, 5.0)
    ]
    assert points(runs[0])[0].fingerprint == points(runs[1])[0].fingerprint  # nothing is replayed yet
    assert points(runs[0])[1].fingerprint != points(runs[1])[1].fingerprint


@pytest.mark.parametrize("kind", ["swin", "convnext"])
def test_layers_of_different_sizes_are_held_together(kind: str, base: Path, tmp_path: Path) -> None:
    AutoModelForImageClassification.from_config(STAGED[kind]).save_pretrained(tmp_path / kind)
    shutil.copy(base / "preprocessor_config.json", tmp_path / kind)
    settings = {**FAST, "num_train_epochs": 1, "target_modules": ["pwconv1"] if kind == "convnext" else None}
    runs = [
        train(tmp_path / f"{weight}", tmp_path / kind, SEQUENCE, method=method, **settings)
        for weight in (0.0, 5.0)
        for method in [ILoRA(consistency_weight=weight, layers="all", **REPLAY)]
    ]
    assert points(runs[0])[1].fingerprint != points(runs[1])[1].fingerprint


@pytest.mark.parametrize("method", [Sequential(), Replay(**REPLAY), ILoRA(**REPLAY)], ids=["plain", "replay", "ilora"])
def test_interrupted_it_ends_with_the_same_bits(method: Sequential, base: Path, tmp_path: Path) -> None:
    settings = {**FAST, "num_train_epochs": 3, "save_steps": 2, "lora_dropout": 0.1, "method": method}

    def interrupt(done: int, total: int, what: str) -> None:
        del total
        if "second" in what and done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", base, SEQUENCE, progress=interrupt, **settings)
    resumed = train(tmp_path / "parts", base, SEQUENCE, **settings)
    straight = train(tmp_path / "straight", base, SEQUENCE, **settings)
    assert resumed.scores.equals(straight.scores)
    assert [one.fingerprint for one in points(resumed)] == [one.fingerprint for one in points(straight)]


def test_smaller_batches_make_the_same_steps(base: Path, tmp_path: Path) -> None:
    runs = []
    for size in (8, 2):
        settings = {**FAST, "num_train_epochs": 2, "learning_rate": 2e-3, "method": ILoRA(**REPLAY)}
        settings |= {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        runs.append(points(train(tmp_path / f"{size}", base, SEQUENCE, **settings))[-1])
    assert (runs[0] - runs[1]).norm() < 1e-3 * runs[0].norm()


@pytest.mark.parametrize("adapter", ["pissa", "dora", "wegeft", "loretta-rep", "loretta-adp", "ln-tuning"])
def test_other_kinds_of_adapters_learn_images(adapter: str, base: Path, tmp_path: Path) -> None:
    settings = {**FAST, "adapter": adapter, "learning_rate": 5e-2 if adapter == "ln-tuning" else 2e-2}
    run = train(tmp_path / "run", base, SEQUENCE[:1], **settings)
    assert score(run, 1, "first") >= 0.8
    (point,) = points(run)
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    (sums,) = model.evaluate(point, [model.encode(SEQUENCE[0])])
    assert sums.score.mean() == score(run, 1, "first")


def test_all_weights_can_be_trained(base: Path, tmp_path: Path) -> None:
    run = train(tmp_path / "run", base, SEQUENCE, adapter="full", **{**FAST, "learning_rate": 2e-3})
    assert score(run, 2, "second") >= 0.9
    assert (run.checkpoints[0] / "preprocessor_config.json").exists()
    ends = points(run)
    assert ends[0].provenance["labels"] == list(LABELS)
    model = mc.AdapterModel.from_pretrained(base, adapters=ends)
    profile = mc.evaluate_path(mc.LinearPath(*ends), model, SEQUENCE, num_points=2)  # transformers is the reference
    found = profile.frame.set_index(["task", "t"])["score"]
    assert found["second", 1.0] == score(run, 2, "second")


def test_modules_can_be_chosen(base: Path, tmp_path: Path) -> None:
    settings = {**FAST, "num_train_epochs": 1, "target_modules": ["fc1"]}
    (point,) = points(train(tmp_path / "run", base, SEQUENCE[:1], **settings))
    assert all(name.endswith("fc1.weight") for name in point.updates)


def test_modules_that_are_not_there_are_told(base: Path, tmp_path: Path) -> None:
    with pytest.raises(mc.ModelError, match=r"(?s)no module gets an adapter.*fc1, fc2.*q_proj.*got: nothing"):
        train(tmp_path / "run", base, SEQUENCE[:1], target_modules=["nothing"], **FAST)


@pytest.mark.parametrize("adapter", ["prompt-tuning", "prefix-tuning"])
def test_prompts_are_refused(adapter: Any, base: Path, tmp_path: Path) -> None:
    with pytest.raises(mc.RunError, match=rf"(?s)of the kind {adapter} cannot be trained for images.*as lora does"):
        train(tmp_path / "run", base, SEQUENCE[:1], adapter=adapter, **FAST)


def test_texts_are_refused(base: Path, tmp_path: Path) -> None:
    records = [{"text": "fine", "label": "good"}]
    text = mc.Task.from_records("tone", {"train": records, "test": records}, labels=["good", "bad"])
    with pytest.raises(mc.TaskError, match=r"(?s)the task tone cannot be given to this model.*a task of images"):
        train(tmp_path / "run", base, [SEQUENCE[0], text], **FAST)


def test_norms_with_running_statistics_are_refused(base: Path, tmp_path: Path) -> None:
    config = ResNetConfig(num_channels=1, embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic")
    ResNetForImageClassification(config).save_pretrained(tmp_path / "resnet")
    shutil.copy(base / "preprocessor_config.json", tmp_path / "resnet")
    with pytest.raises(mc.ModelError, match=r"(?s)ResNetForImageClassification cannot be trained.*running statistics"):
        train(tmp_path / "run", tmp_path / "resnet", SEQUENCE[:1], adapter="full", **FAST)

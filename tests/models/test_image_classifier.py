import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from tiny_images import LABELS, image, image_task, make_vit
from torch.nn import functional
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ConvNextConfig,
    Dinov2Config,
    SiglipConfig,
    SiglipForImageClassification,
    SwinConfig,
    ViTForImageClassification,
)

import modeconn as mc
from modeconn.continual import train
from modeconn.models.exporting import export_merged
from modeconn.models.image_reader import image_facts

TASK = image_task("halves", LABELS[:3])
_VIT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 4}
_SEEN: dict[str, Any] = {"image_size": 8, "num_channels": 1, "num_labels": 3}
OTHERS = {
    "swin": SwinConfig(**_SEEN, patch_size=2, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=2),
    "convnext": ConvNextConfig(**_SEEN, patch_size=2, hidden_sizes=[8, 16], depths=[1, 1], num_stages=2),
    "dinov2": Dinov2Config(**_SEEN, **_VIT),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny vision transformer."""
    return make_vit(tmp_path_factory.mktemp("vit") / "base")


@pytest.fixture(scope="module")
def adapters(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters as PEFT saves them for image classifiers: no task type, the head saved whole."""
    folders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model: Any = ViTForImageClassification.from_pretrained(base, dtype=torch.float32)
        config = LoraConfig(
            r=4, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"], init_lora_weights=False
        )
        peft_model = get_peft_model(model, config)
        peft_model.base_model.model.classifier.modules_to_save["default"].weight.data.normal_()
        folders.append(tmp_path_factory.mktemp("adapters") / f"vit-{seed}")
        peft_model.save_pretrained(str(folders[-1]))
    return folders


@pytest.fixture(scope="module")
def points(adapters: list[Path]) -> list[mc.Adapter]:
    """The same as points."""
    return [mc.Adapter.from_pretrained(folder) for folder in adapters]


@pytest.fixture(scope="module")
def model(points: list[mc.Adapter]) -> mc.AdapterModel:
    """The base for them, in float64."""
    return mc.AdapterModel.from_pretrained(adapters=points, labels=LABELS[:3], dtype="float64")


def losses_by_hand(base: Path, adapter: Path, task: mc.Task) -> np.ndarray:
    """Nats of each test image, by transformers, PEFT and the processor alone, one image at a time."""
    whole = ViTForImageClassification.from_pretrained(base, dtype=torch.float64)
    peft_model = PeftModel.from_pretrained(whole, str(adapter)).double().eval()
    processor = AutoImageProcessor.from_pretrained(base, backend="pil")
    found = []
    for example in task.split("test"):
        picture = Image.fromarray(example.image.pixels()[..., 0])
        pixels = processor(images=[picture], return_tensors="pt")["pixel_values"].double()
        with torch.no_grad():
            logits = peft_model(pixel_values=pixels).logits
        right = torch.tensor([LABELS.index(example.answer)])
        found.append(functional.cross_entropy(logits, right).item())
    return np.array(found)


def test_the_base_model_says_that_it_reads_images(model: mc.AdapterModel) -> None:
    assert model.family.task_type == "IMAGE_CLASSIFICATION"
    assert model.tokenizer.num_tokens == 5  # four patches and the class token


def test_losses_are_those_of_plain_peft(
    model: mc.AdapterModel, points: list[mc.Adapter], adapters: list[Path], base: Path
) -> None:
    (sums,) = model.evaluate(points[0], [model.encode(TASK)])
    expected = losses_by_hand(base, adapters[0], TASK)
    assert expected.std() > 0.1
    np.testing.assert_allclose(sums.loss_sum, expected, rtol=1e-9)
    assert (sums.num_tokens == 1).all()


def test_scores_are_those_of_the_likeliest_class(model: mc.AdapterModel, points: list[mc.Adapter]) -> None:
    encoded = model.encode(TASK)
    (sums,) = model.evaluate(points[0], [encoded])
    logits = []
    with model.at(points[0]) as module, torch.no_grad():
        logits = [model.family.logits(module, batch)[:, 0] for batch in encoded.batches]
    classes = torch.cat(logits).argmax(1).numpy()
    assert sums.score.tolist() == (classes == np.array(encoded.rows.answers)).astype(float).tolist()


def test_a_path_is_evaluated_and_its_ends_are_compared_with_peft(
    model: mc.AdapterModel, points: list[mc.Adapter]
) -> None:
    profile = mc.evaluate_path(mc.LinearPath(*points), model, [TASK], num_points=3)  # the gate is on
    frame = profile.frame.set_index("t")
    for t, point in zip((0.0, 1.0), points, strict=True):
        (sums,) = model.evaluate(point, [model.encode(TASK)])
        assert frame.loc[t, "loss"] == pytest.approx(sums.loss_sum.mean())
    assert frame.loc[0.5, "num_tokens"] == 24


def test_the_gate_finds_another_adapter(model: mc.AdapterModel, points: list[mc.Adapter], adapters: list[Path]) -> None:
    wrong = replace(points[0], source=adapters[1])
    with pytest.raises(mc.EvaluationError, match="is not the adapter that PEFT loads"):
        mc.evaluate_path(mc.LinearPath(wrong, points[1]), model, [TASK], num_points=2)


def test_batches_of_other_sizes_give_the_same_losses(model: mc.AdapterModel, points: list[mc.Adapter]) -> None:
    small = model.encode(TASK, settings=mc.EncodingSettings(token_budget=15))
    assert [len(batch.targets) for batch in small.batches] == [3] * 8
    first, second = model.evaluate(points[0], [model.encode(TASK), small])
    np.testing.assert_allclose(first.loss_sum, second.loss_sum, rtol=1e-12)


def test_classes_of_other_tasks_can_be_masked(model: mc.AdapterModel, points: list[mc.Adapter]) -> None:
    two = image_task("two", LABELS[:2])
    free, masked = (model.encode(two, settings=mc.EncodingSettings(mask_labels=mask)) for mask in (False, True))
    assert masked.allowed == (0, 1)
    without, within = model.evaluate(points[0], [free, masked])
    assert (within.loss_sum < without.loss_sum).all()


def test_a_full_fine_tune_is_an_end_as_well(base: Path, tmp_path: Path) -> None:
    folders = [make_vit(tmp_path / f"full-{seed}", seed=seed) for seed in (1, 2)]
    full = [mc.Adapter.from_pretrained(folder) for folder in folders]
    model = mc.AdapterModel.from_pretrained(base, adapters=full, labels=LABELS[:3])
    assert model.family.task_type == "IMAGE_CLASSIFICATION"
    profile = mc.evaluate_path(mc.LinearPath(*full), model, [TASK], num_points=2)
    assert profile.frame["loss"].notna().all()


def test_a_point_of_a_path_loads_in_plain_peft(
    model: mc.AdapterModel, points: list[mc.Adapter], base: Path, tmp_path: Path
) -> None:
    middle = mc.LinearPath(*points)(0.5)
    middle.save_pretrained(tmp_path / "middle")
    (sums,) = model.evaluate(middle, [model.encode(TASK)])
    np.testing.assert_allclose(sums.loss_sum, losses_by_hand(base, tmp_path / "middle", TASK), rtol=1e-5)


def test_bfloat16_and_colour_models_are_given_their_own_numbers(tmp_path: Path) -> None:
    base = make_vit(tmp_path / "base", num_channels=3)
    model = mc.AdapterModel.from_pretrained(base, labels=LABELS[:3], dtype="bfloat16")
    batch = model.encode(TASK).batches[0]
    assert batch.inputs["pixel_values"].shape == (24, 3, 8, 8)
    assert model.family.logits(model.module, batch).dtype == torch.bfloat16


def test_what_the_processor_does_is_recorded(model: mc.AdapterModel) -> None:
    settings = image_facts(model.tokenizer)["image_processor"]
    assert settings["class"] == "ViTImageProcessorPil"
    assert settings["size"] == {"height": 8, "width": 8}
    assert image_facts(None) == {}


def test_processors_decide_what_a_split_is_to_stored_results(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    settings = (other / "preprocessor_config.json").read_text().replace("0.5", "0.25")
    (other / "preprocessor_config.json").write_text(settings)
    encoded = [mc.AdapterModel.from_pretrained(one, labels=LABELS[:3]).encode(TASK) for one in (base, base, other)]
    assert repr(encoded[0].identity) == repr(encoded[1].identity)
    assert repr(encoded[0].identity) != repr(encoded[2].identity)


def test_texts_are_refused_by_a_model_of_images(model: mc.AdapterModel) -> None:
    text = mc.Task.from_records("tone", {"test": [{"text": "fine", "label": "top"}]}, labels=LABELS[:2])
    expected = r"(?s)^the task tone cannot be given to this model.*a task of images.*got: a task of texts"
    with pytest.raises(mc.TaskError, match=expected):
        model.encode(text)


def test_images_have_one_length_and_are_not_cut(model: mc.AdapterModel) -> None:
    assert model.longest == 5
    with pytest.raises(mc.ModelError, match=r"(?s)max_length .--max-length. cannot be followed.*got: max_length=3 for"):
        model.encode(TASK, settings=mc.EncodingSettings(max_length=3))


def test_a_head_of_its_own_is_taken_for_each_task(base: Path, tmp_path: Path) -> None:
    tasks = [image_task("rows", LABELS[:2]), image_task("columns", LABELS[2:])]
    runs = [train(tmp_path / task.name, base, [task], num_train_epochs=1) for task in tasks]
    ends = [mc.Adapter.from_pretrained(run.checkpoints[0]) for run in runs]
    line = mc.LinearPath(*ends, heads="own")
    model = mc.AdapterModel.from_pretrained(adapters=line.points)
    frame = mc.evaluate_path(line, model, tasks, num_points=2).frame.set_index(["task", "t"])["score"]
    for task, run, t in zip(("rows", "columns"), runs, (0.0, 1.0), strict=True):
        scores = run.scores.set_index(["after_task", "metric"])["score"]
        assert frame[task, t] == scores[1, "accuracy"]


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_images_are_refused_by_models_of_texts(bases: Callable[[str], Path], family: str) -> None:
    labels = LABELS[:3] if family == "bert" else None
    model = mc.AdapterModel.from_pretrained(bases(family), labels=labels)
    with pytest.raises(mc.TaskError, match=r"(?s)halves cannot be given.*a task of texts.*got: a task of images"):
        model.encode(TASK)


def test_classes_that_the_head_lacks_are_told(model: mc.AdapterModel) -> None:
    with pytest.raises(mc.TaskError, match=r"(?s)has no class for some answers of other/test.*got: right"):
        model.encode(image_task("other", LABELS[2:]))


def test_a_model_without_an_image_processor_is_told(base: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(base, tmp_path / "bare"))
    (bare / "preprocessor_config.json").unlink()
    with pytest.raises(
        mc.ModelError, match=r"(?s)bare has no image processor.*preprocessor_config.json.*save it there"
    ):
        mc.AdapterModel.from_pretrained(bare)


def test_a_processor_of_another_model_is_told(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    settings = (other / "preprocessor_config.json").read_text().replace('"height": 8', '"height": 12')
    (other / "preprocessor_config.json").write_text(settings)
    with pytest.raises(mc.ModelError, match=r"(?s)the image processor of .*other does not fit its model.*12"):
        mc.AdapterModel.from_pretrained(other)


def test_a_head_without_a_backbone_is_told(base: Path, tmp_path: Path) -> None:
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    seen = {**small, "image_size": 8, "patch_size": 4, "num_channels": 1}
    config = SiglipConfig(
        vision_config=seen, text_config={**small, "vocab_size": 30, "bos_token_id": 1, "eos_token_id": 2}
    )
    SiglipForImageClassification(config).save_pretrained(tmp_path / "siglip")
    shutil.copy(base / "preprocessor_config.json", tmp_path / "siglip")
    with pytest.raises(mc.ModelError, match=r"(?s)head of SiglipForImageClassification cannot be told.*vision_model"):
        mc.AdapterModel.from_pretrained(tmp_path / "siglip")


@pytest.mark.parametrize("kind", ["swin", "convnext", "dinov2"])
def test_other_architectures_are_read_as_well(kind: str, base: Path, tmp_path: Path) -> None:
    whole = AutoModelForImageClassification.from_config(OTHERS[kind])
    whole.save_pretrained(tmp_path / kind)
    shutil.copy(base / "preprocessor_config.json", tmp_path / kind)
    model = mc.AdapterModel.from_pretrained(tmp_path / kind, labels=LABELS[:3])
    assert model.family.task_type == "IMAGE_CLASSIFICATION"
    losses, _ = model.score_rows(model.module, encoded := model.encode(TASK))
    pixels = encoded.batches[0].inputs["pixel_values"]
    with torch.no_grad():
        expected = functional.cross_entropy(
            whole.eval()(pixel_values=pixels).logits, torch.tensor(encoded.rows.answers), reduction="none"
        )
    np.testing.assert_allclose(losses, expected.numpy(), rtol=1e-4)


def test_images_that_are_left_in_different_sizes_are_told(base: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(base, tmp_path / "other"))
    settings = (other / "preprocessor_config.json").read_text().replace('"do_resize": true', '"do_resize": false')
    (other / "preprocessor_config.json").write_text(settings)
    model = mc.AdapterModel.from_pretrained(other, labels=LABELS[:3])
    model.encode(TASK)
    rng = np.random.default_rng(0)
    records = [{"image": image("top", rng)[:side], "label": "top"} for side in (8, 7)]
    with pytest.raises(mc.TaskError, match=r"(?s)do not have one size.*\[1, 7, 8\], \[1, 8, 8\]"):
        model.encode(mc.Task.from_records("sizes", {"test": records}, labels=LABELS[:3]))


def test_an_image_that_went_away_is_told(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "pets" / "test" / "top" / "1.png"
    path.parent.mkdir(parents=True)
    Image.fromarray(image("top", np.random.default_rng(0))).save(path)
    task = mc.Task.load(tmp_path / "pets", labels=LABELS[:3])
    model = mc.AdapterModel.from_pretrained(base, labels=LABELS[:3])
    model.encode(task)
    path.unlink()
    with pytest.raises(mc.TaskError, match=r"(?s)cannot be read any more.*got: top/1.png cannot be decoded"):
        model.encode(task)


def test_a_merged_point_is_the_same_function(points: list[mc.Adapter], base: Path, tmp_path: Path) -> None:
    middle = mc.LinearPath(*points)(0.5)
    merged = mc.Adapter.from_pretrained(export_merged(middle, tmp_path / "merged", base=base))
    model = mc.AdapterModel.from_pretrained(base, adapters=[merged], labels=LABELS[:3])
    encoded = model.encode(TASK)
    np.testing.assert_allclose(
        model.evaluate(merged, [encoded])[0].loss_sum, model.evaluate(middle, [encoded])[0].loss_sum, rtol=1e-4
    )


def test_a_backbone_alone_is_a_base_as_well(base: Path, tmp_path: Path) -> None:
    ViTForImageClassification.from_pretrained(base).vit.save_pretrained(tmp_path / "backbone")
    shutil.copy(base / "preprocessor_config.json", tmp_path / "backbone")
    tasks = [image_task("rows", LABELS[:2]), image_task("columns", LABELS[2:])]
    run = train(tmp_path / "run", tmp_path / "backbone", tasks, num_train_epochs=1)
    ends = [mc.Adapter.from_pretrained(folder) for folder in run.checkpoints]
    model = mc.AdapterModel.from_pretrained(adapters=ends)
    mc.evaluate_path(mc.LinearPath(*ends), model, tasks, num_points=2)  # the gate is on
    merged = mc.Adapter.from_pretrained(export_merged(ends[1], tmp_path / "merged", base=tmp_path / "backbone"))
    encoded = model.encode(tasks[1])
    (found,), (expected,) = (model.evaluate(point, [encoded]) for point in (merged, ends[1]))
    np.testing.assert_allclose(found.loss_sum, expected.loss_sum, rtol=1e-4)

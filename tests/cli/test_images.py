"""Commands on tasks of images: folders as users have them, and the embedded digits."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_images import LABELS, image, make_vit

from modeconn.cli.main import main
from modeconn.runs import read_csv

pytestmark = pytest.mark.usefixtures("svg_only")
DATA = Path(__file__).resolve().parents[2] / "data"
SHORT = ["--num-train-epochs", "6", "--learning-rate", "2e-2", "--per-device-train-batch-size", "8", "--quiet"]


def image_folder(folder: Path, labels: tuple[str, ...]) -> str:
    """A task as `SPLIT/CLASS/FILE.png`."""
    rng = np.random.default_rng(0)
    for split in ("train", "eval", "test"):
        for label in labels:
            (folder / split / label).mkdir(parents=True)
            for number in range(12):
                Image.fromarray(image(label, rng)).save(folder / split / label / f"{number}.png")
    return str(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two tasks of two classes."""
    made = tmp_path_factory.mktemp("images")
    return [image_folder(made / "rows", LABELS[:2]), image_folder(made / "columns", LABELS[2:])]


@pytest.fixture(scope="module")
def run(folders: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `modeconn train` on them."""
    base, out = make_vit(tmp_path_factory.mktemp("vit") / "base"), tmp_path_factory.mktemp("train") / "run"
    assert main(["train", "--base-model", str(base), "--tasks", *folders, "--output-dir", str(out), *SHORT]) == 0
    return out


def ends(run: Path) -> list[str]:
    return ["--start", str(run / "after-1-rows"), "--end", str(run / "after-2-columns")]


def test_folders_of_images_are_trained_one_after_the_other(run: Path) -> None:
    scores = read_csv(run / "scores.csv").set_index(["after_task", "task", "metric"])["score"]
    assert scores[1, "rows", "accuracy"] >= 0.9
    assert scores[2, "columns", "accuracy"] >= 0.9


def test_the_line_between_two_checkpoints_is_measured(run: Path, folders: list[str], tmp_path: Path) -> None:
    out = tmp_path / "line"
    command = ["evaluate", *ends(run), "--tasks", *folders, "--num-points", "3", "--quiet", "--output-dir", str(out)]
    assert main(command) == 0
    profile = read_csv(out / "profile.csv").set_index(["task", "t"])["score"]
    scores = read_csv(run / "scores.csv").set_index(["after_task", "task", "metric"])["score"]
    assert profile["rows", 0.0] == scores[1, "rows", "accuracy"]
    assert profile["columns", 1.0] == scores[2, "columns", "accuracy"]
    assert json.loads((out / "run.json").read_text())["facts"]["image_processor"]["size"] == {"height": 8, "width": 8}
    lost = read_csv(out / "lost_examples.csv")
    assert lost.loc[lost["task"] == "rows", "prompt"].str.fullmatch(r"(top|bottom)/\d+\.png").all()
    assert len(lost)


def test_a_dry_run_counts_the_positions_of_images(
    run: Path, folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", *ends(run), "--tasks", *folders, "--dry-run", "--output-dir", str(tmp_path / "line")]
    assert main(command) == 0
    assert f"tokens a point, padding included  {2 * 24 * 5}\n" in capsys.readouterr().out


def test_representations_of_images_are_compared(run: Path, folders: list[str], tmp_path: Path) -> None:
    command = ["cka", *ends(run), "--tasks", folders[0], "--pooling", "mean", "--num-points", "2", "--quiet"]
    assert main([*command, "--output-dir", str(tmp_path / "cka")]) == 0
    table = read_csv(tmp_path / "cka" / "cka.csv").set_index(["layer", "t"])["cka"]
    assert table["layers.1", 0.0] == pytest.approx(1.0)
    assert table["layers.1", 1.0] < 0.999


def test_a_merged_point_keeps_the_image_processor(run: Path, folders: list[str], tmp_path: Path) -> None:
    fitted, merged = tmp_path / "fit", tmp_path / "merged"
    command = ["fit", *ends(run), "--tasks", *folders, "--num-steps", "2", "--quiet"]
    assert main([*command, "--output-dir", str(fitted)]) == 0
    assert main(["export", "--path", str(fitted), "--t", "0.5", "--merged", "--output-dir", str(merged)]) == 0
    assert (merged / "preprocessor_config.json").exists()
    assert main(["inspect", str(merged)]) == 0


def test_texts_and_a_model_of_images_do_not_go_together(
    run: Path, task_folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", *ends(run), "--tasks", *task_folders, "--quiet", "--output-dir", str(tmp_path / "line")]
    assert main(command) == 1
    assert "the task first cannot be given to this model\n  expected: a task of images" in capsys.readouterr().err


def test_the_embedded_digits_train_on_the_embedded_model(tmp_path: Path) -> None:
    tasks = [str(DATA / "digits" / name) for name in ("01", "23")]
    command = ["train", "--base-model", str(DATA / "vit"), "--tasks", *tasks, "--output-dir", str(tmp_path / "run")]
    assert main([*command, *SHORT, "--num-train-epochs", "2", "--learning-rate", "3e-3"]) == 0
    scores = read_csv(tmp_path / "run" / "scores.csv").set_index(["after_task", "task", "metric"])["score"]
    assert scores[1, "digits-01", "accuracy"] > 0.9
    assert scores[0, "digits-01", "accuracy"] < 0.5  # one head over four classes, not trained yet

"""A tokenizer beside a checkpoint comes along with every point that is made from it, also in Python."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny import make_base, make_tokenizer
from transformers import AutoTokenizer, LlamaForCausalLM

import modeconn as mc
from modeconn.adapters.truncating import truncated
from modeconn.models.exporting import export_merged

NEW = ["<new>", "<newer>"]
TEXT = "the cat <new> sat <newer>"
POINTS = {
    "an unchanged checkpoint": lambda a, b: a,  # noqa: ARG005
    "a line": lambda a, b: mc.LinearPath(a, b)(0.3),
    "a line in factors": lambda a, b: mc.LinearPath(a, b, space="factors")(0.3),
    "a line in aligned factors": lambda a, b: mc.LinearPath(a, b, space="aligned-factors")(0.3),
    "arithmetic": lambda a, b: a + 0.5 * (b - a),
    "a lower rank": lambda a, b: truncated(mc.LinearPath(a, b)(0.3), 2)[0],
    "a bend": lambda a, b: mc.BezierCurve.between(a, b).points[1],
    "another's head": lambda a, b: mc.LinearPath(a, b, heads="shared")(0.3),
    "another gauge": lambda a, b: mc.regauge(a, seed=0),  # noqa: ARG005
}
pytestmark = pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`")


def tokenizer(words: list[str]) -> Any:
    """The tokenizer of a tiny Llama with some words more."""
    made = make_tokenizer("llama")
    made.add_tokens(words)
    return made


@pytest.fixture(scope="module")
def grown(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters whose vocabulary grew by two words in training, their tokenizers beside them."""
    root = tmp_path_factory.mktemp("grown")
    for seed in (1, 2):
        torch.manual_seed(seed)
        model: Any = LlamaForCausalLM.from_pretrained(bases("llama"))
        model.resize_token_embeddings(28, mean_resizing=False)
        model.name_or_path = str(bases("llama"))
        config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        get_peft_model(model, config).save_pretrained(str(root / str(seed)))
        tokenizer(NEW).save_pretrained(root / str(seed))
    return [root / "1", root / "2"]


def read(folder: Path) -> list[int]:
    """How a folder's tokenizer reads the text."""
    return AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]


@pytest.mark.parametrize("how", POINTS)
def test_a_saved_point_has_it(how, grown, tmp_path):
    point = POINTS[how](*map(mc.Adapter.from_pretrained, grown))
    assert read(point.save_pretrained(tmp_path / "out")) == tokenizer(NEW)(TEXT)["input_ids"]


def test_a_merged_model_whose_vocabulary_grew_has_it(grown, tmp_path):
    point = mc.LinearPath(*map(mc.Adapter.from_pretrained, grown))(0.3)
    assert read(export_merged(point, tmp_path / "out")) == tokenizer(NEW)(TEXT)["input_ids"]


def test_a_model_that_is_loaded_for_a_point_has_it(grown):
    point = mc.LinearPath(*map(mc.Adapter.from_pretrained, grown))(0.3)
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    assert model.tokenizer(TEXT)["input_ids"] == tokenizer(NEW)(TEXT)["input_ids"]


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_the_only_one_is_found_wherever_it_is(space, grown, tmp_path):
    """It lies beside the end, not the start."""
    start = shutil.copytree(grown[0], tmp_path / "start", ignore=shutil.ignore_patterns("*token*"))
    ends = [mc.Adapter.from_pretrained(folder) for folder in (start, grown[1])]
    saved = mc.LinearPath(*ends, space=space)(0.3).save_pretrained(tmp_path / "out")
    assert read(saved) == tokenizer(NEW)(TEXT)["input_ids"]


def test_of_two_that_of_the_first_point_is_taken(grown, tmp_path):
    other = Path(shutil.copytree(grown[1], tmp_path / "other"))
    tokenizer(NEW[::-1]).save_pretrained(other)
    ends = [mc.Adapter.from_pretrained(folder) for folder in (grown[0], other)]
    for number, path in enumerate((mc.LinearPath(*ends), mc.LinearPath(*ends[::-1]))):
        found = read(path(0.9).save_pretrained(tmp_path / str(number)))
        assert found == read(Path(path.start.sources[0]))
    assert read(tmp_path / "0") != read(tmp_path / "1")


def test_a_point_that_does_not_count_gives_none(grown):
    """The function of `1 a + 0 b` is a's."""
    a, b = (mc.Adapter.from_pretrained(folder) for folder in grown)
    assert (a + 0.0 * b).sources == a.sources == (grown[0],)


def test_a_checkpoint_without_one_is_saved_without(adapters, tmp_path):
    ends = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]
    saved = mc.LinearPath(*ends)(0.3).save_pretrained(tmp_path / "out")
    assert {file.name for file in saved.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}


def test_a_folder_that_has_vanished_is_done_without(adapters, tmp_path):
    folder = Path(shutil.copytree(adapters("llama", 1), tmp_path / "a"))
    make_tokenizer("llama").save_pretrained(folder)
    point = mc.Adapter.from_pretrained(folder)
    shutil.rmtree(folder)
    saved = point.save_pretrained(tmp_path / "out")
    assert not list(saved.glob("tokenizer*"))


def test_a_folder_is_written_over_with_its_own(grown, tmp_path):
    folder = Path(shutil.copytree(grown[0], tmp_path / "a"))
    saved = mc.Adapter.from_pretrained(folder).save_pretrained(folder)
    assert read(saved) == tokenizer(NEW)(TEXT)["input_ids"]


def test_one_file_a_task_has_that_of_its_folder(adapters, tmp_path):
    folder = Path(shutil.copytree(adapters("llama", 1), tmp_path / "a"))
    tokenizer(NEW).save_pretrained(folder)
    tensors = mc.Adapter.from_pretrained(folder).tensors
    torch.save(dict(tensors), folder / "lora_first.pt")
    saved = mc.Adapter.from_pretrained(folder / "lora_first.pt").save_pretrained(tmp_path / "out")
    assert read(saved) == tokenizer(NEW)(TEXT)["input_ids"]


def test_a_full_fine_tune_in_the_order_of_another_keeps_its_own(tmp_path):
    folders = [make_base(tmp_path / str(seed), "llama", seed=seed) for seed in (1, 2)]
    first, second = map(mc.Adapter.from_pretrained, folders)
    assert mc.matched(first, to=second)[0].sources == (folders[0],)

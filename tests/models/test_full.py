"""Full fine-tunes in a model: what transformers loads at the ends, and the mean of the weights between them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from peft_oracle import load_base, load_peft, logits, updates
from random_tasks import random_task
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, LABELS, make_adapter, make_base
from transformers import LlamaForCausalLM

import modeconn as mc
from modeconn.errors import AdapterError, ModelError
from modeconn.models.loading import quiet_peft
from modeconn.models.placing import placed

DTYPES = {"float64": torch.float64, "float32": torch.float32, "bfloat16": torch.bfloat16}
TOLERANCES = {"llama": 1e-9, "gpt2": 1e-9, "bert": 1e-6, "t5": 1e-9}  # heads are combined in float32
Folder = Callable[[str, int], Path]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """Folders of full fine-tunes by family and seed, made once; not to be changed."""
    made: dict[tuple[str, int], Path] = {}

    def folder(family: str, seed: int) -> Path:
        if (family, seed) not in made:
            made[family, seed] = make_base(tmp_path_factory.mktemp(family) / f"full-{seed}", family, seed=seed)
        return made[family, seed]

    return folder


@pytest.fixture(scope="module")
def pair(full: Folder) -> Callable[[str], list[mc.Adapter]]:
    """Two full fine-tunes of a family."""
    return lambda family: [mc.Adapter.from_pretrained(full(family, seed)) for seed in (5, 6)]


def task_for(family: str) -> mc.Task:
    return random_task(labels=LABELS if family == "bert" else None)


def model_for(
    family: str, points: list[mc.Adapter], base: Path, dtype: str = "float64", *, packed: bool | None = None
) -> mc.AdapterModel:
    return mc.AdapterModel.from_pretrained(
        base, adapters=points, dtype=dtype, labels=LABELS if family == "bert" else None, packed=packed
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_end_is_the_checkpoint_to_the_last_bit(family, dtype, pair, bases, full):
    points = pair(family)
    model = model_for(family, points, bases(family), dtype)
    with model.at(points[0]) as module:
        found = logits(module)
    assert torch.equal(found, logits(load_base(family, full(family, 5), DTYPES[dtype])))


@pytest.mark.parametrize("family", FAMILIES)
def test_between_two_the_weights_are_combined_and_the_base_has_no_part(family, pair, bases, full):
    points = pair(family)
    expected = load_base(family, full(family, 5))
    other = dict(load_base(family, full(family, 6)).named_parameters())
    with torch.no_grad():
        for name, parameter in expected.named_parameters():
            parameter.mul_(0.75).add_(other[name], alpha=0.25)
    for base in (bases(family), full(family, 6)):
        with model_for(family, points, base).at(mc.LinearPath(*points)(0.25)) as module:
            torch.testing.assert_close(logits(module), logits(expected), rtol=0, atol=TOLERANCES[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pair_passes_the_gate_and_distances_are_those_of_the_weights(family, pair, bases, full):
    points = pair(family)
    model = model_for(family, points, bases(family), "float32", packed=False)  # the reference is padded
    profile = mc.evaluate_path(mc.LinearPath(*points), model, [task_for(family)], num_points=3)
    assert all(value == 0 for value in profile.checks["full-5 -> full-6"]["ends_agree_with_peft_within"].values())
    one, two = (dict(load_base(family, full(family, seed)).named_parameters()) for seed in (5, 6))
    expected = sum(float((one[name] - two[name]).detach().square().sum()) for name in one) ** 0.5
    np.testing.assert_allclose(profile.frame["distance"], [0, expected / 2, expected], rtol=1e-5)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_full_fine_tune_and_an_adapter_of_one_base_are_a_pair(family, full, bases, adapters):
    full_point = mc.Adapter.from_pretrained(full(family, 5))
    adapter = adapters(family, seed=1)
    points = [full_point, mc.Adapter.from_pretrained(adapter)]
    expected = load_base(family, bases(family))
    base, changes = (
        dict(load_base(family, bases(family)).named_parameters()),
        updates(load_peft(family, bases(family), adapter)),
    )
    saved = dict(points[1].saved)
    other = dict(load_base(family, full(family, 5)).named_parameters())
    with torch.no_grad():
        for name, parameter in expected.named_parameters():
            end = saved[name].double() if name in saved else base[name] + changes.get(name, 0)
            parameter.copy_(0.25 * other[name] + 0.75 * end)
    model = model_for(family, points, bases(family))
    with model.at(mc.LinearPath(*points)(0.75)) as module:
        torch.testing.assert_close(logits(module), logits(expected), rtol=0, atol=TOLERANCES[family])
    profile = mc.evaluate_path(mc.LinearPath(*points), model, [task_for(family)], num_points=2)
    assert max(next(iter(profile.checks.values()))["ends_agree_with_peft_within"].values()) < 1e-8


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Llamas with a tied head, made once; not to be changed."""
    root = tmp_path_factory.mktemp("tied")
    folders = [make_base(root / f"tied-{seed}", "llama", seed=seed, tie_word_embeddings=True) for seed in range(3)]
    return lambda seed: folders[seed]


def test_tied_weights_move_together(tied):
    base, points = tied(0), [mc.Adapter.from_pretrained(tied(seed)) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(base, adapters=points)
    with model.at(mc.LinearPath(*points)(0.5)) as module:
        head, table = module.lm_head.weight, module.model.embed_tokens.weight
        assert head.data_ptr() == table.data_ptr()
        mean = sum(load_file(tied(seed) / "model.safetensors")["model.embed_tokens.weight"] for seed in (1, 2)) / 2
        torch.testing.assert_close(table.data, mean)


def test_beside_an_adapter_of_the_embedding_the_head_moves_with_the_full_fine_tune_only(tied, tmp_path):
    """PEFT keeps the tied head where it was; the full fine-tune's share of the point moves it."""
    base = tied(0)
    with quiet_peft():
        adapter = make_adapter(tmp_path / "adapter", base, "llama", seed=4, target_modules=["embed_tokens"])
    points = [mc.Adapter.from_pretrained(tied(1)), mc.Adapter.from_pretrained(adapter)]
    model = mc.AdapterModel.from_pretrained(base, adapters=points)
    name = "model.embed_tokens.weight"
    before, after = (load_file(tied(seed) / "model.safetensors")[name] for seed in (0, 1))
    with model.at(mc.LinearPath(*points)(0.25)) as module:
        torch.testing.assert_close(module.lm_head.weight.data, 0.75 * after + 0.25 * before)
        change = points[1].updates[name].dense()
        torch.testing.assert_close(module.model.embed_tokens.weight.data, 0.75 * after + 0.25 * (before + change))


def test_a_base_that_keeps_apart_what_is_tied_is_refused(tied, bases):
    expected = (
        r"tied-1 and the base model .* are not of one architecture\n  expected: .* a tensor for every weight .*\n"
        r"  got: none for lm_head.weight \(it is model.embed_tokens.weight there\)\n  remedy: give the base"
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(bases("llama"), adapters=[mc.Adapter.from_pretrained(tied(1))])


def test_a_base_with_more_layers_is_refused(full, tmp_path):
    deep = make_base(tmp_path / "deep", "llama", num_hidden_layers=3)
    with pytest.raises(
        ModelError, match=r"not of one architecture\n.*\n  got: none for model.layers.2.input_layernorm"
    ):
        mc.AdapterModel.from_pretrained(deep, adapters=[mc.Adapter.from_pretrained(full("llama", 5))])


def test_a_checkpoint_without_a_head_keeps_the_bases(bases, full, tmp_path):
    LlamaForCausalLM.from_pretrained(full("llama", 5)).model.save_pretrained(tmp_path / "bare")
    point = mc.Adapter.from_pretrained(tmp_path / "bare")
    expected = load_base("llama", full("llama", 5))
    expected.lm_head.weight.data.copy_(load_base("llama", bases("llama")).lm_head.weight.data)
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], dtype="float64")
    with model.at(point) as ours, model.reference(point) as theirs:
        assert torch.equal(logits(ours), logits(expected))
        assert torch.equal(logits(theirs), logits(expected))


def test_of_full_fine_tunes_that_name_no_base_the_first_serves(pair, full):
    points = pair("llama")
    assert mc.AdapterModel.from_pretrained(adapters=points).base_name == str(full("llama", 5))


def test_the_base_that_the_config_names_is_taken(full, bases, tmp_path):
    copy = Path(shutil.copytree(full("llama", 5), tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"_name_or_path": str(bases("llama"))}))
    model = mc.AdapterModel.from_pretrained(adapters=[mc.Adapter.from_pretrained(copy)])
    assert model.base_name == str(bases("llama"))


def test_differences_need_no_base(pair):
    a, b = pair("llama")
    expected = {name: (b.updates[name].parts[0].whole() - part.parts[0].whole()) for name, part in a.updates.items()}
    for name, update in (b - a).updates.items():
        torch.testing.assert_close(update.dense(), expected[name])
    norm = sum(float(value.square().sum()) for value in expected.values()) ** 0.5
    assert (b - a).norm() == pytest.approx(norm, rel=1e-5)


def test_the_size_of_a_checkpoint_needs_the_base(pair, bases, full):
    point = pair("llama")[0]
    with pytest.raises(
        AdapterError, match=r"the weight update of Replacement is a function of the base model's weights"
    ):
        point.norm()
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])
    one, two = (load_file(folder / "model.safetensors") for folder in (full("llama", 5), bases("llama")))
    expected = sum(float((one[name] - two[name]).square().sum()) for name in one) ** 0.5
    assert point.on(model).norm() == pytest.approx(expected, rel=1e-5)


def test_a_full_fine_tune_is_not_saved_as_an_adapter(pair, tmp_path):
    expected = (
        r"cannot save full-5 as an adapter\n  expected: changes that an adapter can hold\n"
        r"  got: the weights of a full fine-tune\n  remedy: write a full model, export_merged"
    )
    with pytest.raises(AdapterError, match=expected):
        pair("llama")[0].save_pretrained(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_a_nan_is_found_when_the_point_is_placed_and_the_model_stays_as_it_was(full, bases, tmp_path, state):
    copy = Path(shutil.copytree(full("llama", 5), tmp_path / "copy"))
    tensors = load_file(copy / "model.safetensors")
    tensors["model.layers.1.mlp.up_proj.weight"][0, 0] = torch.inf
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    point = mc.Adapter.from_pretrained(copy)
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])
    before = state(model.module)
    with pytest.raises(AdapterError, match="holds NaN or infinite values"), placed(model.module, point):
        pytest.fail("a point with an infinite number was placed")
    assert state(model.module) == before

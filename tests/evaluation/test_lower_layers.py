"""Layers that no point changes run once for all points: the same numbers, from fewer passes."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from evaluation_tasks import make_task
from safetensors.torch import load_file, save_file
from tiny import FAMILIES, LABELS, VOCABULARY, make_adapter, make_base, make_tokenizer
from torch import nn
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

import modeconn as mc
from modeconn.evaluation import records
from modeconn.models import unchanged_layers
from modeconn.models.last_layer import layers_of
from modeconn.models.lower_layers import LowerLayers
from modeconn.models.unchanged_layers import lower_layers
from modeconn.tasks.encoding import EncodingSettings

SIZE: dict[str, dict[str, int]] = {
    "llama": {"num_hidden_layers": 4},
    "gpt2": {"n_layer": 4},
    "bert": {"num_hidden_layers": 4},
}
UPPER = {"layers_to_transform": [2, 3]}
SMALL = EncodingSettings(token_budget=80)
POSITIONS = (0.0, 0.25, 1.0)


def read(folder: Path, family: str, **settings: Any) -> list[mc.Adapter]:
    base = make_base(folder / "base", family, **SIZE[family])
    return [
        mc.Adapter.from_pretrained(make_adapter(folder / str(seed), base, family, seed=seed, **settings))
        for seed in (1, 2)
    ]


def counted(model: mc.AdapterModel) -> list[int]:
    """How often each layer's attention has run, from now on: a layer that is left out calls none."""
    layers = layers_of(model.module)
    assert layers is not None
    counts = [0] * len(layers)

    def count(number: int) -> None:
        counts[number] += 1

    for number, layer in enumerate(layers):
        norm = next(one for one in layer.modules() if isinstance(one, nn.LayerNorm) or "RMSNorm" in type(one).__name__)
        norm.register_forward_hook(lambda *_, number=number: count(number))
    return counts


def losses(points: list[mc.Adapter], model: mc.AdapterModel, positions: tuple[float, ...] = POSITIONS) -> pd.DataFrame:
    path = mc.PolygonalChain(points).on(model)
    encoded = [model.encode(make_task("first", 0), settings=SMALL)]
    assert len(encoded[0].batches) > 2
    return pd.concat(list(records.Records(path, model, encoded).at(positions)), ignore_index=True)


def plain(
    points: list[mc.Adapter],
    model: mc.AdapterModel,
    monkeypatch: pytest.MonkeyPatch,
    positions: tuple[float, ...] = POSITIONS,
) -> pd.DataFrame:
    """The same with all layers at every point."""
    with monkeypatch.context() as patch:
        patch.setattr(records, "lower_layers", lambda *_: None)
        return losses(points, model, positions)


@pytest.mark.parametrize("packed", [None, False], ids=["packed", "padded"])
@pytest.mark.parametrize("family", SIZE)
def test_adapters_of_upper_layers_give_the_same_bits_from_fewer_passes(
    tmp_path: Path, family: str, packed: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = read(tmp_path, family, **UPPER)
    model = mc.AdapterModel.from_pretrained(adapters=points, packed=packed)
    before = {name: weight.clone() for name, weight in model.module.named_parameters()}
    expected = plain(points, model, monkeypatch)
    counts = counted(model)
    found = losses(points, model)
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    batches = len(model.encode(make_task("first", 0), settings=SMALL).batches)
    assert counts[:2] == [batches + 1] * 2  # one batch is compared with all layers
    assert counts[2] == batches * len(POSITIONS) + 1
    assert all(torch.equal(weight, before[name]) for name, weight in model.module.named_parameters())
    assert not any("forward" in vars(layer) for layer in layers_of(model.module) or ())


def test_a_head_alone_leaves_out_all_layers_but_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = read(tmp_path, "bert", layers_to_transform=[3], modules_to_save=["classifier"])
    points = [replace(point, updates={}) for point in points]
    model = mc.AdapterModel.from_pretrained(tmp_path / "base", adapters=points, packed=False)
    expected = plain(points, model, monkeypatch)
    counts = counted(model)
    pd.testing.assert_frame_equal(losses(points, model), expected, check_exact=True)
    assert counts[2] < counts[3]


def full(folder: Path, base: Path, *, seed: int, first: int) -> mc.Adapter:
    """A full fine-tune in which the layers from a number on, the last norm and the head were trained."""
    torch.manual_seed(seed)
    model: Any = FAMILIES["llama"](**SIZE["llama"]).from_pretrained(base, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        frozen = "embed" in name or any(f"layers.{number}." in name for number in range(first))
        parameter.data.add_(0.0 if frozen else 0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return mc.Adapter.from_pretrained(folder)


def test_frozen_layers_of_full_fine_tunes_are_known_by_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path / "base", "llama", **SIZE["llama"])
    points = [full(tmp_path / str(seed), base, seed=seed, first=4 - seed) for seed in (1, 2)]
    model = mc.AdapterModel.from_pretrained(base, adapters=points)
    shared = lower_layers(model, points)
    assert shared is not None
    assert len(shared.layers) == 2  # of the one that trained more
    expected = plain(points, model, monkeypatch)
    counts = counted(model)
    found = losses(points, model)
    assert counts[1] < counts[2]
    # What no point changes is now the base's own, where a sum of equal weights was rounded before.
    pd.testing.assert_frame_equal(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("moved", ["lm_head.weight", "model.embed_tokens.weight"])
def test_weights_that_the_base_ties_and_the_fine_tunes_do_not_stay_apart(
    tmp_path: Path, moved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = make_base(tmp_path / "base", "llama", **SIZE["llama"], tie_word_embeddings=True)
    points = []
    for seed in (1, 2):
        full(tmp_path / str(seed), base, seed=seed, first=3)
        file, config = tmp_path / str(seed) / "model.safetensors", tmp_path / str(seed) / "config.json"
        tensors = load_file(file)
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        tensors[moved] += torch.randn_like(tensors[moved])
        save_file(tensors, file, metadata={"format": "pt"})
        config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": False}))
        points.append(mc.Adapter.from_pretrained(tmp_path / str(seed)))
    model = mc.AdapterModel.from_pretrained(base, adapters=points)
    found = losses(points, model)
    pd.testing.assert_frame_equal(found, plain(points, model, monkeypatch), rtol=1e-6, atol=1e-6)


def test_weights_that_only_rounding_leaves_as_they_are_count_as_changed(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama", **SIZE["llama"])
    points = []
    for seed in (1, 2):
        full(tmp_path / str(seed), base, seed=seed, first=3)
        file = tmp_path / str(seed) / "model.safetensors"
        tensors = load_file(file)
        weight = load_file(base / "model.safetensors")["model.norm.weight"]  # 3, which bf16 holds
        tensors["model.norm.weight"] = weight * (1 + (-1) ** seed * 2.0**-10)  # a combination of both may be elsewhere
        save_file(tensors, file, metadata={"format": "pt"})
        points.append(mc.Adapter.from_pretrained(tmp_path / str(seed)))
    shared = lower_layers(mc.AdapterModel.from_pretrained(base, adapters=points, dtype="bfloat16"), points)
    assert shared is not None
    assert "model.norm.weight" not in shared.unchanged


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"target_modules": r".*(embed_tokens|layers\.[23]\.self_attn\.q_proj)"},
        {"modules_to_save": ["embed_tokens"], **UPPER},
        {"layers_to_transform": [0, 3]},
    ],
    ids=["all layers", "embedding", "saved embedding", "first layer"],
)
def test_what_changes_below_is_computed_at_every_point(
    tmp_path: Path, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    points = read(tmp_path, "llama", **settings)
    model = mc.AdapterModel.from_pretrained(adapters=points)
    expected = plain(points, model, monkeypatch)
    counts = counted(model)
    pd.testing.assert_frame_equal(losses(points, model), expected, check_exact=True)
    assert counts[0] == counts[3] or counts[0] * 2 == counts[3]  # the last runs twice where rows are packed


def linked(model: mc.AdapterModel) -> None:
    """Let the last layer read what the first one was given last, beside the states that are handed up."""
    layers, seen = layers_of(model.module), {}
    assert layers is not None

    def keep(_: nn.Module, __: Any, states: torch.Tensor) -> None:
        seen["mean"] = states.mean()

    def add(_: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0] + seen["mean"], *args[1:])

    layers[0].self_attn.o_proj.register_forward_hook(keep)
    layers[3].register_forward_pre_hook(add)


def test_layers_that_hand_up_more_than_states_run_at_every_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = read(tmp_path, "llama", **UPPER)
    model = mc.AdapterModel.from_pretrained(adapters=points, packed=False)
    expected = losses(points, model)
    linked(model)
    changed = plain(points, model, monkeypatch)
    assert not changed["loss_sum"].equals(expected["loss_sum"])
    pd.testing.assert_frame_equal(losses(points, model), changed, check_exact=True)


def deberta(folder: Path, base: Path, *, seed: int, trained: tuple[str, ...]) -> mc.Adapter:
    """A full fine-tune of these parameters."""
    torch.manual_seed(seed)
    model = DebertaV2ForSequenceClassification.from_pretrained(base, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        parameter.data.add_(0.5 * torch.randn_like(parameter) if any(one in name for one in trained) else 0.0)
    model.save_pretrained(folder)
    return mc.Adapter.from_pretrained(folder)


def test_weights_that_lower_layers_read_elsewhere_are_never_taken_for_later_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layers of DeBERTa read an embedding's weight, which is never called; here it moves late on the path."""
    sizes: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_labels": 3}
    relative: dict[str, Any] = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"], "position_buckets": 8}
    torch.manual_seed(0)
    config = DebertaV2Config(vocab_size=len(VOCABULARY), pad_token_id=0, num_attention_heads=2, **sizes, **relative)
    base = tmp_path / "base"
    DebertaV2ForSequenceClassification(config).save_pretrained(base)
    make_tokenizer("bert").save_pretrained(base)
    upper = ("layer.2", "classifier")
    trained = [upper, upper, (*upper, "rel_embeddings")]
    points = [deberta(tmp_path / f"{seed}", base, seed=seed, trained=one) for seed, one in enumerate(trained)]
    model = mc.AdapterModel.from_pretrained(base, adapters=points, labels=LABELS)
    positions = (0.0, 0.25, 0.5, 1.0)
    expected = plain(points, model, monkeypatch, positions)
    pd.testing.assert_frame_equal(losses(points, model, positions), expected, rtol=1e-6, atol=1e-6)


def test_what_is_kept_stays_within_its_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = read(tmp_path, "llama", **UPPER)
    model = mc.AdapterModel.from_pretrained(adapters=points)
    expected = plain(points, model, monkeypatch)
    batches = model.encode(make_task("first", 0), settings=SMALL).batches
    first = batches[0].num_tokens * 16 * 4  # width 16, float32
    monkeypatch.setattr(unchanged_layers, "_LEAST_ROOM", first)
    counts = counted(model)
    pd.testing.assert_frame_equal(losses(points, model), expected, check_exact=True)
    assert counts[0] == 1 + len(POSITIONS) * len(batches) - 2  # one batch at one point, and the check


@pytest.mark.parametrize("number", [1, 2], ids=["where they are compared", "afterwards"])
def test_memory_that_runs_out_is_taken_from_what_is_kept(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = read(tmp_path, "llama", **UPPER)
    model = mc.AdapterModel.from_pretrained(adapters=points)
    expected = plain(points, model, monkeypatch)
    kept: list[int] = []
    own = LowerLayers._left_out

    def full(self: LowerLayers, given: Any) -> Any:
        kept.append(len(self._kept))
        if len(kept) == number:
            raise torch.OutOfMemoryError("none left")
        return own(self, given)

    monkeypatch.setattr(LowerLayers, "_left_out", full)
    counts = counted(model)
    pd.testing.assert_frame_equal(losses(points, model), expected, check_exact=True)
    assert len(kept) == number
    assert kept[-1] > 0
    batches = len(model.encode(make_task("first", 0), settings=SMALL).batches)
    assert counts[2] == batches * len(POSITIONS) + number - 1  # no batch was read in halves


def test_nothing_is_kept_under_a_limit_of_the_memory(tmp_path: Path) -> None:
    points = read(tmp_path, "llama", **UPPER)
    model = mc.AdapterModel.from_pretrained(adapters=points, max_memory="1GiB")
    assert lower_layers(model, points) is None


def test_points_are_compared_once_they_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points, calls = read(tmp_path, "llama", **UPPER), []
    model = mc.AdapterModel.from_pretrained(adapters=points)
    monkeypatch.setattr(records, "lower_layers", lambda *given: calls.append(given))
    mc.evaluate_path(mc.LinearPath(*points), model, [make_task("first", 0)], num_points=3, check=False)
    assert len(calls) == 1

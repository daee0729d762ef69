"""Activations of image classifiers: those that transformers gives, whatever the layout of a stage."""

import numpy as np
import pytest
import torch
from tiny_images import LABELS, image_task, make_vit, processor_of
from transformers import ConvNextConfig, ConvNextForImageClassification, SwinConfig, SwinForImageClassification

import modeconn as mc
from modeconn.errors import EvaluationError
from modeconn.models.activations import activations
from modeconn.models.inputs import read_inputs
from modeconn.similarity.reports import cka_between
from modeconn.similarity.settings import CKASettings


def make_swin(folder):
    config = SwinConfig(
        image_size=8, patch_size=2, num_channels=1, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=2,
        num_labels=3,
    )  # fmt: skip
    return SwinForImageClassification(config), folder


def make_convnext(folder):
    config = ConvNextConfig(
        num_channels=1, patch_size=2, hidden_sizes=[4, 8], depths=[1, 1], num_stages=2, num_labels=3
    )
    config.image_size = 8
    return ConvNextForImageClassification(config), folder


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    found = {}

    def load(kind):
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind)
            if kind == "vit":
                make_vit(folder)
            else:
                torch.manual_seed(0)
                model, _ = {"swin": make_swin, "convnext": make_convnext}[kind](folder)
                model.save_pretrained(folder)
                processor_of(8, 1).save_pretrained(folder)
            found[kind] = mc.AdapterModel.from_pretrained(
                folder, task_type="IMAGE_CLASSIFICATION", labels=LABELS[:3], dtype="float64"
            )
        return found[kind]

    return load


def hidden_states(model, inputs):
    """Those of transformers, one image at a time, as `[L, D]` each."""
    states = []
    for row in inputs.rows:
        batch = model.family.collate([row], 0)
        found = model.module(
            pixel_values=batch.inputs["pixel_values"].to(model.dtype), output_hidden_states=True
        ).hidden_states
        states.append([one[0] if one.ndim == 3 else one[0].flatten(1).T for one in found])
    return states  # [N][S]


@pytest.mark.parametrize("kind", ["vit", "swin", "convnext"])
def test_means_are_those_of_the_hidden_states(kind, loaded):
    model = loaded(kind)
    inputs = read_inputs(model, image_task("t"), num_examples=5)
    found = activations(model, None, inputs, pooling="mean", token_budget=20)
    with torch.no_grad():
        wanted = [torch.stack([one[site].mean(0) for one in hidden_states(model, inputs)]) for site in (0, -1)]
    sites = list(found.features)
    assert len(sites) == 3
    torch.testing.assert_close(found.features[sites[0]], wanted[0], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(found.features[sites[-1]], wanted[1], rtol=1e-9, atol=1e-12)


def test_the_class_token_is_the_first_position(loaded):
    model = loaded("vit")
    inputs = read_inputs(model, image_task("t"), num_examples=5)
    found = activations(model, None, inputs, pooling="cls")
    with torch.no_grad():
        wanted = torch.stack([one[-1][0] for one in hidden_states(model, inputs)])
    torch.testing.assert_close(found.features["layers.1"], wanted, rtol=1e-9, atol=1e-12)
    every = activations(model, None, inputs, pooling="all-tokens")
    assert every.num_rows == 5 * 5  # four patches and the class
    torch.testing.assert_close(every.features["layers.1"][::5], wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "pooling", "told"),
    [
        ("vit", "last-token", r'pooled by \'last-token\'.*expected: "cls", .*the last corner.*pooling="cls"'),
        ("swin", "cls", r'pooled by \'cls\'.*no token for the class.*a corner.*pooling="mean"'),
    ],
)
def test_corners_of_an_image_are_refused(kind, pooling, told, loaded):
    with pytest.raises(EvaluationError, match=f"(?s){told}"):
        cka_between(None, None, loaded(kind), image_task("t"), settings=CKASettings(pooling=pooling))


@pytest.mark.parametrize("kind", ["swin", "convnext"])
def test_positions_of_other_stages_are_left_out_of_single_ones(kind, loaded):
    model = loaded(kind)
    inputs = read_inputs(model, image_task("t"), num_examples=5)
    rows = {len(one) for one in activations(model, None, inputs, pooling="all-tokens").features.values()}
    assert rows == {5 * model.tokenizer.num_tokens}


def test_layers_of_an_image_model_are_like_themselves(loaded):
    frame = cka_between(None, None, loaded("swin"), image_task("t"), settings=CKASettings(pooling="mean")).frame
    own = frame[frame["layer"] == frame["layer_reference"]]
    assert own["cka"].to_numpy() == pytest.approx(np.ones(3))

"""The nearest adapter of a rank: torch's dense SVD, and what plain PEFT makes of the file, are the oracles."""

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft_oracle import load_base, load_peft, logits
from points import MODULES, make_point, make_tensors
from tiny import FAMILIES, LABELS, make_base

import modeconn as mc
from modeconn.adapters.full import FullModel
from modeconn.adapters.truncating import truncated
from modeconn.errors import AdapterError

Folder = Callable[[str], Path]


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A family's full fine-tune, made once; not to be changed."""
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = make_base(tmp_path_factory.mktemp("full") / "full", family, seed=5)
        return made[family]

    return folder


def nearest(change: torch.Tensor, rank: int) -> torch.Tensor:
    """The best approximation of a rank by torch's SVD."""
    left, values, right = torch.linalg.svd(change.double(), full_matrices=False)
    return (left[:, :rank] * values[:rank]) @ right[:rank]


@pytest.mark.parametrize("rank", [1, 3, 4])
def test_a_combination_of_adapters_is_truncated_as_torch_does(rank):
    line = mc.LinearPath(make_point(make_tensors(1)), make_point(make_tensors(2)))
    point = line(0.4)
    near, error = truncated(point, rank)
    lost = total = 0.0
    for name, update in point.updates.items():
        expected = nearest(update.dense(), rank)
        torch.testing.assert_close(near.updates[name].dense().double(), expected, rtol=0, atol=1e-5)
        lost += float((update.dense() - expected).square().sum())
        total += float(update.dense().double().square().sum())
        assert near.updates[name].rank == rank
    assert error == pytest.approx((lost / total) ** 0.5, abs=1e-6)


def test_the_full_rank_loses_nothing():
    point = mc.LinearPath(make_point(make_tensors(1)), make_point(make_tensors(2)))(0.4)
    near, error = truncated(point, 99)
    assert error == 0.0
    assert {name: update.rank for name, update in near.updates.items()} == {f"{name}.weight": 4 for name in MODULES}
    for name, update in point.updates.items():
        torch.testing.assert_close(near.updates[name].dense(), update.dense(), rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`")
@pytest.mark.parametrize(("rank", "tolerance"), [(99, 1e-3), (3, None)])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_full_fine_tune_becomes_an_adapter_that_peft_loads(family, rank, tolerance, full, bases, tmp_path):
    """Norms, biases and heads are saved whole; matrices, embeddings and GPT-2's turned ones as factors."""
    point = mc.Adapter.from_pretrained(full(family))
    near, error = truncated(point, rank, base=FullModel.open(bases(family)))
    near.save_pretrained(tmp_path / "near")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        theirs = logits(load_peft(family, bases(family), tmp_path / "near", torch.float32))
    if tolerance is not None:
        assert error < 1e-6
        assert (theirs - logits(load_base(family, full(family), torch.float32))).abs().max() < tolerance
    else:
        assert 0.1 < error < 1
    model = mc.AdapterModel.from_pretrained(bases(family), adapters=[near], labels=LABELS if family == "bert" else None)
    with model.at(mc.Adapter.from_pretrained(tmp_path / "near")) as module:
        assert (logits(module) - theirs).abs().max() < 1e-3


def test_the_matrices_of_a_full_fine_tune_are_truncated_as_torch_does(full, bases):
    near, error = truncated(mc.Adapter.from_pretrained(full("gpt2")), 2, base=FullModel.open(bases("gpt2")))
    one, two = (dict(load_base("gpt2", folder).named_parameters()) for folder in (full("gpt2"), bases("gpt2")))
    name = "transformer.h.1.mlp.c_fc.weight"  # stored as [in, out]
    expected = nearest((one[name] - two[name]).detach(), 2)
    torch.testing.assert_close(near.updates[name].dense().T.double(), expected, rtol=0, atol=1e-5)
    assert 0.1 < error < 1


def test_what_did_not_change_is_left_out(bases, tmp_path):
    """Of a model that was trained in one matrix only, that matrix is the adapter."""
    model = load_base("llama", bases("llama"), torch.float32)
    model.model.layers[0].mlp.up_proj.weight.data.add_(0.1)
    model.save_pretrained(tmp_path / "full")
    near, error = truncated(mc.Adapter.from_pretrained(tmp_path / "full"), 1, base=FullModel.open(bases("llama")))
    assert list(near.updates) == ["model.layers.0.mlp.up_proj.weight"]
    assert not near.saved
    assert error < 1e-4


def test_a_model_that_did_not_change_is_no_adapter(bases):
    expected = (
        r"cannot truncate base\n  expected: an update of a matrix\n  got: no matrix that changes\n  remedy: write"
    )
    with pytest.raises(AdapterError, match=expected):
        truncated(mc.Adapter.from_pretrained(bases("llama")), 1, base=FullModel.open(bases("llama")))


def test_without_the_base_a_full_fine_tune_has_no_update(full):
    expected = r"the weight update of lm_head.weight \(Replacement\) is a function of the base(?s:.*)take --base-model"
    with pytest.raises(AdapterError, match=expected):
        truncated(mc.Adapter.from_pretrained(full("llama")), 4)


def test_a_rank_below_one_is_refused():
    with pytest.raises(AdapterError, match=r"cannot truncate point\n  expected: a rank of at least 1\n  got: 0\n"):
        truncated(make_point(make_tensors(1)), 0)


def test_a_base_of_other_shapes_is_refused(full, tmp_path):
    wide = make_base(tmp_path / "wide", "llama", intermediate_size=48)
    expected = (
        r"full does not fit the base model .*\n(?s:.*)mlp.up_proj.weight \[32, 16\] for \[48, 16\](?s:.*)remedy: give"
    )
    with pytest.raises(AdapterError, match=expected):
        truncated(mc.Adapter.from_pretrained(full("llama")), 4, base=FullModel.open(wide))


def test_a_base_of_another_architecture_is_refused(full, bases):
    with pytest.raises(
        AdapterError, match=r"got: lm_head.weight \[26, 16\] for none|model.embed_tokens.weight \[26, 16\]"
    ):
        truncated(mc.Adapter.from_pretrained(full("llama")), 4, base=FullModel.open(bases("gpt2")))

"""Checkpoints from before training are refused, also where only the base tells that they change nothing."""

import json
import shutil

import peft
import pytest
import torch
from kind_oracle import make_kind
from peft import LoraConfig, get_peft_model
from peft_oracle import load_base
from safetensors.torch import load_file, save_file

import modeconn as mc
from modeconn.adapters.untrained import changes_nothing
from modeconn.cli.main import main
from modeconn.errors import AdapterError

NOTHING = (
    r"changes nothing\n  expected: a weight update that is not zero\n  got: \d+ updates \(\w+\), all zero against"
    r" this base, as they are before the first training step\n  remedy: give a trained checkpoint, or pass allow_zero"
)
pytestmark = pytest.mark.filterwarnings("ignore:Unsupported layer type")  # a norm of Llama


@pytest.fixture
def untrained(bases, tmp_path):
    """Folder of an adapter of a llama as PEFT saves it before the first step."""

    def folder(kind):
        if kind == "LN tuning":
            settings = {"target_modules": ["input_layernorm", "norm"]}
            return make_kind(
                tmp_path / kind, bases("llama"), "llama", peft.LNTuningConfig, seed=None, std=0, **settings
            )
        if kind == "tokens":
            config = peft.TrainableTokensConfig
            return make_kind(tmp_path / kind, bases("llama"), "llama", config, seed=None, std=0, token_indices=[4, 5])
        model = load_base("llama", bases("llama"), torch.float32)
        model.name_or_path = str(bases("llama"))
        config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=kind, task_type="CAUSAL_LM")
        get_peft_model(model, config).save_pretrained(str(tmp_path / kind))
        return tmp_path / kind

    return folder


@pytest.mark.parametrize("kind", ["pissa", "olora", "LN tuning", "tokens"])
def test_the_base_tells_that_a_checkpoint_is_not_trained(kind, untrained, bases):
    point = mc.Adapter.from_pretrained(untrained(kind))
    assert not point.is_zero  # nobody can tell yet
    with pytest.raises(AdapterError, match=NOTHING):
        mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])


@pytest.mark.parametrize("kind", ["pissa", "LN tuning"])
def test_it_may_be_used_where_that_is_wanted(kind, untrained, bases):
    point = mc.Adapter.from_pretrained(untrained(kind), allow_zero=True)
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])
    assert changes_nothing(point, model)


@pytest.mark.parametrize("kind", ["pissa", "olora", "LN tuning"])
def test_one_small_step_is_training(kind, untrained, bases, tmp_path):
    source = untrained(kind)
    moved = shutil.copytree(source, tmp_path / "moved")
    tensors = load_file(moved / "adapter_model.safetensors")
    name = sorted(tensors)[-1]
    save_file(tensors | {name: tensors[name] * 1.001}, moved / "adapter_model.safetensors")
    point = mc.Adapter.from_pretrained(moved)
    assert not changes_nothing(point, mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point]))


def test_a_norm_that_only_the_bases_rounding_moved_is_not_trained(untrained, bases):
    """In bfloat16 the copy of a norm in float32 is the base's own."""
    point = mc.Adapter.from_pretrained(untrained("LN tuning"))
    with pytest.raises(AdapterError, match=NOTHING):
        mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], dtype="bfloat16")


def test_a_full_model_that_is_the_base_is_an_end_like_any_other(bases):
    point = mc.Adapter.from_pretrained(bases("llama"))
    assert not changes_nothing(point, mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point]))


def test_inspect_says_so_with_the_base_only(untrained, bases, capsys):
    folder = str(untrained("pissa"))
    assert main(["inspect", folder, "--json"]) == 0
    assert not any("changes nothing" in note for note in json.loads(capsys.readouterr().out)["notes"])
    assert main(["inspect", folder, "--base-model", str(bases("llama")), "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["notes"]
    assert "pissa changes nothing: it was saved before training" in notes

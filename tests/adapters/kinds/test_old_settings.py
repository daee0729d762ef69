"""Adapters of every kind with the keys that PEFT 0.3 to 0.21 wrote, with fewer, and with keys that nobody knows."""

import json
import shutil

import peft
import pytest
from old_settings import ADDED, VERSIONS, keys_of, versions_of
from prompt_adapters import KINDS as PROMPTS
from prompt_adapters import make_prompt
from safetensors.torch import load_file, save_file

import modeconn as mc
from modeconn.errors import AdapterError

TARGETS = {"target_modules": ["q_proj", "down_proj"]}
# Settings at their defaults where the tiny model allows it: these are the ones that a file may leave out.
MADE = {
    "LORA": (peft.LoraConfig, TARGETS),
    "ADALORA": (peft.AdaLoraConfig, {**TARGETS, "total_step": 10}),
    "BOFT": (peft.BOFTConfig, TARGETS),
    "BONE": (peft.MissConfig, {**TARGETS, "r": 4}),
    "C3A": (peft.C3AConfig, {**TARGETS, "block_size": 8}),
    "DELORA": (peft.DeloraConfig, TARGETS),
    "FOURIERFT": (peft.FourierFTConfig, {**TARGETS, "n_frequency": 20}),
    "GRALORA": (peft.GraloraConfig, TARGETS),
    "HRA": (peft.HRAConfig, TARGETS),
    "IA3": (peft.IA3Config, {**TARGETS, "feedforward_modules": ["down_proj"]}),
    "LN_TUNING": (peft.LNTuningConfig, {"target_modules": ["input_layernorm"]}),
    "LOHA": (peft.LoHaConfig, TARGETS),
    "LOKR": (peft.LoKrConfig, TARGETS),
    "MISS": (peft.MissConfig, {**TARGETS, "r": 4}),
    "OFT": (peft.OFTConfig, {"target_modules": ["down_proj"]}),
    "RANDLORA": (peft.RandLoraConfig, TARGETS),
    "ROAD": (peft.RoadConfig, {**TARGETS, "group_size": 4}),
    "SHIRA": (peft.ShiraConfig, {**TARGETS, "r": 2}),
    "TRAINABLE_TOKENS": (peft.TrainableTokensConfig, {"token_indices": [4, 9]}),
    "VBLORA": (peft.VBLoRAConfig, {**TARGETS, "num_vectors": 6, "vector_length": 8}),
    "VERA": (peft.VeraConfig, TARGETS),
}
pytestmark = [
    pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension"),  # BOFT has a kernel of its own
    pytest.mark.filterwarnings("ignore:Setting boft_n_butterfly_factor to 1"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type"),  # a norm of Llama
]


@pytest.fixture(scope="session")
def made(bases, kinds, tmp_path_factory):
    """Folder of an adapter of a kind as the version at hand writes it."""
    folders = {}

    def folder(kind):
        if kind not in folders:
            place = tmp_path_factory.mktemp("now") / kind.lower()
            if kind in PROMPTS:
                folders[kind] = make_prompt(place, bases("llama"), "llama", kind, seed=1)
            else:
                config, settings = MADE[kind]
                folders[kind] = kinds("llama", config, 1, **settings)
        return folders[kind]

    return folder


def rewritten(source, folder, raw):
    """The same weights beside other settings; those of Bone under their old names."""
    shutil.copytree(source, folder)
    (folder / "adapter_config.json").write_text(json.dumps(raw))
    if raw["peft_type"] == "BONE":
        tensors = load_file(source / "adapter_model.safetensors")
        old = {name.replace("miss_block", "bone_block"): value for name, value in tensors.items()}
        save_file(old, folder / "adapter_model.safetensors")
    return mc.Adapter.from_pretrained(folder)


def settings_of(folder, kind):
    """What the version at hand wrote."""
    return json.loads((folder / "adapter_config.json").read_text()) | {"peft_type": kind}


@pytest.mark.parametrize("kind", [kind for kind in ADDED if kind != "BONE"])
def test_the_last_version_is_the_one_at_hand(kind, made):
    """The table has every key that PEFT writes today."""
    assert settings_of(made(kind), kind).keys() == keys_of(kind, VERSIONS[-1]).keys()


@pytest.mark.parametrize(
    ("kind", "version"),
    # Before 0.18 rotations were summed in another way, which is told (see test_oft).
    [(kind, version) for kind in ADDED for version in versions_of(kind) if (kind, version) != ("OFT", "0.16")],
)
def test_a_file_of_any_version_is_the_same_update(kind, version, made, tmp_path):
    source = made(kind)
    now, then = settings_of(source, kind), keys_of(kind, version)
    point = rewritten(source, tmp_path / "old", {key: now.get(key, value) for key, value in then.items()})
    assert point.fingerprint == mc.Adapter.from_pretrained(source).fingerprint


@pytest.mark.parametrize("kind", ADDED)
def test_a_file_without_the_settings_that_have_their_defaults_is_the_same_update(kind, made, tmp_path):
    source = made(kind)
    defaults = keys_of(kind, VERSIONS[-1])
    changed = {key: one for key, one in settings_of(source, kind).items() if one != defaults.get(key, ...)}
    assert len(changed) < len(defaults)
    point = rewritten(source, tmp_path / "cut", changed)
    assert point.fingerprint == mc.Adapter.from_pretrained(source).fingerprint


@pytest.mark.parametrize("kind", ADDED)
def test_a_setting_that_nobody_knows_is_refused_unless_it_is_empty(kind, made, tmp_path):
    source = made(kind)
    now = settings_of(source, kind)
    empty = rewritten(source, tmp_path / "empty", now | {"new_method": None, "new_scale": 0, "new_names": []})
    assert empty.fingerprint == mc.Adapter.from_pretrained(source).fingerprint
    with pytest.raises(AdapterError, match=r"(?s)weight update is not known.*got: new_method='other', new_scale=2"):
        rewritten(source, tmp_path / "new", now | {"new_method": "other", "new_scale": 2})

"""Base models from folders: the right class and dtype, and no weight left to chance."""

import json
import logging
import shutil
import time

import pytest
import torch
from evaluation_tasks import make_task
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from tiny import LABELS, make_adapter, make_base, make_tokenizer
from transformers import BertModel, GPT2Config, GPT2ForSequenceClassification, RobertaConfig
from transformers import RobertaForSequenceClassification as Roberta

import modeconn as mc
from modeconn.errors import ModelError
from modeconn.models.loading import as_dtype, guess_task_type, longest_input
from modeconn.models.sources import _may_be_on_hub


@pytest.fixture
def point(adapters):
    return mc.Adapter.from_pretrained(adapters("llama", seed=1))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_the_dtype_is_the_one_that_is_asked_for(dtype, bases):
    model = mc.AdapterModel.from_pretrained(bases("llama"), dtype=dtype)
    assert {parameter.dtype for parameter in model.module.parameters()} == {getattr(torch, dtype)}
    assert model.dtype == getattr(torch, dtype)


def test_an_unknown_dtype_lists_the_known_ones():
    expected = (
        r"unknown dtype 'int8'\n  expected: bfloat16, float16, float32, float64\n  got: 'int8'\n  remedy: use dtype="
    )
    with pytest.raises(ModelError, match=expected):
        as_dtype("int8")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_a_loaded_model_is_still_and_asks_for_no_gradients(family, bases):
    module = mc.AdapterModel.from_pretrained(bases(family)).module
    assert not any(one.training for one in module.modules())
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ("family", "task_type"),
    [("llama", "CAUSAL_LM"), ("gpt2", "CAUSAL_LM"), ("bert", "SEQ_CLS"), ("t5", "SEQ_2_SEQ_LM")],
)
def test_the_task_type_follows_from_the_config(family, task_type, bases):
    assert guess_task_type(bases(family)) == task_type


def test_an_encoder_without_a_head_is_a_classifier_to_be(bases, tmp_path):
    BertModel.from_pretrained(bases("bert")).save_pretrained(tmp_path)
    assert guess_task_type(tmp_path) == "SEQ_CLS"


def test_a_decoder_saved_as_a_classifier_is_one(tmp_path):
    config = GPT2Config(vocab_size=26, n_embd=16, n_layer=1, n_head=2)
    GPT2ForSequenceClassification(config).save_pretrained(tmp_path)
    assert guess_task_type(tmp_path) == "SEQ_CLS"


def test_a_task_type_that_cannot_be_evaluated_is_refused(bases):
    kinds = "CAUSAL_LM, IMAGE_CLASSIFICATION, SEQ_2_SEQ_LM, SEQ_CLS"
    with pytest.raises(ModelError, match=rf"'TOKEN_CLS' cannot be evaluated\n  expected: {kinds}\n  got: 'TOKEN_CLS'"):
        mc.AdapterModel.from_pretrained(bases("bert"), task_type="TOKEN_CLS")


def test_code_that_comes_with_a_base_is_never_run(bases, tmp_path, monkeypatch):
    """Nor does transformers ask on the terminal whether to run it."""
    folder, ran = tmp_path / "base", tmp_path / "ran"
    shutil.copytree(bases("llama"), folder)
    raw = json.loads((folder / "config.json").read_text())
    own = {"model_type": "of_its_own", "architectures": ["OwnModel"], "auto_map": {"AutoConfig": "own.OwnConfig"}}
    (folder / "config.json").write_text(json.dumps(raw | own))
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass OwnConfig: pass\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ModelError, match=r"(?s)cannot load the base model.*got: ValueError.*custom code"):
        mc.AdapterModel.from_pretrained(folder)
    with pytest.raises(ModelError, match=r"(?s)cannot load the base model.*got: ValueError.*custom code"):
        mc.AdapterModel.from_pretrained(folder, task_type="CAUSAL_LM")
    assert not ran.exists()


def test_the_adapters_name_the_base(point, bases):
    assert mc.AdapterModel.from_pretrained(adapters=[point]).base_name == str(bases("llama"))


def test_without_a_base_and_adapters_the_base_is_not_known():
    with pytest.raises(
        ModelError, match=r"the base model is not known\n.*\n  got: none named\n  remedy: give it with --base"
    ):
        mc.AdapterModel.from_pretrained()


def renamed(adapter, folder, base_model):
    """A copy of an adapter that names another base."""
    shutil.copytree(adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": base_model}))
    return mc.Adapter.from_pretrained(folder)


def test_adapters_that_name_different_bases_need_one_to_be_given(adapters, bases, tmp_path):
    points = [renamed(adapters("llama", seed=1), tmp_path / name, name) for name in ("mistral", "llama")]
    with pytest.raises(
        ModelError, match=r"expected: one base model, named by every adapter\n  got: llama and mistral\n"
    ):
        mc.AdapterModel.from_pretrained(adapters=points)
    assert mc.AdapterModel.from_pretrained(bases("llama"), adapters=points).base_name == str(bases("llama"))


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("no/such-model", r"OfflineModeIsEnabled: Cannot reach https://\S+/no/such-model/"),
        ("/no/such/folder", "OSError: Repo id must be in the form"),
    ],
)
def test_a_base_that_is_nowhere_is_told_with_reason_and_remedy(source, reason):
    expected = (
        rf"cannot load the base model '{source}'\n  expected: a folder as save_pretrained of transformers writes it, "
        rf"or a hub id\n  got: no such folder; {reason}.*\n  remedy: check the path; --base-model overrides"
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(source)


def test_the_hub_is_asked_once_and_in_silence(tmp_path, monkeypatch, caplog, capfd):
    """transformers would ask for 31 seconds, for one file alone."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(logging.getLogger("huggingface_hub"), "propagate", True)  # so that pytest hears it
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"'mistyped'\n.*\n  got: no such folder; \w+: "):
        mc.AdapterModel.from_pretrained("mistyped", task_type="CAUSAL_LM")
    assert time.monotonic() - began < 10
    assert (caplog.text, capfd.readouterr().err) == ("", "")


@pytest.mark.parametrize("name", ["models/missing", "a/b/c", "/a/b", "./missing", "models"])
def test_a_name_that_means_a_folder_is_not_looked_up_on_the_hub(name, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    assert not _may_be_on_hub(name)


@pytest.mark.parametrize("name", ["gpt2", "owner/name"])
def test_other_names_may_be_on_the_hub(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _may_be_on_hub(name)


NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


@pytest.mark.parametrize("device", ["foo", pytest.param("cuda", marks=NO_CUDA)])
def test_a_device_that_cannot_be_used_is_told_before_loading(device):
    expected = (
        rf"(?s)cannot use the device '{device}'\n  expected: .*\n  got: \w+Error: .*\n  remedy: use device=\"cpu\""
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained("no/such-model", device=device)


def test_a_folder_that_holds_no_model_is_told_with_the_reason(tmp_path):
    with pytest.raises(ModelError, match=rf"cannot load the base model '{tmp_path}'\n.*\n  got: \w+: .*"):
        mc.AdapterModel.from_pretrained(tmp_path)


def without(base, folder, *names):
    """A copy of a base that lacks some tensors."""
    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in tensors.items() if name not in names}
    assert len(kept) == len(tensors) - len(names)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(
    ("family", "missing", "model_class"),
    [
        ("llama", "model.layers.1.mlp.up_proj.weight", "LlamaForCausalLM"),
        ("bert", "bert.encoder.layer.0.output.dense.weight", "BertForSequenceClassification"),
    ],
)
def test_a_base_that_lacks_a_weight_is_refused(family, missing, model_class, bases, tmp_path):
    """Transformers would leave it at random values with a remark."""
    expected = (
        rf"lacks weights\n  expected: every weight of {model_class}, the adapters' saved modules apart\n"
        rf"  got: nothing for {missing}\n  remedy: give the model"
    )
    with pytest.raises(ModelError, match=expected):
        mc.AdapterModel.from_pretrained(without(bases(family), tmp_path / "base", missing))


def test_a_head_that_the_adapter_brings_may_be_missing(adapters, bases, tmp_path):
    headless = without(bases("bert"), tmp_path / "base", "classifier.weight", "classifier.bias")
    point = mc.Adapter.from_pretrained(adapters("bert", seed=1))
    assert mc.AdapterModel.from_pretrained(headless, adapters=[point]).module.config.num_labels == 3


def test_a_head_that_nobody_brings_is_not_left_to_chance(bases, tmp_path):
    headless = without(bases("bert"), tmp_path / "base", "classifier.weight", "classifier.bias")
    point = mc.Adapter.from_pretrained(make_adapter(tmp_path / "a", bases("bert"), "bert", seed=1, task_type=None))
    assert not point.saved
    with pytest.raises(
        ModelError, match=r"lacks weights\n.*\n  got: nothing for classifier\.bias, classifier\.weight\n"
    ):
        mc.AdapterModel.from_pretrained(headless, adapters=[point], task_type="SEQ_CLS")


def test_a_new_head_may_be_made_for_training(bases, tmp_path):
    headless = without(bases("bert"), tmp_path / "base", "classifier.weight", "classifier.bias")
    assert mc.AdapterModel.from_pretrained(headless, labels=["a", "b", "c", "d"]).module.config.num_labels == 4


def test_a_head_of_another_size_gives_way_to_the_adapters(adapters, tmp_path):
    two = make_base(tmp_path / "two", "bert", num_labels=2)
    point = mc.Adapter.from_pretrained(adapters("bert", seed=1))
    assert mc.AdapterModel.from_pretrained(two, adapters=[point], labels=LABELS).module.classifier.weight.shape == (
        3,
        16,
    )


@pytest.mark.parametrize(("family", "length"), [("gpt2", 64), ("llama", 2048), ("bert", 512), ("t5", 1024)])
def test_the_longest_input_is_that_of_the_positions(family, length, bases):
    model = mc.AdapterModel.from_pretrained(bases(family))
    assert longest_input(model.module, model.tokenizer) == length


def test_an_encoder_decoder_takes_the_tokenizers_length(bases):
    model = mc.AdapterModel.from_pretrained(bases("t5"))
    model.tokenizer.model_max_length = 99
    assert longest_input(model.module, model.tokenizer) == 99


def test_positions_that_roberta_keeps_for_padding_hold_no_text(tmp_path):
    """Its first token stands at `pad_token_id + 1`, so a table of 20 holds 20 - 0 - 1 tokens."""
    config = RobertaConfig(
        vocab_size=26, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_labels=3, max_position_embeddings=20, pad_token_id=0,
    )  # fmt: skip
    Roberta(config).save_pretrained(tmp_path)
    make_tokenizer("bert").save_pretrained(tmp_path)
    model = mc.AdapterModel.from_pretrained(tmp_path)
    assert longest_input(model.module, model.tokenizer) == 19
    task = mc.Task.from_records("long", {"test": [{"text": "cat " * 30, "label": "good"}]}, labels=LABELS)
    encoded = model.encode(task)
    assert model.score_rows(model.module, encoded)[0].shape == (1,)
    assert encoded.rows.num_truncated == 1


def test_a_models_line_says_what_it_is(bases):
    model = mc.AdapterModel.from_pretrained(bases("llama"), dtype="bfloat16")
    expected = f"CAUSAL_LM, dtype=torch.bfloat16, device='cpu', fingerprint='{model.fingerprint[:12]}')"
    assert repr(model) == f"AdapterModel({str(bases('llama'))!r}, {expected}"


def test_labels_of_a_model_without_classes_are_refused(bases):
    with pytest.raises(
        ModelError, match=r"labels \(--labels\) cannot be followed: .*\n.*\n  got: a model of the kind CAUSAL_LM\n"
    ):
        mc.AdapterModel.from_pretrained(bases("llama"), labels=["a", "b"])


@pytest.mark.parametrize("family", ["llama", "t5"])
def test_masked_labels_of_a_model_without_classes_are_refused(bases, family):
    model = mc.AdapterModel.from_pretrained(bases(family))
    task = make_task("first", 0)
    assert model.encode(task).num_examples  # it is the setting that is refused
    with pytest.raises(ModelError, match=r"mask_labels \(--mask-labels\) cannot be followed: the model has no classes"):
        model.encode(task, settings=mc.EncodingSettings(mask_labels=True))

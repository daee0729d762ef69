"""Reading prompts, prefixes and gates: every tensor is used or named, and points are combined tensor by tensor."""

import json

import pytest
import torch
from points import write_folder

import modeconn as mc

SIZES = {"num_virtual_tokens": 3, "token_dim": 4, "num_layers": 2, "num_attention_heads": 2}
GATE, PROMPT = (f"base_model.model.layers.{{}}.self_attn.adaption_{part}" for part in ("gate", "prompt"))


def tensors_of(kind, seed=0):
    """Random tensors under PEFT's names."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "PROMPT_TUNING": {"prompt_embeddings": (3, 4)},
        "P_TUNING": {"prompt_embeddings": (3, 4)},
        "PREFIX_TUNING": {"prompt_embeddings": (3, 16)},
        "MULTITASK_PROMPT_TUNING": {
            "prompt_embeddings": (3, 4),
            "prefix_task_cols": (1, 3, 2),
            "prefix_task_rows": (1, 2, 4),
        },
        "ADAPTION_PROMPT": {
            name.format(n): shape for n in (2, 3) for name, shape in ((GATE, (1,)), (PROMPT, (1, 3, 4)))
        },
    }[kind]
    return {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}


def settings_of(kind):
    """Settings as PEFT writes them."""
    found = {"adapter_len": 3, "adapter_layers": 2} if kind == "ADAPTION_PROMPT" else dict(SIZES)
    if kind == "MULTITASK_PROMPT_TUNING":
        found |= {"num_ranks": 2, "num_tasks": 1}
    return {"peft_type": kind, "task_type": "CAUSAL_LM", **found}


def write(folder, kind, *, tensors=None, seed=0, **settings):
    folder = write_folder(folder, tensors if tensors is not None else tensors_of(kind, seed))
    (folder / "adapter_config.json").write_text(json.dumps(settings_of(kind) | settings))
    return folder


def read(folder, kind, **changes):
    return mc.Adapter.from_pretrained(write(folder, kind, **changes))


KINDS = ["PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "MULTITASK_PROMPT_TUNING", "ADAPTION_PROMPT"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_point_is_saved_bit_for_bit(kind, tmp_path):
    point = read(tmp_path / "a", kind)
    copy = mc.Adapter.from_pretrained(point.save_pretrained(tmp_path / "b"))
    assert torch.equal(copy.vector, point.vector)
    assert dict(copy.config.raw) == dict(point.config.raw)


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_follows_every_tensor(kind, tmp_path):
    point = read(tmp_path / "a", kind)
    tensors = tensors_of(kind)
    for name in tensors:
        changed = {other: value + 0.5 * (other == name) for other, value in tensors.items()}
        assert read(tmp_path / name.replace(".", "-"), kind, tensors=changed).fingerprint != point.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_a_line_in_factors_space_is_that_of_the_tensors(kind, tmp_path):
    start, end = (read(tmp_path / str(seed), kind, seed=seed) for seed in (1, 2))
    middle = mc.LinearPath(start, end, space="factors")(0.25)
    torch.testing.assert_close(middle.vector, 0.75 * start.vector + 0.25 * end.vector)
    assert mc.LinearPath(start, end, space="factors").distance(1.0) == pytest.approx(
        float((end.vector - start.vector).norm())
    )


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_no_weights_to_combine(kind, tmp_path):
    ends = [read(tmp_path / str(seed), kind, seed=seed) for seed in (1, 2)]
    with pytest.raises(mc.AdapterError, match=rf'(?s)without a weight update.*{kind}.*space="factors", the only'):
        mc.LinearPath(*ends)


def test_a_prompt_cannot_be_aligned(tmp_path):
    ends = [read(tmp_path / str(seed), "PREFIX_TUNING", seed=seed) for seed in (1, 2)]
    with pytest.raises(mc.AdapterError, match='space="factors"'):
        mc.LinearPath(*ends, space="aligned-factors")


@pytest.mark.parametrize("key", ["num_attention_heads", "num_layers"])
def test_prefixes_that_are_cut_otherwise_are_not_combined(key, tmp_path):
    """The same columns as other layers and heads."""
    other = {"num_attention_heads": {"num_attention_heads": 4}, "num_layers": {"num_layers": 4, "token_dim": 2}}[key]
    ends = [read(tmp_path / "a", "PREFIX_TUNING"), read(tmp_path / "b", "PREFIX_TUNING", **other)]
    with pytest.raises(mc.PathError, match=rf"(?s)different scalings in .*{key}.*train them alike"):
        mc.LinearPath(*ends, space="factors")


def test_a_head_is_part_of_the_point(tmp_path):
    head = {"base_model.classifier.weight": torch.randn(2, 4)}
    saved = {"task_type": "SEQ_CLS", "modules_to_save": ["classifier", "score"]}
    point = read(tmp_path / "a", "PROMPT_TUNING", tensors=tensors_of("PROMPT_TUNING") | head, **saved)
    assert torch.equal(point.saved["classifier.weight"], head["base_model.classifier.weight"])
    assert len(point.vector) == 12 + 8


def test_an_encoder_decoders_prompt_has_rows_for_both(tmp_path):
    tensors = {"prompt_embeddings": torch.randn(6, 4)}
    point = read(tmp_path / "a", "PROMPT_TUNING", tensors=tensors, task_type="SEQ_2_SEQ_LM")
    assert len(point.vector) == 24


def test_sizes_may_be_left_to_the_model(tmp_path):
    sizes = dict.fromkeys(SIZES)
    assert len(read(tmp_path / "a", "PREFIX_TUNING", **sizes).vector) == 48


def test_closed_gates_change_nothing(tmp_path):
    tensors = {name: value * (not name.endswith("gate")) for name, value in tensors_of("ADAPTION_PROMPT").items()}
    with pytest.raises(mc.AdapterError, match="changes nothing"):
        read(tmp_path / "a", "ADAPTION_PROMPT", tensors=tensors)
    assert mc.Adapter.from_pretrained(tmp_path / "a", allow_zero=True).is_zero


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        (
            "PROMPT_TUNING",
            {"prompt_embeddings": None},
            r"not those of its settings.*prompt_embeddings \[3, 4\].*other \[1\]",
        ),
        ("PROMPT_TUNING", {"prompt_embeddings": (4, 4)}, r"prompt_embeddings \[3, 4\].*prompt_embeddings \[4, 4\]"),
        ("P_TUNING", {"prompt_embeddings": (3, 5)}, r"prompt_embeddings \[3, 4\].*prompt_embeddings \[3, 5\]"),
        ("P_TUNING", {"prompt_encoder.mlp_head.0.weight": (4, 4)}, r"would not be used.*prompt_encoder.mlp_head"),
        ("PREFIX_TUNING", {"prompt_embeddings": (3, 12)}, r"prompt_embeddings \[3, 16\].*prompt_embeddings \[3, 12\]"),
        ("MULTITASK_PROMPT_TUNING", {"prefix_task_rows": None}, r"prefix_task_rows \[1, 2, 4\].*prefix_task_cols"),
        ("MULTITASK_PROMPT_TUNING", {"prefix_task_cols": (2, 3, 2)}, r"prefix_task_cols \[2, 3, 2\]"),
        ("ADAPTION_PROMPT", {GATE.format(2): None}, r"lacks a tensor.*layers.2.self_attn.adaption_gate"),
        ("ADAPTION_PROMPT", {PROMPT.format(3): None}, r"lacks a tensor.*layers.3.self_attn.adaption_prompt"),
        ("ADAPTION_PROMPT", {PROMPT.format(3): (1, 2, 4)}, r"\[1, 3, any\].*layers.3.*\[1, 2, 4\]"),
        ("ADAPTION_PROMPT", {GATE.format(3): (2,)}, r"adaption_gate \[1\] of 2 layers.*adaption_gate \[2\]"),
        ("ADAPTION_PROMPT", {"base_model.model.other": (2,)}, "would not be used.*base_model.model.other"),
    ],
)
def test_tensors_that_do_not_fit_are_named(kind, changes, message, tmp_path):
    tensors = tensors_of(kind)
    for name, shape in changes.items():
        tensors.pop(name, None)
        if shape is not None:
            tensors[name] = torch.randn(*shape)
    tensors = tensors or {"other": torch.randn(1)}
    with pytest.raises(mc.AdapterError, match=rf"(?s){message}.*(save_pretrained|saved with these weights)"):
        read(tmp_path / "a", kind, tensors=tensors)


def test_fewer_layers_than_the_config_says_are_named(tmp_path):
    with pytest.raises(mc.AdapterError, match=r"(?s)of 4 layers.*layers.2.self_attn \[1, 3, 4\], layers.3"):
        read(tmp_path / "a", "ADAPTION_PROMPT", adapter_layers=4)


def test_a_head_that_is_not_in_the_file_is_missed(tmp_path):
    with pytest.raises(mc.AdapterError, match=r"(?s)lacks the modules that it says it saved.*classifier"):
        read(tmp_path / "a", "PROMPT_TUNING", task_type="SEQ_CLS", modules_to_save=["classifier"])


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("PROMPT_TUNING", {"num_virtual_tokens": "3"}, "cannot be read.*num_virtual_tokens='3'"),
        ("PREFIX_TUNING", {"num_layers": 0}, "cannot be read.*num_layers=0"),
        ("ADAPTION_PROMPT", {"adapter_len": 2.5}, "cannot be read.*adapter_len=2.5"),
        ("MULTITASK_PROMPT_TUNING", {"num_ranks": -1}, "cannot be read.*num_ranks=-1"),
        ("P_TUNING", {"a_new_setting": 7}, "not known.*a_new_setting=7"),
        ("MULTITASK_PROMPT_TUNING", {"num_tasks": 3}, "not known.*num_tasks=3"),
        ("MULTITASK_PROMPT_TUNING", {"task_type": "SEQ_2_SEQ_LM"}, "not known.*SEQ_2_SEQ_LM.*labels"),
        ("MULTITASK_PROMPT_TUNING", {"prompt_tuning_init": "EXACT_SOURCE_TASK"}, "EXACT_SOURCE_TASK.*another file"),
    ],
)
def test_settings_that_cannot_be_followed_are_named(kind, settings, message, tmp_path):
    with pytest.raises(mc.AdapterError, match=f"(?s){message}"):
        read(tmp_path / "a", kind, **settings)

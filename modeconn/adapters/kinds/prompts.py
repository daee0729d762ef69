"""Kinds that put vectors beside the text instead of changing weights: there is no dW, and nothing to read off a base.

Points of these kinds are combined tensor by tensor, in `space="factors"` only, and PEFT itself evaluates them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.values import is_rank
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_PROMPT, _COLUMNS, _ROWS = "prompt_embeddings", "prefix_task_cols", "prefix_task_rows"
_HEAD = "base_model."  # prompts wrap the model itself: one step less than what adapters of modules write
_SIZES = ("num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers")
_START = ("prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs")
_ENCODER = ("encoder_reparameterization_type", "encoder_hidden_size", "encoder_num_layers", "encoder_dropout")


def read_prompt(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the file of a prompt that is put before the text's embeddings: prompt tuning and P-tuning.

    Prompt tuning (Lester 2021, arXiv 2104.08691), P-tuning (Liu 2021, arXiv 2103.10385): `[V, D]` vectors, for PEFT's
    encoder-decoders `[2 V, D]`. P-tuning's encoder has done its work when the file is written.

    Raises:
        AdapterError: If a tensor is missing, left over, or not of the shape in the config.
    """
    return _finished(config, tensors, {_PROMPT: (_rows(config), _size(config, "token_dim"))})


def read_prefix(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the file of a prefix of keys and values for every layer, `[V, 2 * layers * D]`.

    Prefix tuning (Li 2021, arXiv 2101.00190).

    Raises:
        AdapterError: If a tensor is missing, left over, or not of the shape in the config.
    """
    layers, width = _size(config, "num_layers"), _size(config, "token_dim")
    columns = 2 * layers * width if layers and width else None
    return _finished(config, tensors, {_PROMPT: (_size(config, "num_virtual_tokens"), columns)})


def read_multitask_prompt(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the file of a prompt that is shared by tasks and scaled for each, `P * (u v)`, of one task.

    Multitask prompt tuning (Wang 2023, arXiv 2303.02861).

    Raises:
        AdapterError: If a tensor is missing, left over, or not of the shape in the config.
    """
    rows, width, ranks = _rows(config), _size(config, "token_dim"), _size(config, "num_ranks") or 1
    shapes = {_PROMPT: (rows, width), _COLUMNS: (1, rows, ranks), _ROWS: (1, ranks, width)}
    return _finished(config, tensors, shapes)


def read_adaption_prompt(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the file of prompts inside the upper layers' attention, each behind a gate.

    LLaMA-Adapter (Zhang 2023, arXiv 2303.16199): `[1, V, D]` vectors and one gate a layer; a gate of 0 is closed.

    Raises:
        AdapterError: If a tensor is missing, left over, or not of the shape in the config.
    """
    unread, shape = Unread(tensors, config), (1, _size(config, "adapter_len"), None)
    modules = sorted({*unread.modules(".adaption_prompt"), *unread.modules(".adaption_gate")})
    found = {}
    for module in modules:
        found[module] = unread.take(module, ".adaption_prompt"), unread.take(module, ".adaption_gate")
    odd = {f"{module}.adaption_prompt": prompt for module, (prompt, _) in found.items() if not _fits(prompt, shape)}
    odd |= {f"{module}.adaption_gate": gate for module, (_, gate) in found.items() if gate.shape != (1,)}
    if odd or len(modules) != (_size(config, "adapter_layers") or len(modules)):
        expected = f"adaption_prompt {_told(shape)} and adaption_gate [1] of {config.raw.get('adapter_layers')} layers"
        raise _misfit(config, expected, odd or {module: prompt for module, (prompt, _) in found.items()})
    expected = "an adaption_prompt and an adaption_gate of each layer, and the modules_to_save"
    return unread.finish_without_updates(unread.take_saved(), expected)


def _finished(config: "AdapterConfig", tensors: Tensors, shapes: Mapping[str, Sequence[int | None]]) -> Parts:
    """The head, after checking that the file holds the prompt's tensors in these shapes and nothing else."""
    unread = Unread(tensors, config)
    missing = [name for name in shapes if name not in tensors]
    odd = {name: tensors[name] for name, shape in shapes.items() if name in tensors and not _fits(tensors[name], shape)}
    if missing or odd:
        expected = ", ".join(f"{name} {_told(shape)}" for name, shape in shapes.items())
        raise _misfit(config, expected, odd or {name: tensors[name] for name in sorted(tensors)})
    for name in shapes:
        del unread.rest[name]
    expected = f"{', '.join(shapes)}, and the modules_to_save under '{_HEAD}'"
    return unread.finish_without_updates(unread.take_saved(prefix=_HEAD), expected)


def _misfit(config: "AdapterConfig", expected: str, tensors: Tensors) -> AdapterError:
    """The error for tensors that are not those of the config."""
    return AdapterError(
        f"the tensors of {config.origin} are not those of its settings",
        expected=expected,
        got=", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()) or "none",
        remedy="use the adapter_config.json that was saved with these weights",
    )


def _size(config: "AdapterConfig", key: str) -> int | None:
    """A size in the config; None where the config leaves it to the model."""
    return config.raw.get(key)


def _rows(config: "AdapterConfig") -> int | None:
    """Rows of a prompt: PEFT makes them for encoder and decoder, also where only the encoder's are used."""
    tokens, parts = _size(config, "num_virtual_tokens"), _size(config, "num_transformer_submodules")
    return tokens and tokens * (parts or (2 if config.task_type == "SEQ_2_SEQ_LM" else 1))


def _fits(tensor: torch.Tensor, shape: Sequence[int | None]) -> bool:
    """Whether a tensor has a shape of which some sizes are not known."""
    sizes = zip(tensor.shape, shape, strict=False)
    return tensor.ndim == len(shape) and all(wanted in (None, size) for size, wanted in sizes)


def _told(shape: Sequence[int | None]) -> str:
    """A shape of which some sizes are not known."""
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _is_size(value: object) -> bool:
    """Whether a value is a size, or left to the model."""
    return value is None or is_rank(value)


def _prompt_kind(name: str, read: Any, *settings: str, **fields: Any) -> Kind:  # noqa: ANN401
    """A kind whose prompts stand before the text; how a tensor is cut into tokens and heads must agree."""
    return Kind(
        name=name,
        read=read,
        settings=frozenset({*_SIZES, *settings}),
        fits={**dict.fromkeys(_SIZES, _is_size), "num_ranks": _is_size},
        scalings=lambda config, modules: {key: config.raw.get(key) for key in _SIZES},  # noqa: ARG005
        has_update=False,
        remedy="train the prompt with PEFT's other settings at their defaults, and save it again",
        **fields,
    )


def _refused_multitask(raw: Mapping[str, Any]) -> list[str]:
    """What PEFT cannot evaluate without knowing more than the text."""
    refused = [] if raw.get("num_tasks") in (None, 1) else [f"num_tasks={raw['num_tasks']!r}"]
    if raw.get("task_type") == "SEQ_2_SEQ_LM":
        refused.append("task_type='SEQ_2_SEQ_LM' (PEFT then needs the labels to give logits)")
    if raw.get("prompt_tuning_init") not in (None, "RANDOM", "TEXT"):
        refused.append(f"prompt_tuning_init={raw['prompt_tuning_init']!r} (PEFT then reads another file)")
    return refused


PROMPT_TUNING = _prompt_kind("PROMPT_TUNING", read_prompt, *_START)
P_TUNING = _prompt_kind("P_TUNING", read_prompt, *_ENCODER)
PREFIX_TUNING = _prompt_kind("PREFIX_TUNING", read_prefix, "encoder_hidden_size", "init_weights", "prefix_projection")
MULTITASK_PROMPT_TUNING = _prompt_kind(
    "MULTITASK_PROMPT_TUNING",
    read_multitask_prompt,
    *_START,
    "num_ranks",
    "num_tasks",
    "prompt_tuning_init_state_dict_path",
    "prompt_tuning_init_task",
    refused=_refused_multitask,
)
ADAPTION_PROMPT = Kind(
    name="ADAPTION_PROMPT",
    read=read_adaption_prompt,
    settings=frozenset({"adapter_len", "adapter_layers"}),
    fits={"adapter_len": _is_size, "adapter_layers": _is_size},
    has_update=False,
    is_zero=lambda tensors: not any(value.any() for name, value in tensors.items() if name.endswith(".adaption_gate")),
    remedy="train the adapter with PEFT's other settings at their defaults, and save it again",
)
PROMPT_KINDS = (ADAPTION_PROMPT, MULTITASK_PROMPT_TUNING, P_TUNING, PREFIX_TUNING, PROMPT_TUNING)

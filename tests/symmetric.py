"""Tiny random models in float64 of every architecture whose symmetries are known, and what they put out."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from tiny import FAMILIES
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    ViTConfig,
    ViTForImageClassification,
)

SIZES = {"vocab_size": 26, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
GROUPED = {"num_key_value_heads": 2, **IDS}
GPT2_SIZES = {"vocab_size": 26, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 16}
VIT_SIZES = {key: size for key, size in SIZES.items() if key != "vocab_size"} | {"image_size": 8, "patch_size": 4}
MODELS: Mapping[str, Callable[[], Any]] = {
    "llama": lambda: FAMILIES["llama"](),
    "llama-grouped": lambda: FAMILIES["llama"](hidden_size=24, num_attention_heads=6, num_key_value_heads=2),
    "llama-biased": lambda: FAMILIES["llama"](attention_bias=True, mlp_bias=True),
    "llama-tied": lambda: FAMILIES["llama"](tie_word_embeddings=True),
    "llama-classifier": lambda: LlamaForSequenceClassification(LlamaConfig(**SIZES, **GROUPED)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SIZES, **GROUPED)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, **GROUPED)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SIZES, **GROUPED, head_dim=8)),
    "gpt2": lambda: FAMILIES["gpt2"](),
    "gpt2-untied": lambda: FAMILIES["gpt2"](tie_word_embeddings=False),
    "gpt2-classifier": lambda: GPT2ForSequenceClassification(GPT2Config(**GPT2_SIZES, **IDS)),
    "bert": lambda: FAMILIES["bert"](),
    "bert-tokens": lambda: BertForTokenClassification(BertConfig(**SIZES)),
    "bert-masked": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "bert-masked-untied": lambda: BertForMaskedLM(BertConfig(**SIZES, tie_word_embeddings=False)),
    "t5": lambda: FAMILIES["t5"](),
    "t5-gated": lambda: FAMILIES["t5"](feed_forward_proj="gated-gelu", d_kv=4, num_heads=3),
    "vit": lambda: ViTForImageClassification(ViTConfig(**VIT_SIZES)),
}
ROTATABLE = ("llama", "llama-grouped", "llama-biased", "llama-tied", "llama-classifier", "qwen3", "t5", "t5-gated")


def make_model(name: str, *, seed: int = 0) -> Any:
    """A random model by its name above, norms in float64 as well; no two units and no norm scales are the same."""
    torch.manual_seed(seed)
    model = MODELS[name]()
    for path, module in list(model.named_modules()):
        if type(module).__name__.endswith(("RMSNorm", "T5LayerNorm")):  # compute in float32 whatever the dtype
            exact = torch.nn.RMSNorm(module.weight.shape[0], eps=module.variance_epsilon)
            model.set_submodule(path, exact)
    model = model.double().eval()
    for parameter in model.parameters():
        parameter.data.mul_(3.0).add_(0.3 * torch.randn_like(parameter))
    return model


def state_of(model: Any) -> dict[str, torch.Tensor]:
    """A copy of a model's state in which tied tensors are still one tensor."""
    return copy.deepcopy(model.state_dict())


def outputs(model: Any, state: Mapping[str, torch.Tensor] | None = None) -> torch.Tensor:
    """The logits of a model, or of its copy with another state, on fixed random inputs."""
    if state is not None:
        model = copy.deepcopy(model)
        model.load_state_dict(dict(state))
    generator = torch.Generator().manual_seed(7)
    ids = torch.randint(3, 26, (8, 7), generator=generator)
    inputs: dict[str, torch.Tensor] = {"input_ids": ids}
    if model.config.model_type == "t5":
        inputs["decoder_input_ids"] = ids.flip(0)
    if model.config.model_type == "vit":
        inputs = {"pixel_values": torch.randn(2, 3, 8, 8, generator=generator, dtype=torch.float64)}
    with torch.no_grad():
        return model(**inputs).logits

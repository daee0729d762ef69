"""Tiny random models of four families, their tokenizers and adapters: small enough for every test."""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = [
    "the",
    "a",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "mat",
    "big",
    "red",
    "is",
    "was",
    "good",
    "bad",
    "yes",
    "no",
    "maybe",
    "question",
    "answer",
    ":",
    "?",
    ".",
]
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>"]
VOCABULARY = {word: number for number, word in enumerate(SPECIAL + WORDS)}
TARGETS = {
    "llama": ["q_proj", "v_proj"],
    "gpt2": ["c_attn", "c_proj"],
    "bert": ["query", "value"],
    "t5": ["q", "v"],
}
TASK_TYPES = {"llama": "CAUSAL_LM", "gpt2": "CAUSAL_LM", "bert": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM"}
LABELS = ("good", "bad", "maybe")


def make_tokenizer(family: str) -> PreTrainedTokenizerFast:
    """A word tokenizer that begins or ends texts as the family's own does."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    template = {"llama": "<s> $A", "gpt2": "$A", "bert": "<s> $A </s>", "t5": "$A </s>"}[family]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", VOCABULARY["<s>"]), ("</s>", VOCABULARY["</s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>"
    )


def _llama(**overrides: Any) -> LlamaForCausalLM:
    config = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(VOCABULARY), **_ids(), **(config | overrides)))


def _gpt2(**overrides: Any) -> GPT2LMHeadModel:
    config: dict[str, Any] = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(VOCABULARY), **_ids(), **(config | overrides)))


def _bert(**overrides: Any) -> BertForSequenceClassification:
    config = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_labels": 3,
    }
    return BertForSequenceClassification(BertConfig(vocab_size=len(VOCABULARY), **_ids(), **(config | overrides)))


def _t5(**overrides: Any) -> T5ForConditionalGeneration:
    config = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    return T5ForConditionalGeneration(T5Config(vocab_size=len(VOCABULARY), **_ids(), **(config | overrides)))


def _ids() -> dict[str, int]:
    return {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}


FAMILIES: Mapping[str, Callable[..., torch.nn.Module]] = {
    "llama": _llama,
    "gpt2": _gpt2,
    "bert": _bert,
    "t5": _t5,
}


def make_base(folder: Path, family: str, *, seed: int = 0, **overrides: Any) -> Path:
    """Save a tiny base model of a family with its tokenizer."""
    torch.manual_seed(seed)
    model = FAMILIES[family](**overrides)
    for parameter in model.parameters():  # far from uniform predictions, so that differences show
        parameter.data.mul_(3.0)
    model.save_pretrained(folder)
    make_tokenizer(family).save_pretrained(folder)
    return folder


def make_adapter(folder: Path, base: Path, family: str, *, seed: int, **settings: Any) -> Path:
    """Save a random LoRA adapter by PEFT itself; all its factors are non-zero."""
    torch.manual_seed(seed)
    model: Any = FAMILIES[family]().from_pretrained(base, dtype=torch.float32)
    model.name_or_path = str(base)
    defaults = {"r": 4, "lora_alpha": 8, "target_modules": TARGETS[family], "task_type": TASK_TYPES[family]}
    defaults |= {"fan_in_fan_out": True} if family == "gpt2" else {}
    config = LoraConfig(**(defaults | settings), init_lora_weights=False)
    peft_model = get_peft_model(model, config)
    for name, parameter in peft_model.named_parameters():
        if "modules_to_save" in name:
            parameter.data.normal_(std=0.5)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Setting `save_embedding_layers` to `True`")
        peft_model.save_pretrained(str(folder))
    return folder

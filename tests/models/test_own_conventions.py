"""What models find out from tokens themselves: where a text ends, and which position comes first."""

from dataclasses import replace

import pytest
import torch
from tiny import VOCABULARY
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    RobertaConfig,
    RobertaForCausalLM,
)

from modeconn.models.family import Causal, Classifier
from modeconn.models.packable import with_own_positions, with_packing
from modeconn.tasks.rows import Row

END = 2
SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIZES = {"vocab_size": len(VOCABULARY), "bos_token_id": 1, "eos_token_id": END}
TEXTS = [[1, 5, 6, 7, 8, 9], [1, 4, 6, 7, END], [1, 3, END, END], [4], [END, END]]


def classifier(kind: str, pad: int) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "llama":
        return LlamaForSequenceClassification(LlamaConfig(**SMALL, **SIZES, num_labels=3, pad_token_id=pad)).eval()
    config = GPT2Config(n_embd=16, n_layer=2, n_head=2, n_positions=32, num_labels=3, pad_token_id=pad, **SIZES)
    return GPT2ForSequenceClassification(config).eval()


@torch.inference_mode()
@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("pad", [0, END], ids=["pad", "pad is the end"])
@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_text_ends_where_transformers_finds_its_end(kind: str, pad: int, lean: bool) -> None:
    model = classifier(kind, pad)
    family = Classifier(("a", "b", "c"), packed=True, lean=lean)
    batch = family.collate([Row(tuple(text), (0,), n) for n, text in enumerate(TEXTS)], pad)
    alone = torch.cat([model(torch.tensor([text])).logits for text in TEXTS])
    assert torch.allclose(family.logits(model, batch)[:, 0], alone, atol=1e-6)
    model.needs_padding = True  # type: ignore[assignment]  # as of a model with a prompt of its own
    assert torch.allclose(family.logits(model, batch)[:, 0], alone, atol=1e-6)


@torch.inference_mode()
def test_positions_are_left_to_a_model_that_counts_from_another_number() -> None:
    torch.manual_seed(0)
    config = RobertaConfig(**SMALL, **SIZES, pad_token_id=0, is_decoder=True, max_position_embeddings=40)
    model = RobertaForCausalLM(config).eval()
    family = with_packing(with_own_positions(Causal(), model), model)
    assert isinstance(family, Causal)
    assert family == Causal(counts=True)  # rows are padded
    rows = [Row((1, 5, 6, 7, 8, 9), (4, 5), 0), Row((1, 4), (6,), 1)]
    found = family.logits(model, family.collate(rows, 0))
    for row, own in zip(rows, found, strict=True):
        expected = model(torch.tensor([row.context + row.targets])).logits[0, -len(row.targets) - 1 : -1]
        assert torch.allclose(own[-len(row.targets) :], expected, atol=1e-5)
    from_zero = replace(family, counts=False)
    assert not torch.allclose(from_zero.logits(model, from_zero.collate(rows, 0)), found, atol=1e-3)


def test_positions_from_zero_are_given_where_they_are_the_models_own() -> None:
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**SMALL, **SIZES, pad_token_id=0)).eval()
    assert with_own_positions(Causal(), model) == Causal()

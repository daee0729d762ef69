"""Rows without padding give the numbers of rows with it, and leave the model as it was."""

import logging

import pytest
import torch
import transformers
from random_tasks import random_task
from tiny import LABELS, make_base
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
)

import modeconn as mc
from modeconn.models.family import Causal, Classifier, Seq2Seq
from modeconn.models.packable import with_packing
from modeconn.models.packed_attention import NAME, packed_attention
from modeconn.models.packed_rows import Text, continued, ended, unpack
from modeconn.models.packing import packed_logits
from modeconn.tasks.batching import token_budget_batches
from modeconn.tasks.rows import Row

ROWS = [[1, 5, 6, 7, 8, 9], [1, 4, 6, 7, 3, 2], [1, 3, 2], [4]]


@pytest.fixture(params=["llama", "gpt2", "bert"])
def both(request, adapters):
    """A model that packs, the same one padding, and a point."""
    point = mc.Adapter.from_pretrained(adapters(request.param, seed=1))
    labels = LABELS if request.param == "bert" else None
    return *(mc.AdapterModel.from_pretrained(adapters=[point], labels=labels, packed=p) for p in (None, False)), point


def test_every_example_has_the_loss_and_score_of_padded_rows(both):
    packed, padded, point = both
    assert packed.family.packed
    assert not padded.family.packed
    task = random_task(labels=LABELS)
    settings = mc.EncodingSettings(token_budget=1000)
    assert all(batch.packed is not None for batch in packed.encode(task, settings=settings).batches)
    assert all(batch.packed is None for batch in padded.encode(task, settings=settings).batches)
    ours, theirs = (one.evaluate(point, [one.encode(task, settings=settings)])[0] for one in (packed, padded))
    assert ours.loss_sum == pytest.approx(theirs.loss_sum, abs=1e-5)
    assert (ours.score == theirs.score).all()
    tokens = [
        sum(b.inputs["input_ids"].numel() for b in one.encode(task, settings=settings).batches) for one in both[:2]
    ]
    assert tokens[0] < tokens[1] or packed.family.task_type == "SEQ_CLS"  # its texts here are all of one length


def test_gradients_are_those_of_padded_rows(both):
    gradients = []
    for model in both[:2]:
        encoded = model.encode(random_task(labels=LABELS))
        weight = next(one for name, one in model.module.named_parameters() if "query" in name or "attn" in name)
        weight.requires_grad_(True)
        losses = model.batch_losses(model.collate([(encoded, row) for row in range(6)]))
        gradients.append(torch.autograd.grad(losses.sum(), weight)[0])
        weight.requires_grad_(False)
    assert torch.allclose(*gradients, rtol=1e-4, atol=1e-6)


def test_the_attention_of_the_model_is_what_it_was_also_after_an_error(both):
    model, _, point = both
    before = model.module.config._attn_implementation
    model.evaluate(point, [model.encode(random_task(labels=LABELS))])
    assert model.module.config._attn_implementation == before
    seen = []

    def fail() -> None:
        with packed_attention(model.module, (Text(1, 0, 1),)):
            seen.append(model.module.config._attn_implementation)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert seen == [NAME]
    assert model.module.config._attn_implementation == before


def test_an_encoder_decoder_is_padded(adapters):
    point = mc.Adapter.from_pretrained(adapters("t5", seed=1))
    assert isinstance(mc.AdapterModel.from_pretrained(adapters=[point]).family, Seq2Seq)


def small_mistral(window):
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=window, pad_token_id=0,
    )  # fmt: skip
    return MistralForCausalLM(config).double().eval()


@pytest.mark.parametrize("window", [None, 3])
@torch.inference_mode()
def test_grouped_heads_and_sliding_windows(window):
    model = small_mistral(window)
    num_scored = [3, 1, 3, 1]
    rows = [
        Row(tuple(r[: len(r) - n + 1]), (*r[len(r) - n + 1 :], 0), 0) for r, n in zip(ROWS, num_scored, strict=True)
    ]
    inputs, packed = continued(rows)
    found = packed_logits(model, inputs, packed).split(num_scored)
    for one, tokens, count in zip(found, ROWS, num_scored, strict=True):
        expected = model(input_ids=torch.tensor([tokens])).logits[0, -count:]
        assert torch.allclose(one, expected, atol=1e-12)


@torch.inference_mode()
def test_a_decoder_that_classifies_reads_each_text_to_its_end(tmp_path):
    base = make_base(tmp_path / "base", "llama")
    model = LlamaForSequenceClassification.from_pretrained(base, num_labels=3, dtype=torch.float64).eval()
    model.config.pad_token_id = 0
    family = with_packing(Classifier(tuple(LABELS)), model)
    assert family.packed
    rows = [Row(tuple(tokens), (0,), number) for number, tokens in enumerate(ROWS)]
    found = family.logits(model, family.collate(rows, 0))[:, 0]
    for row, tokens in enumerate(ROWS):
        assert torch.allclose(found[row], model(input_ids=torch.tensor([tokens])).logits[0], atol=1e-12)


class Leaking(torch.nn.Module):
    """A model that counts positions on from row to row, whatever it is told."""

    def __init__(self, model):
        super().__init__()
        self.model, self.config = model, model.config
        self.device, self.dtype = model.device, model.dtype

    def forward(self, input_ids, position_ids=None, use_cache=None, logits_to_keep=0):
        del position_ids
        return self.model(input_ids=input_ids, use_cache=use_cache, logits_to_keep=logits_to_keep)


def test_a_model_that_gives_other_logits_packed_is_padded():
    config = GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    model = GPT2LMHeadModel(config).eval()
    assert with_packing(Causal(), model).packed
    assert not with_packing(Causal(), model, wanted=False).packed
    assert not with_packing(Causal(), Leaking(model)).packed


def test_a_model_with_attention_of_its_own_is_padded(monkeypatch):
    model = small_mistral(None)
    attention = type(model.model.layers[0].self_attn)
    plain = attention.forward

    def sinking(self, *arguments, **keywords):
        return plain(self, *arguments, s_aux=torch.zeros(4), **keywords)

    monkeypatch.setattr(attention, "forward", sinking)
    assert not with_packing(Causal(), model).packed


@torch.inference_mode()
def test_a_number_that_is_not_finite_is_not_hidden():
    model = small_mistral(None)
    model.model.layers[1].self_attn.q_proj.weight[0, 0] = torch.inf
    assert not torch.isfinite(packed_logits(model, *continued([Row(tuple(row), (1,), 0) for row in ROWS]))).any()


@pytest.mark.parametrize("left", [True, False])
def test_packed_rows_can_be_padded_again(left):
    found = unpack(*ended(ROWS), left=left)
    rows = [row[mask.bool()].tolist() for row, mask in zip(found["input_ids"], found["attention_mask"], strict=True)]
    assert rows == ROWS
    assert found["attention_mask"][2].tolist() == ([0, 0, 0, 1, 1, 1] if left else [1, 1, 1, 0, 0, 0])


def test_batches_hold_few_lengths():
    lengths = [5, 9, 5, 9, 5, 7, 9, 7]
    batches = token_budget_batches(lengths, token_budget=27)
    assert [[lengths[row] for row in batch] for batch in batches] == [[9, 9, 9], [7, 7, 5], [5, 5]]


def test_attention_in_chunks_is_padded():
    config = Llama4TextConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, intermediate_size_mlp=24, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, head_dim=8, attention_chunk_size=4, num_local_experts=2,
        pad_token_id=0,
    )  # fmt: skip
    assert not with_packing(Causal(), Llama4ForCausalLM(config).eval()).packed


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_the_reference_is_padded_so_that_the_gate_sees_what_packing_gets_wrong(family, adapters, monkeypatch):
    from modeconn.evaluation.gate import check_ends
    from modeconn.models import family as families

    point = mc.Adapter.from_pretrained(adapters(family, seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], labels=LABELS if family == "bert" else None)
    encoded = [model.encode(random_task(labels=LABELS))]
    assert check_ends(model, [point], encoded)[point.name] < 1e-5
    for name in ("scored_logits", "packed_classes"):
        right = getattr(families, name)
        monkeypatch.setattr(families, name, lambda *given, right=right, **named: _larger(right(*given, **named)))
    with pytest.raises(mc.EvaluationError, match="is not the adapter"):
        check_ends(model, [point], encoded)


def _larger(found):
    return 1.5 * found if isinstance(found, torch.Tensor) else [1.5 * piece for piece in found]


def test_rows_without_padding_are_not_taken_for_padded_ones(bases, caplog):
    """transformers asks for a mask where a row begins or ends with the padding token; a packed row needs none."""
    transformers.utils.logging.enable_propagation()
    try:
        with caplog.at_level(logging.WARNING):
            model = mc.AdapterModel.from_pretrained(bases("gpt2"))
            task = mc.Task.from_records("pad", {"test": [{"prompt": "<pad> the cat", "answer": " good"}] * 2})
            model.score_rows(model.module, model.encode(task))
    finally:
        transformers.utils.logging.disable_propagation()
    assert model.family.packed
    assert "attention_mask" not in caplog.text
    assert "warn_if_padding_and_no_attention_mask" not in vars(model.module)

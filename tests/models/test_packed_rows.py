"""Rows with one context share it: fewer tokens, the numbers of rows alone."""

import numpy as np
import pytest
import torch
from random_tasks import random_task
from transformers import MistralConfig, MistralForCausalLM

import modeconn as mc
from modeconn.models.family import Causal, score_batch
from modeconn.models.packed_rows import Text, continued, ended, unpack
from modeconn.tasks.rows import Row

LABELS = ("good", "bad no", "maybe yes no")
ROWS = [Row((1, 5, 6), (2,), 0), Row((1, 5, 6), (8, 9, 3), 0), Row((1, 5, 6), (8, 7), 0), Row((4, 2), (3, 7), 1)]


def test_branches_stand_behind_their_context_once():
    inputs, packed = continued(ROWS)
    assert inputs["input_ids"].tolist() == [[1, 5, 6, 8, 9, 8, 4, 2, 3]]
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 2]]
    assert packed.texts == (Text(6, 2, 4, (0, 2, 1)), Text(3, 1, 2))
    assert packed.scored.tolist() == [2, 3, 4, 5, 7, 8]
    assert packed.places.tolist() == [[0, 0, 0], [0, 1, 2], [0, 0, 3], [0, 4, 5]]  # zeros on the left are padding
    assert packed.num_tokens == 9


def test_a_classifiers_texts_are_scored_at_their_beginning():
    inputs, packed = ended([(1, 2, 3), (4,)])
    assert inputs["position_ids"].tolist() == [[0, 1, 2, 0]]
    assert (packed.scored.tolist(), packed.places.tolist()) == ([0, 3], [[0], [1]])


@pytest.mark.parametrize("left", [True, False])
def test_rows_that_share_a_context_can_be_padded_again(left):
    found = unpack(*continued(ROWS), left=left)
    rows = [row[mask.bool()].tolist() for row, mask in zip(found["input_ids"], found["attention_mask"], strict=True)]
    assert rows == [[*row.context, *row.targets[:-1]] for row in ROWS]
    assert found["attention_mask"][0].tolist() == ([0, 0, 1, 1, 1] if left else [1, 1, 1, 0, 0])


@pytest.mark.parametrize("window", [None, 2, 4])
@pytest.mark.parametrize("lean", [True, False])
@torch.inference_mode()
def test_losses_are_those_of_rows_alone(lean, window):
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=window, pad_token_id=0,
    )  # fmt: skip
    model = MistralForCausalLM(config).double().eval()
    family = Causal(packed=True, lean=lean)
    losses, right = score_batch(family, model, family.collate(ROWS, 0))
    for row, loss, is_right in zip(ROWS, losses, right, strict=True):
        read = torch.tensor([[*row.context, *row.targets]])
        logits = model(input_ids=read).logits[0, len(row.context) - 1 : -1]
        expected = torch.nn.functional.cross_entropy(logits, torch.tensor(row.targets), reduction="sum")
        torch.testing.assert_close(loss, expected)
        assert is_right == (logits.argmax(-1) == torch.tensor(row.targets)).all()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_labels_of_several_tokens_are_read_with_one_prompt(family, adapters):
    point = mc.Adapter.from_pretrained(adapters(family, seed=1))
    shared, padded = (mc.AdapterModel.from_pretrained(adapters=[point], packed=packed) for packed in (None, False))
    task = random_task(labels=LABELS)
    ours, theirs = (one.encode(task) for one in (shared, padded))
    assert len(ours.rows.rows) == len(theirs.rows.rows) == 3 * ours.num_examples
    contexts = sum(len(row.context) for row in ours.rows.rows[::3])
    read = sum(batch.inputs["input_ids"].numel() for batch in ours.batches)
    assert read == contexts + 3 * ours.num_examples  # of the labels' 1, 2 and 3 tokens all but the last
    found, expected = (one.evaluate(point, [each])[0] for one, each in ((shared, ours), (padded, theirs)))
    np.testing.assert_allclose(found.loss_sum, expected.loss_sum, atol=1e-5)
    np.testing.assert_array_equal(found.score, expected.score)


@pytest.mark.parametrize("token_budget", [1, 30, 10_000])
def test_rows_that_share_a_context_are_in_one_batch_within_the_budget(token_budget, adapters):
    model = mc.AdapterModel.from_pretrained(adapters=[mc.Adapter.from_pretrained(adapters("llama", seed=1))])
    encoded = model.encode(random_task(labels=LABELS), settings=mc.EncodingSettings(token_budget=token_budget))
    begin = 0
    for batch in encoded.batches:
        rows = encoded.order[begin : (begin := begin + len(batch.targets))]
        assert len(rows) == 3 * len(batch.packed.texts)
        assert batch.packed.num_tokens <= token_budget or len(batch.packed.texts) == 1
    assert sorted(encoded.order) == list(range(len(encoded.rows.rows)))


def test_the_gate_reads_shared_contexts_row_by_row(adapters):
    from modeconn.evaluation.gate import check_ends

    point = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    assert check_ends(model, [point], [model.encode(random_task(labels=LABELS))])[point.name] < 1e-5

"""Batches that do not fit into the memory are taken in halves, and nothing is lost."""

import numpy as np
import pytest
import torch
from random_tasks import random_task
from tiny import LABELS

import modeconn as mc
from modeconn.models.halving import in_halves

ON_CPU = (
    "[enforce fail at alloc_cpu.cpp:133] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."
)
ERRORS = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), RuntimeError(ON_CPU), MemoryError()]


class Small:
    """A forward hook with a memory for some tokens only; it counts calls."""

    def __init__(self, most, error):
        self.most, self.error, self.num_failed, self.num_done = most, error, 0, 0

    def __call__(self, _module, args, kwargs):
        tokens = kwargs.get("input_ids", args[0] if args else None)
        if tokens.numel() > self.most:
            self.num_failed += 1
            raise self.error
        self.num_done += 1


def loaded(family, adapters):
    point = mc.Adapter.from_pretrained(adapters(family, seed=1))
    return mc.AdapterModel.from_pretrained(adapters=[point], labels=LABELS if family == "bert" else None), point


@pytest.mark.parametrize("error", ERRORS, ids=["device", "cpu", "python"])
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_sums_are_those_of_a_large_memory(family, error, adapters, state):
    model, point = loaded(family, adapters)
    encoded = model.encode(random_task(labels=LABELS if family == "bert" else None, num_examples=20))
    before, expected = state(model.module), model.evaluate(point, [encoded])[0]
    small = Small(max(model.family.length(row) for row in encoded.rows.rows) * 2, error)
    reader = model.module.encoder if family == "t5" else model.module.base_model
    hook = reader.register_forward_pre_hook(small, with_kwargs=True)
    found = model.evaluate(point, [encoded])[0]
    hook.remove()
    assert small.num_failed > 0
    assert small.num_done > len(encoded.batches)
    np.testing.assert_allclose(found.loss_sum, expected.loss_sum, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found.score, expected.score)
    assert state(model.module) == before


def test_labels_that_share_a_prompt_may_be_parted(adapters):
    model, point = loaded("llama", adapters)
    encoded = model.encode(random_task(labels=("good", "bad no", "maybe yes no"), num_examples=5))
    expected = model.evaluate(point, [encoded])[0]
    small = Small(max(model.family.length(row) for row in encoded.rows.rows), ERRORS[0])
    with model.at(point) as module:
        hook = module.model.register_forward_pre_hook(small, with_kwargs=True)
        found, _ = model.score_rows(module, encoded)
        hook.remove()
    right = found.reshape(5, 3)[np.arange(5), encoded.rows.answers]
    np.testing.assert_allclose(right, expected.loss_sum, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("error", ERRORS, ids=["device", "cpu", "python"])
def test_a_single_row_that_does_not_fit_is_told_with_its_length(error, adapters, state):
    model, point = loaded("llama", adapters)
    encoded = model.encode(random_task())
    before, longest = state(model.module), max(model.family.length(row) for row in encoded.rows.rows)
    hook = model.module.model.register_forward_pre_hook(Small(longest - 1, error), with_kwargs=True)
    pattern = rf"(?s)a row of {longest} tokens does not fit into the memory.*one row.*max_length below {longest}"
    with pytest.raises(mc.ModelError, match=pattern):
        model.evaluate(point, [encoded])
    hook.remove()
    assert state(model.module) == before


def test_other_errors_are_not_taken_for_it(adapters):
    model, point = loaded("llama", adapters)
    hook = model.module.model.register_forward_pre_hook(Small(0, RuntimeError("shapes differ")), with_kwargs=True)
    with pytest.raises(RuntimeError, match="shapes differ"):
        model.evaluate(point, [model.encode(random_task())])
    hook.remove()


def test_halves_keep_the_order_and_every_row():
    def run(rows):
        if len(rows) > 2:
            raise MemoryError
        return list(rows)

    found = in_halves(run, range(7), length=lambda row: row)
    assert [row for part in found for row in part] == list(range(7))
    assert max(map(len, found)) == 2


def test_what_the_failed_call_held_is_freed_before_the_next():
    import weakref

    held = []

    def run(rows):
        if len(rows) > 1:
            large = torch.zeros(3)
            held.append(weakref.ref(large))
            raise MemoryError
        assert held[0]() is None
        return rows[0]

    assert in_halves(run, [1, 2], length=lambda row: row) == [1, 2]


def test_written_answers_are_those_of_a_large_memory(adapters):
    from modeconn.models.generating import write

    model, point = loaded("llama", adapters)
    task = mc.Task.from_records(
        "words", {"test": [{"prompt": "the cat " * n, "answer": "good"} for n in (1, 2, 3, 4)]}, metric="rouge_l"
    )
    encoded = model.encode(task)
    with model.at(point) as module:
        expected = write(model, module, encoded)
        hook = module.model.register_forward_pre_hook(Small(16, ERRORS[0]), with_kwargs=True)
        assert write(model, module, encoded) == expected
        hook.remove()


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_a_budget_below_the_longest_row_gives_it_a_batch_of_its_own(family, adapters):
    model, point = loaded(family, adapters)
    task = random_task(labels=LABELS if family == "bert" else None)
    usual, alone = model.encode(task), model.encode(task, settings=mc.EncodingSettings(token_budget=1))
    assert len(alone.batches) == 9
    found, expected = (model.evaluate(point, [one])[0].loss_sum for one in (alone, usual))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)

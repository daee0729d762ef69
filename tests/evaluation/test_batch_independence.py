"""Losses that depend on the rest of a batch are refused; those of models that leave padding alone pass."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from random_tasks import random_task
from tiny import VOCABULARY, make_tokenizer
from transformers import RwkvConfig, RwkvForCausalLM

import modeconn as mc
from modeconn.evaluation.batch_independence import check_rows_alone


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> list[mc.Adapter]:
    """Two adapters of a tiny RWKV, whose state goes through padding as through text."""
    folder = tmp_path_factory.mktemp("recurrent")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"attention_hidden_size": 16, "intermediate_size": 32, "pad_token_id": 0}
    config = RwkvConfig(
        vocab_size=len(VOCABULARY), context_length=64, hidden_size=16, num_hidden_layers=2, bos_token_id=1,
        eos_token_id=2, **sizes,
    )  # fmt: skip
    model = RwkvForCausalLM(config)
    model.save_pretrained(folder / "base")
    make_tokenizer("llama").save_pretrained(folder / "base")
    for seed in (1, 2):
        torch.manual_seed(seed)
        base: Any = RwkvForCausalLM.from_pretrained(folder / "base")
        lora = LoraConfig(r=2, target_modules=["key", "value"], task_type="CAUSAL_LM", init_lora_weights=False)
        get_peft_model(base, lora).save_pretrained(str(folder / str(seed)))
    return [mc.Adapter.from_pretrained(folder / str(seed)) for seed in (1, 2)]


def test_a_model_that_reads_padding_as_text_is_refused(recurrent: list[mc.Adapter]) -> None:
    model = mc.AdapterModel.from_pretrained(adapters=recurrent)
    with pytest.raises(mc.EvaluationError, match=r"(?s)RwkvForCausalLM gives rows of words/test other.*token-budget 1"):
        mc.evaluate_path(mc.LinearPath(*recurrent), model, [random_task()], num_points=2)


def test_row_by_row_it_has_the_losses_of_plain_calls(recurrent: list[mc.Adapter]) -> None:
    model = mc.AdapterModel.from_pretrained(adapters=recurrent)
    settings = mc.EncodingSettings(token_budget=1)
    profile = mc.evaluate_path(mc.LinearPath(*recurrent), model, [random_task()], num_points=2, settings=settings)
    found = profile.examples.query("t == 0")["loss_sum"].to_numpy()
    rows = model.encode(random_task(), settings=settings).rows.rows
    with model.reference(recurrent[0]) as plain, torch.inference_mode():
        for row, loss in zip(rows, found, strict=True):
            tokens = torch.tensor([(row.context + row.targets)[:-1]])
            scores = plain(input_ids=tokens).logits[0, -len(row.targets) :].log_softmax(-1)
            assert -scores.gather(1, torch.tensor(row.targets)[:, None]).sum().item() == pytest.approx(loss, abs=1e-4)


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
@pytest.mark.parametrize("packed", [None, False])
def test_rows_of_unlike_length_have_their_own_losses(adapters: Callable[..., Path], packed: Any, dtype: str) -> None:
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point], packed=packed, dtype=dtype)
    assert check_rows_alone(model, point, [model.encode(random_task())]) < {"bfloat16": 5e-2}.get(dtype, 1e-5)


def test_one_example_alone_is_compared_with_nothing(adapters: Callable[..., Path]) -> None:
    point = mc.Adapter.from_pretrained(adapters("llama", seed=1))
    model = mc.AdapterModel.from_pretrained(adapters=[point])
    assert check_rows_alone(model, point, [model.encode(random_task(num_examples=1))]) == 0.0

"""L2P for PEFT: which prompts a text gets, and that saving, padding, labels and writing keep to it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from tiny import FAMILIES, TASK_TYPES

from modeconn.adapters.methods.l2p import L2PConfig
from modeconn.adapters.methods.prompt_pool import PromptPool
from modeconn.errors import AdapterError

SIZES = {"pool_size": 6, "prompt_length": 2, "top_n": 3}
TEXTS = torch.tensor([[1, 5, 9, 7, 12, 4], [1, 4, 6, 8, 11, 10]])
DECODER = {"t5": {"decoder_input_ids": torch.tensor([[0, 5, 6], [0, 7, 4]])}}


@pytest.fixture
def load(bases: Callable[[str], Path]) -> Callable[[str], Any]:
    """A base model of a family, as transformers loads it."""
    return lambda family: type(FAMILIES[family]()).from_pretrained(bases(family)).eval()


@pytest.fixture
def make(load: Callable[[str], Any]) -> Callable[..., Any]:
    """A model with a pool far from its start."""

    def made(family: str, **settings: Any) -> Any:
        torch.manual_seed(3)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            model = get_peft_model(load(family), L2PConfig(task_type=TASK_TYPES[family], **(SIZES | settings))).eval()
        pool = model.get_base_model().prompt_pool
        pool.l2p_prompts["default"].data.normal_()
        pool.l2p_keys["default"].data.normal_()
        return model

    return made


def states(base: Any, text: torch.Tensor) -> torch.Tensor:
    """The last hidden states of one text, `[L, D]`."""
    trunk = base.get_encoder() if base.config.is_encoder_decoder else base.base_model
    return trunk(input_ids=text[None]).last_hidden_state[0]


def behind(base: Any, text: torch.Tensor, vectors: torch.Tensor, **extra: torch.Tensor) -> torch.Tensor:
    """The logits of one text behind given vectors, `[L, C]`."""
    embedded = torch.cat([vectors, base.get_input_embeddings()(text)])[None]
    return base(inputs_embeds=embedded, **extra).logits[0]


@torch.no_grad()
@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_a_text_is_read_behind_the_prompts_of_the_nearest_keys(family: str, make, load) -> None:
    model, base = make(family), load(family)
    if family == "bert":
        base.classifier.load_state_dict(model.get_base_model().classifier.original_module.state_dict())
    model.double(), base.double()  # a random T5 magnifies the rounding of float32
    pool = model.get_base_model().prompt_pool.float()
    extra = DECODER.get(family, {})
    found = model(input_ids=TEXTS, **extra).logits
    chosen = set()
    for row, text in enumerate(TEXTS):
        query = states(base, text).mean(0).float()
        cosines = [torch.cosine_similarity(query, key, dim=0).item() for key in pool.l2p_keys["default"]]
        places = sorted(range(6), key=lambda place: -cosines[place])[:3]
        vectors = torch.cat([pool.l2p_prompts["default"][place] for place in places]).double()
        one = {name: value[row : row + 1] for name, value in extra.items()}
        torch.testing.assert_close(found[row], behind(base, text, vectors, **one), rtol=1e-6, atol=1e-6)
        chosen.add(tuple(places))
    assert len(chosen) == 2  # each text its own


def test_equations_of_the_pool() -> None:
    pool = PromptPool()
    pool.add("default", L2PConfig(pool_size=3, prompt_length=1, top_n=2), torch.eye(4), 2)
    pool.l2p_keys["default"].data = torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    pool.set_adapter("default")
    choice = pool(torch.tensor([[1.0, 0.0], [1.0, 2.0]]))
    assert choice.places.tolist() == [[0, 2], [2, 1]]
    torch.testing.assert_close(
        choice.distances, torch.tensor([[0.0, 1 - 0.5**0.5], [1 - 0.9**0.5, 1 - 0.8**0.5]]), atol=1e-6, rtol=1e-6
    )
    torch.testing.assert_close(choice.vectors[0], pool.l2p_prompts["default"][[0, 2], 0])


def test_a_penalty_counts_in_training_only_and_leaves_the_nearer_first() -> None:
    pool = PromptPool()
    pool.add("default", L2PConfig(pool_size=3, prompt_length=1, top_n=2), torch.eye(4), 2)
    pool.l2p_keys["default"].data = torch.tensor([[1.0, 0.1], [0.0, 1.0], [1.0, 1.0]])
    pool.set_adapter("default")
    pool.penalty = torch.tensor([1.0, 0.0, 0.0])
    query = torch.tensor([[1.0, 0.0]])
    assert pool.train()(query).places.tolist() == [[2, 1]]
    assert pool.eval()(query).places.tolist() == [[0, 2]]


@pytest.mark.parametrize("family", ["llama", "bert", "t5"])
def test_saved_and_loaded_by_peft(family: str, make, load, tmp_path: Path) -> None:
    model, extra = make(family), DECODER.get(family, {})
    model.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(load(family), tmp_path).eval()
    assert torch.equal(model(input_ids=TEXTS, **extra).logits, again(input_ids=TEXTS, **extra).logits)
    assert again.peft_config["default"].num_virtual_tokens == 6


@torch.no_grad()
@pytest.mark.parametrize(("family", "side"), [("llama", "left"), ("gpt2", "left"), ("gpt2", "right")])
def test_padding_chooses_nothing(family: str, side: str, make) -> None:
    model = make(family)
    padding = torch.zeros(2, 2, dtype=torch.long)
    mask = torch.ones_like(TEXTS)
    pair, masks = ([padding, TEXTS], [padding, mask]) if side == "left" else ([TEXTS, padding], [mask, padding])
    padded = model(input_ids=torch.cat(pair, 1), attention_mask=torch.cat(masks, 1)).logits[:, 6:]
    whole = model(input_ids=TEXTS).logits[:, 6:]
    torch.testing.assert_close(padded[:, 2:] if side == "left" else padded[:, :-2], whole, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_an_answer_chooses_nothing(make) -> None:
    model = make("llama")
    labels = TEXTS.clone()
    labels[:, :4] = -100
    by_question = model(input_ids=TEXTS[:, :4]).logits  # behind the prompts that the question alone chose
    length = by_question.shape[1]
    told = model(input_ids=TEXTS, labels=labels)
    counted = model(input_ids=TEXTS, answer_lengths=torch.tensor([2, 2])).logits
    torch.testing.assert_close(told.logits[:, :length], by_question, rtol=1e-4, atol=1e-4)
    assert torch.equal(counted, told.logits)
    scored = told.logits[:, -3:-1].log_softmax(-1).gather(2, TEXTS[:, -2:, None])
    assert told.loss.item() == pytest.approx(-scored.mean().item(), rel=1e-5)
    assert not torch.allclose(model(input_ids=TEXTS).logits[:, :length], by_question, atol=1e-2)


@torch.no_grad()
def test_what_is_written_is_the_likeliest_token_each_time(make) -> None:
    model, text = make("llama"), TEXTS[:1]
    written = model.generate(input_ids=text, max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert torch.equal(written[:, :6], text)
    for count in range(4):
        so_far = written[:, : 6 + count]
        logits = model(input_ids=so_far, answer_lengths=torch.tensor([count])).logits
        assert logits[0, -1].argmax() == written[0, 6 + count]


def test_switched_off_it_is_the_base(make, load) -> None:
    model, base = make("llama"), load("llama")
    with model.disable_adapter():
        assert torch.equal(model(input_ids=TEXTS).logits, base(input_ids=TEXTS).logits)


def test_the_query_sees_no_dropout_and_leaves_training_as_it_was(make) -> None:
    model = make("bert").train()
    model.get_base_model().bert.embeddings.eval()
    modes = [part.training for part in model.modules()]
    mask = torch.ones_like(TEXTS)
    first, second = (model.base_model.query(TEXTS, mask, mask.bool()) for _ in range(2))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert [part.training for part in model.modules()] == modes


def test_hooks_see_the_pass_behind_the_prompts_only(make) -> None:
    model, seen = make("llama"), []
    layer = model.get_base_model().model.layers[0]
    layer.register_forward_hook(lambda *given: seen.append(given[2].shape[1]))
    model(input_ids=TEXTS)
    model(input_ids=TEXTS)
    assert seen == [12, 12]  # 6 vectors of prompts, 6 tokens


def test_only_the_pool_is_trained(make) -> None:
    names = [name for name, weight in make("llama").named_parameters() if weight.requires_grad]
    assert [name.rpartition("prompt_pool.")[2] for name in names] == ["l2p_prompts.default", "l2p_keys.default"]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"pool_size": 0}, "pool_size: a whole number above 0\n  got: pool_size=0\n"),
        ({"prompt_length": 2.5}, "prompt_length: a whole number above 0\n"),
        ({"pool_size": 2, "top_n": 3}, "top_n: at most the 2 prompts of the pool\n  got: top_n=3\n"),
        ({"num_virtual_tokens": 4}, r"num_virtual_tokens: left out, or 6: top_n \* prompt_length\n"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(AdapterError, match=rf"L2PConfig has settings that cannot be used\n  expected: {told}"):
        L2PConfig(**(SIZES | settings))


def test_what_a_pool_cannot_read_is_refused(make) -> None:
    model = make("llama")
    embedded = model.get_input_embeddings()(TEXTS)
    with pytest.raises(
        AdapterError, match=r"cannot read this\n(.*\n)?  got: inputs_embeds\n  remedy: give whole texts"
    ):
        model(inputs_embeds=embedded, input_ids=TEXTS)
    with pytest.raises(AdapterError, match=r"cannot read this\n.*\n  got: position_ids\n"):
        model(input_ids=TEXTS, position_ids=torch.arange(6)[None])
    with pytest.raises(AdapterError, match=r"cannot read this\n.*\n  got: no input_ids\n"):
        model.generate(max_new_tokens=1)
    with pytest.raises(AdapterError, match=r"cannot choose its prompts\n.*\n  got: 2 rows of 2 with none\n"):
        model(input_ids=TEXTS, labels=TEXTS)


def test_it_is_not_merged(make) -> None:
    with pytest.raises(
        AdapterError, match=r"a pool of prompts cannot be merged\n  expected: .*\n  got: .*\n  remedy: "
    ):
        make("llama").merge_and_unload()


def test_several_pools_at_once_are_refused(make) -> None:
    model = make("llama")
    model.add_adapter("other", L2PConfig(task_type="CAUSAL_LM", **SIZES))
    model.set_adapter("other")
    model(input_ids=TEXTS)
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(AdapterError, match=r"several pools at once\n.*\n  got: default, other\n"):
        model(input_ids=TEXTS)


def test_a_model_without_tokens_is_refused() -> None:
    with pytest.raises(AdapterError, match=r"before this model's input\n.*\n  got: Linear\n  remedy: take a model"):
        get_peft_model(torch.nn.Linear(2, 2), L2PConfig())

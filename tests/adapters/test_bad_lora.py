"""Every tensor of a LoRA file is used and every setting understood, or the adapter is refused."""

import re

import pytest
import torch
from points import PREFIX, make_point, make_tensors

from modeconn.errors import AdapterError

A, B = f"{PREFIX}layers.0.q.lora_A.weight", f"{PREFIX}layers.0.q.lora_B.weight"
UNKNOWN_UPDATE = "the adapter uses settings whose weight update is not known", "expected: settings of LORA"
UNREADABLE = "the adapter has settings that cannot be read", "expected: values as PEFT writes them"


def fails(tensors, *parts, **settings):
    """The adapter must be refused, and the message hold these parts in this order."""
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(map(re.escape, parts))):
        make_point(tensors, **settings)


def test_left_over_tensors_are_listed_sorted():
    extra = {f"{PREFIX}layers.0.norm.weight": torch.ones(5), "lm_head.weight": torch.ones(5)}
    parts = "holds tensors that would not be used", f"got: {PREFIX}layers.0.norm.weight, lm_head.weight\n", "skipped"
    fails(make_tensors(0) | extra, *parts)


def test_many_left_over_tensors_are_cut_and_counted():
    extra = {f"{PREFIX}extra{number:02}": torch.ones(1) for number in range(13)}
    fails(make_tensors(0) | extra, "would not be used", f"{PREFIX}extra09 and 3 more (13 in all)")


@pytest.mark.parametrize("alone", [A, B])
def test_a_factor_without_its_partner_is_left_over(alone):
    partner = {A: B, B: A}[alone]
    tensors = {name: value for name, value in make_tensors(0).items() if name != partner}
    fails(tensors, "would not be used", "expected: pairs of lora_A and lora_B", f"got: {alone}\n")


def test_a_magnitude_of_dora_is_left_over_where_the_config_is_silent():
    extra = {f"{PREFIX}layers.0.q.lora_magnitude_vector": torch.ones(6)}
    fails(make_tensors(0) | extra, "would not be used", "lora_magnitude_vector")


def test_tensors_without_the_prefix_of_peft_are_left_over():
    tensors = {name.removeprefix(PREFIX): value for name, value in make_tensors(0).items()}
    fails(tensors, "would not be used", "under 'base_model.model.'", "layers.0.q.lora_A.weight")


def test_a_rank_that_is_not_the_configs():
    parts = "the factors of layers.0.q in the adapter", "with r = 4", "got: A [2, 5] and B [6, 2]", "saved with these"
    fails(make_tensors(0), *parts, r=4)


def test_a_rank_that_is_not_the_patterns():
    fails(make_tensors(0), "the factors of layers.1.v", "with r = 3", "got: A [2, 5]", rank_pattern={"v": 3})


def test_factors_of_two_ranks():
    fails(make_tensors(0) | {B: torch.ones(6, 3)}, "do not fit together", "with r = 2", "got: A [2, 5] and B [6, 3]")


@pytest.mark.parametrize("up", [(6, 2, 3, 3), (6, 3, 1, 1), (6, 2)])
def test_kernels_that_do_not_fit_together(up):
    kernels = {A: torch.ones(2, 5, 3, 3), B: torch.ones(*up)}
    fails(make_tensors(0) | kernels, "do not fit together", f"got: A [2, 5, 3, 3] and B {list(up)}", "remedy: use the")


def test_no_update_at_all():
    heads = {f"{PREFIX}score.weight": torch.ones(3, 5)}
    fails(
        heads,
        "holds no update",
        "pairs of lora_A and lora_B, of one module at least",
        "got: saved modules only: score.weight",
        modules_to_save=["score"],
    )


def test_saved_modules_that_are_promised_but_not_there():
    parts = "lacks the modules that it says it saved", "expected: weights of one of classifier, score", "got: none"
    fails(make_tensors(0), *parts, modules_to_save=["score", "classifier"])


def test_one_of_the_promised_modules_is_enough():
    point = make_point(make_tensors(0, heads={"score.weight": (3, 5)}), modules_to_save=["score", "classifier"])
    assert sorted(point.saved) == ["score.weight"]


@pytest.mark.parametrize("kind", ["WAVEFT", "something", None, 3])
def test_another_kind_of_adapter(kind):
    parts = (
        "is an adapter of a kind that cannot be read",
        'expected: "peft_type" in adapter_config.json to be one of',
        "LORA",
        f'got: "peft_type": {kind!r}',
        "remedy: merge it into its base",
    )
    fails(make_tensors(0), *parts, peft_type=kind)


@pytest.mark.parametrize(("kind", "reason"), [("XLORA", "token by token"), ("POLY", "the task of each text")])
def test_a_kind_that_is_no_one_change_of_the_weights(kind, reason):
    fails({}, "of a kind that cannot be read", f'got: "peft_type": {kind!r} (', reason, "leave it out", peft_type=kind)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("alora_invocation_tokens", [5, 9], " (it acts from a token of the text on, so no one weight does the same)"),
        ("arrow_config", {"top_k": 2}, " (it chooses among adapters token by token)"),
        ("enable_lora", [True, False, True], " (one pair of factors for parts of a matrix, which PEFT reads no more)"),
        ("ensure_weight_tying", True, " (one adapter serves two modules of the base)"),
        ("kasa_config", {"beta": 1}, " (it cuts the base's smallest singular values away)"),
        ("layer_replication", [[0, 2], [1, 2]], " (the model has more layers than its base)"),
        ("megatron_config", {"a": 1}, " (its modules are split over machines)"),
        ("monteclora_config", {"a": 1}, " (its factors are samples of a distribution)"),
        ("use_bdlora", {"nblocks": 2}, " (its factors are stored block by block)"),
        ("use_qalora", True, " (its inputs are averaged in groups)"),
        ("a_setting_of_tomorrow", "on", ""),
    ],
)
def test_a_setting_that_is_no_change_of_weights_is_refused_with_the_reason(key, value, reason):
    parts = *UNKNOWN_UPDATE, f"got: {key}={value!r}{reason}\n", "remedy: merge the adapter into its base"
    fails(make_tensors(0), *parts, **{key: value})


def test_all_such_settings_are_named_at_once():
    settings = {"use_qalora": True, "a_setting_of_tomorrow": 1}
    fails(make_tensors(0), *UNKNOWN_UPDATE, "got: a_setting_of_tomorrow=1, use_qalora=True (its inputs", **settings)


@pytest.mark.parametrize("value", [None, False, [], {}, "", 0])
def test_an_unknown_setting_with_an_empty_value_is_dropped(value):
    assert make_point(make_tensors(0), a_setting_of_tomorrow=value).updates


@pytest.mark.parametrize("init", [True, False, None, "gaussian", "Gaussian", "eva", "orthogonal", "mica"])
def test_an_initialisation_that_leaves_the_base_alone_is_accepted(init):
    assert make_point(make_tensors(0), init_lora_weights=init).updates


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("r", "2"),
        ("r", None),
        ("r", 0),
        ("r", True),
        ("lora_alpha", "16"),
        ("lora_alpha", 0),
        ("lora_alpha", float("nan")),
        ("rank_pattern", ["q"]),
        ("rank_pattern", {"q": 1.5}),
        ("alpha_pattern", {"(": 4}),
        ("modules_to_save", "classifier"),
        ("target_modules", 5),
        ("target_modules", {"q": 1}),
        ("exclude_modules", [1]),
        ("layers_to_transform", "all"),
        ("layers_to_transform", [0.5]),
        ("layers_pattern", 3),
        ("base_model_name_or_path", ["a"]),
        ("task_type", 1),
        ("use_rslora", "yes"),
        ("use_dora", 1),
        ("lora_bias", "true"),
        ("bias", "some"),
        ("init_lora_weights", 3),
        ("target_parameters", "experts.gate_up_proj"),
        ("trainable_token_indices", ["a"]),
        ("trainable_token_indices", [-1]),
        ("trainable_token_indices", {"embed_tokens": 3}),
    ],
)
def test_a_setting_of_the_wrong_kind_is_refused(key, value):
    fails(make_tensors(0), *UNREADABLE, f"got: {key}={value!r}", "remedy: use the adapter_config.json", **{key: value})

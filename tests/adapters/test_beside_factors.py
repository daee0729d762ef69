"""What LoRA files hold beside factors: added and trained biases, lengths of DoRA, rows of embeddings."""

import re

import pytest
import torch
from kind_oracle import changes, load, loaded_by_peft, made, make_kind
from kind_points import Base
from peft import LoraConfig
from peft_oracle import logits
from points import PREFIX, make_point, make_tensors
from tiny import make_base

import modeconn as mc
from modeconn.errors import AdapterError, ModelError
from modeconn.models.placing import placed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
Q, V = f"{PREFIX}layers.0.q", f"{PREFIX}layers.1.v"


def make(folder, base, family, seed=1, **settings):
    return make_kind(folder, base, family, LoraConfig, seed=seed, std=0.3, **settings)


def fails(tensors, *parts, **settings):
    with pytest.raises(AdapterError, match=r"(?s)" + ".*".join(map(re.escape, parts))):
        make_point(tensors, **settings)


@pytest.fixture(params=["float64", "bfloat16"])
def biased(request, bases, tmp_path):
    """A model whose linear layers have no bias, and an adapter that adds one."""
    folder = make(tmp_path / "a", bases("llama"), "llama", lora_bias=True, target_modules=["q_proj", "v_proj"])
    point = mc.Adapter.from_pretrained(folder)
    return load("llama", bases("llama"), point, dtype=request.param), point


def test_a_bias_that_the_base_lacks_is_made_and_taken_away(biased):
    model, point = biased
    before = logits(model.module)
    with placed(model.module, point):
        found = logits(model.module)
    with model.reference(point) as module:
        expected = logits(module)
    tolerance = 1e-12 if model.dtype == torch.float64 else 1e-2
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()
    assert (found - before).abs().max() > 0.02 * expected.abs().max()
    assert torch.equal(logits(model.module), before)
    assert all(module.bias is None for module in model.module.modules() if isinstance(module, torch.nn.Linear))


def test_a_midpoint_with_added_biases_is_saved_for_peft(bases, tmp_path):
    ends = [
        mc.Adapter.from_pretrained(make(tmp_path / str(seed), bases("gpt2"), "gpt2", seed, **settings))
        for seed, settings in (
            (1, {"lora_bias": True, "target_modules": ["c_attn"]}),
            (2, {"target_modules": ["c_attn", "c_proj"]}),
        )
    ]
    middle = mc.LinearPath(*ends)(0.3)
    model = load("gpt2", bases("gpt2"), *ends)
    with placed(model.module, middle):
        expected = logits(model.module)
    found = logits(loaded_by_peft("gpt2", bases("gpt2"), middle.save_pretrained(tmp_path / "middle")))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("gpt2", {"bias": "all", "target_modules": ["c_attn"]}),
        ("gpt2", {"bias": "lora_only", "target_modules": ["c_attn"]}),
        ("gpt2", {"bias": "all", "lora_bias": True, "target_modules": ["c_attn"]}),
        ("llama", {"trainable_token_indices": [1, 5], "target_modules": ["q_proj"]}),
    ],
)
def test_a_midpoint_with_trained_parameters_is_saved_for_peft(family, settings, bases, tmp_path):
    ends = [
        mc.Adapter.from_pretrained(make(tmp_path / str(seed), bases(family), family, seed, **settings))
        for seed in (1, 2)
    ]
    middle = mc.LinearPath(*ends)(0.3)
    model = load(family, bases(family), *ends)
    with placed(model.module, middle):
        expected = logits(model.module)
    found = logits(loaded_by_peft(family, bases(family), middle.save_pretrained(tmp_path / "middle")))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_trained_bias_towards_an_added_one(bases, tmp_path):
    """No file of PEFT holds a part of a trained bias; the change itself is the average."""
    settings = ({"bias": "lora_only"}, {"lora_bias": True})
    folders = [
        make(tmp_path / str(seed), bases("gpt2"), "gpt2", seed, target_modules=["c_attn"], **one)
        for seed, one in enumerate(settings)
    ]
    middle = mc.LinearPath(*map(mc.Adapter.from_pretrained, folders))(0.5)
    expected = [changes("gpt2", bases("gpt2"), folder)["transformer.h.0.attn.c_attn.bias"] for folder in folders]
    found = made(middle, load("gpt2", bases("gpt2"), middle))["transformer.h.0.attn.c_attn.bias"]
    torch.testing.assert_close(found, sum(expected) / 2, rtol=0, atol=1e-6)
    with pytest.raises(AdapterError, match=r"(?s)cannot hold the change of .*c_attn.bias.*sum to 1.*0.5.*merged"):
        middle.save_pretrained(tmp_path / "middle")


def test_a_bias_that_only_one_end_has_trained_is_a_coordinate(bases, tmp_path):
    """Half of the way to the plain end, half of the bias's change is left."""
    trained = make(tmp_path / "1", bases("gpt2"), "gpt2", 1, bias="lora_only", target_modules=["c_attn"])
    plain = make(tmp_path / "2", bases("gpt2"), "gpt2", 2, target_modules=["c_attn"])
    ends = [mc.Adapter.from_pretrained(folder) for folder in (trained, plain)]
    model = load("gpt2", bases("gpt2"), *ends)
    name = "transformer.h.0.attn.c_attn.bias"
    before = model.weight(name)
    after = loaded_by_peft("gpt2", bases("gpt2"), trained).merge_and_unload().get_parameter(name).detach()
    with placed(model.module, mc.LinearPath(*ends)(0.5)):
        torch.testing.assert_close(model.weight(name), (before + after) / 2, rtol=0, atol=1e-8)
    with pytest.raises(AdapterError, match=r"(?s)cannot hold the change of .*c_attn.bias.*sum to 1.*0.5.*merged"):
        mc.LinearPath(*ends)(0.5).save_pretrained(tmp_path / "middle")


def test_loading_trained_biases_for_comparison_leaves_the_base_alone(bases, tmp_path):
    point = mc.Adapter.from_pretrained(
        make(tmp_path / "a", bases("gpt2"), "gpt2", bias="all", target_modules=["c_attn"])
    )
    model = load("gpt2", bases("gpt2"), point)
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with model.reference(point):
        pass
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_trained_tokens_move_a_tied_output_layer_too(tmp_path):
    base = make_base(tmp_path / "base", "llama", tie_word_embeddings=True)
    folder = make(tmp_path / "a", base, "llama", trainable_token_indices=[1, 5], target_modules=["q_proj"])
    point = mc.Adapter.from_pretrained(folder)
    model = load("llama", base, point)
    with placed(model.module, point):
        found = logits(model.module)
    torch.testing.assert_close(found, logits(loaded_by_peft("llama", base, folder)), rtol=0, atol=1e-9)
    weights = [model.module.get_parameter(name) for name in ("lm_head.weight", "model.embed_tokens.weight")]
    assert weights[0] is weights[1]


TIED = {"llama": ("embed_tokens", ["q_proj"]), "gpt2": ("wte", ["c_attn"]), "t5": ("shared", ["q"])}
NAMED = {
    "a list": lambda table: [1, 5],  # noqa: ARG005
    "a dict": lambda table: {table: [1, 5]},
    "of both": lambda table: {table: [1, 5], "lm_head": [1, 5]},
    "of both, others": lambda table: {table: [1, 5], "lm_head": [2, 3, 7]},
    "of the output": lambda table: {"lm_head": [5, 9]},  # noqa: ARG005
}


@pytest.fixture(scope="module")
def tied(tmp_path_factory):
    """Folder of a base whose output layer is tied to its embeddings, made once for a family."""
    made = {}

    def base(family):
        if family not in made:
            options = {"tie_word_embeddings": True} if family == "llama" else {}
            made[family] = make_base(tmp_path_factory.mktemp("tied") / family, family, **options)
        return made[family]

    return base


@pytest.mark.parametrize("how", NAMED)
@pytest.mark.parametrize("family", TIED)
def test_any_way_of_naming_tokens_of_a_tied_base_is_that_of_peft(family, how, tied, tmp_path):
    """Where two tied layers have other tokens each, PEFT ties none of the rest: T5 has four names for its table."""
    table, targets = TIED[family]
    folder = make(
        tmp_path / "a", tied(family), family, trainable_token_indices=NAMED[how](table), target_modules=targets
    )
    point = mc.Adapter.from_pretrained(folder)
    model = load(family, tied(family), point)
    with placed(model.module, point):
        found = logits(model.module)
    torch.testing.assert_close(found, logits(loaded_by_peft(family, tied(family), folder)), rtol=0, atol=1e-9)


def test_halfway_between_tied_and_other_tokens_is_half_of_each(tied, tmp_path):
    """The rows of one end move the output layer with the table; those of the other end are its own there."""
    rows = "trainable_tokens_delta"
    ends = [
        mc.Adapter.from_pretrained(
            make(tmp_path / str(seed), tied("t5"), "t5", seed, trainable_token_indices=named, target_modules=["q"])
        )
        for seed, named in enumerate(([1, 5], {"shared": [1, 5], "lm_head": [2, 3]}))
    ]
    model = load("t5", tied("t5"), *ends)
    before = model.weight("shared.weight").clone()
    both, own = before.clone(), before.clone()
    first, second = (point.tensors[f"{PREFIX}shared.token_adapter.{rows}"].double() for point in ends)
    both[[1, 5]] = (first + second) / 2
    own[[1, 5]] = (first + before[[1, 5]]) / 2
    own[[2, 3]] = (before[[2, 3]] + ends[1].tensors[f"{PREFIX}lm_head.token_adapter.{rows}"].double()) / 2
    with placed(model.module, mc.LinearPath(*ends)(0.5)):
        torch.testing.assert_close(model.weight("shared.weight"), both, rtol=0, atol=1e-12)
        torch.testing.assert_close(model.weight("lm_head.weight"), own, rtol=0, atol=1e-12)


def test_one_setting_of_tokens_under_two_spellings_is_one(bases, tmp_path):
    """A list names the embedding; so does a dict of it."""
    folders = [
        make(
            tmp_path / str(seed),
            bases("llama"),
            "llama",
            seed,
            trainable_token_indices=named,
            target_modules=["q_proj"],
        )
        for seed, named in enumerate(([1, 5], {"embed_tokens": [1, 5]}))
    ]
    ends = [mc.Adapter.from_pretrained(folder) for folder in folders]
    middle = mc.LinearPath(*ends, space="factors")(0.5)
    for name, value in middle.tensors.items():
        torch.testing.assert_close(value, (ends[0].tensors[name] + ends[1].tensors[name]) / 2)


def test_dora_scales_the_rows_to_the_trained_lengths():
    tensors, lengths = make_tensors(0), torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    tensors |= {f"{Q}.lora_magnitude_vector": lengths, f"{V}.lora_magnitude_vector": torch.ones(4)}
    weight = torch.randn(6, 5, generator=torch.Generator().manual_seed(1))
    point = make_point(tensors, use_dora=True).on(
        Base({"layers.0.q.weight": weight, "layers.1.v.weight": torch.ones(4, 5)})
    )
    moved = weight + point.updates["layers.0.q.weight"].dense()
    torch.testing.assert_close(moved.norm(dim=1), lengths)
    direction = weight + 1.5 * tensors[f"{Q}.lora_B.weight"] @ tensors[f"{Q}.lora_A.weight"]
    torch.testing.assert_close(torch.nn.functional.cosine_similarity(moved, direction), torch.ones(6))


@pytest.mark.parametrize("name", ["lora_magnitude_vector", "lora_magnitude_vector.weight"])
def test_old_and_new_names_of_the_lengths(name):
    tensors = make_tensors(0, modules={"layers.0.q": (6, 5)}) | {f"{Q}.{name}": torch.ones(6)}
    assert make_point(tensors, use_dora=True).updates["layers.0.q.weight"].needs_base


def test_dora_without_a_base():
    tensors = make_tensors(0, modules={"layers.0.q": (6, 5)}) | {f"{Q}.lora_magnitude_vector": torch.ones(6)}
    with pytest.raises(AdapterError, match=r"(?s)function of the base model's weights.*point.on"):
        make_point(tensors, use_dora=True).norm()


def test_a_midpoint_of_dora_has_no_factors(tmp_path):
    tensors = make_tensors(0, modules={"layers.0.q": (6, 5)}) | {f"{Q}.lora_magnitude_vector": torch.ones(6)}
    with pytest.raises(AdapterError, match=r"(?s)an update has no factors.*Dora"):
        mc.LinearPath(make_point(tensors, use_dora=True), make_point(make_tensors(1)))(0.5).save_pretrained(
            tmp_path / "middle"
        )


def test_lengths_that_are_missing():
    tensors = make_tensors(0) | {f"{Q}.lora_magnitude_vector": torch.ones(6)}
    fails(tensors, "lacks a tensor", f"expected: {V}.lora_magnitude_vector", "remedy: save the adapter", use_dora=True)


def test_lengths_that_do_not_fit():
    tensors = make_tensors(0, modules={"layers.0.q": (6, 5)}) | {f"{Q}.lora_magnitude_vector": torch.ones(5)}
    fails(tensors, "factors of layers.0.q", "expected: lora_magnitude_vector [6]", "vector [5]", use_dora=True)


def test_an_added_bias_that_is_missing():
    fails(make_tensors(0), "lacks a tensor", f"expected: {Q}.lora_B.bias", lora_bias=True)


def test_an_added_bias_that_does_not_fit():
    tensors = make_tensors(0, modules={"layers.0.q": (6, 5)}) | {f"{Q}.lora_B.bias": torch.ones(5)}
    fails(tensors, "factors of layers.0.q", "expected: lora_B.bias [6]", "lora_B.bias [5] and", lora_bias=True)


def test_an_added_bias_where_the_config_is_silent():
    fails(make_tensors(0) | {f"{Q}.lora_B.bias": torch.ones(6)}, "would not be used", f"{Q}.lora_B.bias")


def test_a_trained_bias_where_the_config_is_silent():
    fails(make_tensors(0) | {f"{PREFIX}norm.bias": torch.ones(6)}, "would not be used", f"got: {PREFIX}norm.bias\n")


def test_a_trained_bias_that_the_base_lacks(bases, adapters):
    """Only a bias that is added counts from 0; one that was trained was there."""
    point = mc.Adapter.from_pretrained(adapters("llama", 1))
    name = f"{PREFIX}model.layers.0.self_attn.q_proj.base_layer.bias"
    config = type(point.config)({**point.config.raw, "bias": "lora_only"}, "the adapter")
    wrong = mc.Adapter.from_tensors({**point.tensors, name: torch.ones(16)}, config)
    with pytest.raises(ModelError, match=r"(?s)does not fit.*not there: model.layers.0.self_attn.q_proj.bias"):
        load("llama", bases("llama"), wrong)


@pytest.mark.parametrize(
    ("tokens", "told"),
    [([1], "expected: 1 rows"), ({"lm_head": [1, 2]}, "expected: 0 rows"), (None, "expected: 0 rows")],
)
def test_tokens_that_are_not_those_of_the_settings(tokens, told):
    rows = {f"{PREFIX}embed_tokens.token_adapter.trainable_tokens_delta": torch.ones(2, 5)}
    parts = "the trained tokens of embed_tokens", told, "got: a tensor [2, 5]", "remedy: use the adapter_config.json"
    fails(make_tensors(0) | rows, *parts, trainable_token_indices=tokens)


def test_points_of_different_tokens_are_not_averaged():
    rows = {f"{PREFIX}embed_tokens.token_adapter.trainable_tokens_delta": torch.ones(2, 5)}
    ends = [make_point(make_tensors(seed) | rows, trainable_token_indices=[1, seed]) for seed in (2, 3)]
    with pytest.raises(mc.PathError, match="trainable_token_indices"):
        mc.LinearPath(*ends, space="factors")


def test_a_second_copy_of_a_heads_bias_that_differs_is_left_over():
    heads = {
        f"{PREFIX}score.{name}": torch.ones(3) for name in ("bias", "modules_to_save.bias", "original_module.bias")
    }
    settings = {"bias": "all", "modules_to_save": ["score"]}
    point = make_point(make_tensors(0) | heads, **settings)
    assert sorted(point.saved) == ["score.bias"]
    differing = heads | {f"{PREFIX}score.modules_to_save.bias": torch.zeros(3)}
    assert "score.modules_to_save.bias" in make_point(make_tensors(0) | differing, **settings).saved

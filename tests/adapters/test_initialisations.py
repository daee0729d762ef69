"""Initialisations that take part of the base away: the update is the one against the base as it was."""

import json
import re
import shutil
import warnings

import pytest
import torch
from kind_oracle import assert_gate, assert_logits, assert_round_trip, load, loaded_by_peft, made
from peft import LoraConfig, PeftModel, get_peft_model
from peft_oracle import load_base, logits
from points import PREFIX, dense, make_config, make_tensors, write_folder
from safetensors.torch import load_file
from tiny import TARGETS, TASK_TYPES

import modeconn as mc
from modeconn.adapters.config import AdapterConfig
from modeconn.adapters.initial import initial_factors
from modeconn.adapters.writing import write_adapter
from modeconn.errors import AdapterError, ModelError
from modeconn.models.placing import placed

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft.*")
CASES = {
    "pissa": ("llama", {"init_lora_weights": "pissa"}),
    "pissa-conv1d": ("gpt2", {"init_lora_weights": "pissa", "use_rslora": True}),
    "olora": ("llama", {"init_lora_weights": "olora"}),
}


class Trained:
    """An adapter as PEFT trains it: before and after training, converted, and the function that was trained."""

    def __init__(self, folder, base, family, seed, **settings):
        model = load_base(family, base, torch.float32)
        model.name_or_path = str(base)
        defaults = {"r": 3, "lora_alpha": 5, "target_modules": TARGETS[family], "task_type": TASK_TYPES[family]}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peft_model = get_peft_model(model, LoraConfig(**defaults | settings)).eval()
            self.initial, self.folder, self.converted = (folder / name for name in ("initial", "trained", "converted"))
            peft_model.save_pretrained(self.initial)
            generator = torch.Generator().manual_seed(seed)
            for parameter in peft_model.parameters():
                if parameter.requires_grad:
                    parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
            peft_model.save_pretrained(self.folder)
            self.logits = logits(peft_model)
            self.peft_model = peft_model

    def convert(self):
        """PEFT's own conversion, from a copy of the initial folder, whose config it writes anew."""
        initial = shutil.copytree(self.initial, self.folder.parent / "copied")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.peft_model.save_pretrained(self.converted, path_initial_model_for_weight_conversion=str(initial))
        return self.converted


@pytest.fixture(params=CASES, scope="module")
def pair(request, bases, tmp_path_factory):
    """Family, base and two adapters that were trained from one initialisation."""
    family, settings = CASES[request.param]
    folder = tmp_path_factory.mktemp("initial")
    return family, bases(family), [Trained(folder / str(s), bases(family), family, s, **settings) for s in (1, 2)]


def fails(call, *parts):
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(map(re.escape, parts))):
        call()


def assert_close(found, expected, tolerance):
    error = (found - expected).abs().max() / expected.abs().max()
    assert error <= tolerance, f"{error:g} off"


def test_logits_are_those_of_peft_on_a_fresh_base(pair):
    family, base, (trained, _) = pair
    assert_logits(family, base, trained.folder, "float32", 2e-5)


def test_logits_are_those_of_the_training(pair):
    family, base, (trained, _) = pair
    point = mc.Adapter.from_pretrained(trained.folder)
    model = load(family, base, point, dtype="float32")
    with placed(model.module, point):
        assert_close(logits(model.module), trained.logits, 2e-5)


@pytest.mark.parametrize("space", ["weights", "factors"])
def test_a_path_is_evaluated(pair, space):
    family, base, trained = pair
    assert_gate(family, base, tuple(one.folder for one in trained), space=space)


def test_logits_are_bit_equal_after_saving(pair, tmp_path):
    family, base, (trained, _) = pair
    assert_round_trip(family, base, trained.folder, tmp_path / "saved")


def test_the_base_is_not_changed_by_loading_it_for_comparison(pair):
    family, base, (trained, _) = pair
    point = mc.Adapter.from_pretrained(trained.folder)
    model = load(family, base, point, dtype="float32")
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    with model.reference(point) as module:
        assert_close(logits(module), trained.logits, 2e-5)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_the_three_ways_to_the_update_agree(pair):
    """Recomputed from the base, from the adapter before training, and from PEFT's conversion."""
    family, base, (trained, _) = pair
    recomputed = mc.Adapter.from_pretrained(trained.folder)
    subtracted = mc.Adapter.from_pretrained(trained.folder, initial=trained.initial)
    converted = mc.Adapter.from_pretrained(trained.convert())
    model = load(family, base, recomputed, dtype="float32")
    expected = made(converted, model)
    for point in (recomputed, subtracted):
        assert sorted(made(point, model)) == sorted(expected)
        for name, value in made(point, model).items():
            assert (value - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


def test_two_adapters_on_one_base_are_right_here_and_wrong_in_peft(bases, tmp_path):
    trained = [Trained(tmp_path / str(s), bases("llama"), "llama", s, init_lora_weights="pissa") for s in (1, 2)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        both = PeftModel.from_pretrained(load_base("llama", bases("llama"), torch.float32), str(trained[0].folder))
        both.load_adapter(str(trained[1].folder), "second")
    both.eval().set_adapter("second")
    off = (logits(both) - trained[1].logits).abs().max() / trained[1].logits.abs().max()
    assert off > 0.05
    points = [mc.Adapter.from_pretrained(one.folder) for one in trained]
    model = load("llama", bases("llama"), *points, dtype="float32")
    for point, one in zip(points, trained, strict=True):
        with placed(model.module, point):
            assert_close(logits(model.module), one.logits, 2e-5)


def test_a_midpoint_is_plain_lora_once_the_base_is_known(pair, tmp_path):
    family, base, trained = pair
    ends = [mc.Adapter.from_pretrained(one.folder) for one in trained]
    model = load(family, base, *ends, dtype="float32")
    middle = mc.LinearPath(*ends).on(model)(0.3)
    first, last = (made(end, model) for end in ends)
    for name, value in made(middle, model).items():
        assert (value - 0.7 * first[name] - 0.3 * last[name]).norm() <= 1e-5 * value.norm()
    with placed(model.module, middle):
        expected = logits(model.module)
    saved = middle.save_pretrained(tmp_path / "middle")
    assert_close(logits(loaded_by_peft(family, base, saved, torch.float32)), expected, 2e-5)


def test_the_start_of_training_is_the_base(pair):
    family, base, (trained, _) = pair
    point = mc.Adapter.from_pretrained(trained.initial, allow_zero=True)
    model = load(family, base, point, dtype="float32")
    with placed(model.module, point):
        found = logits(model.module)
    assert_close(found, logits(model.module), 1e-5)


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}])
@pytest.mark.parametrize("init", ["pissa", "olora"])
def test_an_output_layer_whose_file_holds_what_was_left_of_it(init, settings, bases, tmp_path):
    """PEFT saves the weight of an output layer beside its factors: here without the first ones."""
    targets = {"target_modules": ["lm_head", "q_proj"], "init_lora_weights": init} | settings
    trained = Trained(tmp_path, bases("llama"), "llama", 1, **targets)
    assert f"{PREFIX}lm_head.base_layer.weight" in load_file(trained.folder / "adapter_model.safetensors")
    assert_logits("llama", bases("llama"), trained.folder, "float32", 2e-5)
    assert_round_trip("llama", bases("llama"), trained.folder, tmp_path / "saved")


def test_an_output_layer_with_its_first_factors(bases, tmp_path):
    targets = {"target_modules": ["lm_head", "q_proj"], "init_lora_weights": "pissa"}
    trained = Trained(tmp_path, bases("llama"), "llama", 1, **targets)
    point = mc.Adapter.from_pretrained(trained.folder, initial=trained.initial)
    with placed((model := load("llama", bases("llama"), point, dtype="float32")).module, point):
        assert_close(logits(model.module), trained.logits, 2e-5)


def test_dora_of_what_was_left_of_the_base(bases, tmp_path):
    settings = {"init_lora_weights": "pissa", "use_dora": True}
    trained = Trained(tmp_path, bases("llama"), "llama", 1, **settings)
    for initial in (None, trained.initial):
        point = mc.Adapter.from_pretrained(trained.folder, initial=initial)
        model = load("llama", bases("llama"), point, dtype="float32")
        with placed(model.module, point):
            assert_close(logits(model.module), trained.logits, 2e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"init_lora_weights": "pissa_niter_4"},
        {
            "init_lora_weights": "pissa_niter_4",
            "use_rslora": True,  # PEFT converts no patterns then
            "rank_pattern": {"q_proj": 2},
            "alpha_pattern": {"layers.1.*": 3},
        },
        {"init_lora_weights": "pissa_niter_4", "target_modules": ["q_proj", "embed_tokens"]},
    ],
)
def test_a_random_start_is_subtracted_where_it_is_given(settings, bases, tmp_path):
    trained = Trained(tmp_path, bases("llama"), "llama", 1, **settings)
    fails(lambda: mc.Adapter.from_pretrained(trained.folder), "not known", "'pissa_niter_4'", "initial=FOLDER")
    point = mc.Adapter.from_pretrained(trained.folder, initial=trained.initial)
    model = load("llama", bases("llama"), point, dtype="float32")
    with placed(model.module, point):
        assert_close(logits(model.module), trained.logits, 2e-5)
    saved = point.save_pretrained(tmp_path / "saved")
    assert_close(logits(loaded_by_peft("llama", bases("llama"), saved, torch.float32)), trained.logits, 2e-5)


def test_peft_does_not_decompose_in_float64(bases, tmp_path):
    point = mc.Adapter.from_pretrained(Trained(tmp_path, bases("llama"), "llama", 1, init_lora_weights="pissa").folder)
    model = load("llama", bases("llama"), point)
    told = r"(?s)cannot load .* in float64.*'pissa'.*load the base in float32"
    with pytest.raises(ModelError, match=told), model.reference(point):
        pass


@pytest.mark.parametrize("init", ["corda", "lora_ga", "pissa_niter_16", "something-new"])
def test_a_start_that_is_not_known_is_refused(init, tmp_path):
    folder = write_folder(tmp_path / "a", init_lora_weights=init)
    parts = "update of the adapter in", "base is not known", f"got: init_lora_weights={init!r}", "initial=FOLDER"
    fails(lambda: mc.Adapter.from_pretrained(folder), *parts)


def test_loftq_is_refused_with_its_own_remedy(tmp_path):
    folder = write_folder(tmp_path / "a", init_lora_weights="loftq")
    fails(lambda: mc.Adapter.from_pretrained(folder), "'loftq'", "remedy: save the base that LoftQ rounded")


def test_olora_of_transposed_modules_is_refused(tmp_path):
    """PEFT decomposes what Conv1D stores, and adds the factors the other way round."""
    folder = write_folder(tmp_path / "a", init_lora_weights="olora", fan_in_fan_out=True)
    fails(lambda: mc.Adapter.from_pretrained(folder), "'olora'", "remedy: merge the adapter where it was trained")


@pytest.mark.parametrize("init", ["corda", "lora_ga", "pissa_niter_16"])
def test_what_was_recorded_beside_an_adapter_is_subtracted(init, tmp_path):
    first, last = make_tensors(1), make_tensors(2)
    raw = make_config(init_lora_weights=init)
    kept = initial_factors(first | {f"{PREFIX}norm.bias": torch.ones(2)}, raw)
    folder = write_adapter(tmp_path / "a", last, raw, {}, initial=kept)
    point = mc.Adapter.from_pretrained(folder)
    begun, ended = dense(first), dense(last)
    for name, update in point.updates.items():
        torch.testing.assert_close(update.dense().double(), ended[name] - begun[name], rtol=1e-5, atol=1e-5)
    assert point.config.raw["init_lora_weights"] is True
    again = mc.Adapter.from_pretrained(point.save_pretrained(tmp_path / "again"))
    assert again.fingerprint == point.fingerprint


def test_nothing_is_kept_of_a_start_that_left_the_base_alone(tmp_path):
    assert initial_factors(make_tensors(1), make_config(init_lora_weights="eva")) == {}
    folder = write_adapter(tmp_path / "a", make_tensors(1), make_config(), {}, initial={})
    assert sorted(file.name for file in folder.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]


def test_an_adapter_that_has_not_moved_changes_nothing(tmp_path):
    first, last = (write_folder(tmp_path / name, init_lora_weights="corda") for name in "ab")
    fails(lambda: mc.Adapter.from_pretrained(last, initial=first), "changes nothing")
    point = mc.Adapter.from_pretrained(last, initial=first, allow_zero=True)
    assert point.norm() == 0


def test_a_broken_record(tmp_path):
    folder = write_folder(tmp_path / "a", init_lora_weights="corda")
    (folder / "modeconn_initial.safetensors").write_bytes(b"none")
    fails(lambda: mc.Adapter.from_pretrained(folder), "cannot read the weights", "expected: whole tensors")


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({f"{PREFIX}layers.0.q.lora_A.weight": torch.ones(3, 5)}, "lora_A.weight: [3, 5] for [2, 5]"),
        ({f"{PREFIX}layers.0.q.lora_A.weight": None}, "layers.0.q.lora_A.weight: none"),
        ({f"{PREFIX}layers.{name}.lora_B.weight": torch.zeros(rows, 2) for name, rows in (("0.q", 6), ("1.v", 4))},
         "factors whose lora_B is zero"),
    ],
)  # fmt: skip
def test_initial_factors_of_another_adapter(changed, told, tmp_path):
    tensors = {name: value for name, value in (make_tensors(1) | changed).items() if value is not None}
    first = write_folder(tmp_path / "a", tensors, init_lora_weights=True)
    last = write_folder(tmp_path / "b", init_lora_weights="corda")
    parts = "initial factors are not those of the adapter in", "expected: a lora_A and lora_B", told, "get_peft_model"
    fails(lambda: mc.Adapter.from_pretrained(last, initial=first), *parts)


def test_initial_factors_of_another_scaling(tmp_path):
    first = write_folder(tmp_path / "a", make_tensors(1), lora_alpha=4)
    last = write_folder(tmp_path / "b", init_lora_weights="corda")
    parts = "the initial adapter is not that of", "expected: the same scaling", "lora_alpha=4 instead of 3", "remedy:"
    fails(lambda: mc.Adapter.from_pretrained(last, initial=first), *parts)


@pytest.mark.parametrize("init", [True, "eva", "loftq"])
def test_initial_factors_where_they_do_not_belong(init, tmp_path):
    first, last = write_folder(tmp_path / "a", make_tensors(1)), write_folder(tmp_path / "b", init_lora_weights=init)
    parts = (
        "initial factors do not belong to",
        "corda, lora_ga, olora, pissa",
        f"init_lora_weights={init!r}",
        "leave them",
    )
    fails(lambda: mc.Adapter.from_pretrained(last, initial=first), *parts)


def test_points_of_different_starts_are_not_averaged(tmp_path):
    ends = [
        mc.Adapter.from_pretrained(write_folder(tmp_path / str(init), make_tensors(1), init_lora_weights=init))
        for init in ("pissa", True)
    ]
    with pytest.raises(mc.PathError, match="init_lora_weights"):
        mc.LinearPath(*ends, space="factors")


def test_the_start_counts_for_the_fingerprint():
    config = AdapterConfig.parse(make_config(init_lora_weights="pissa"), "the adapter")
    plain = AdapterConfig.parse(make_config(), "the adapter")
    points = [mc.Adapter.from_tensors(make_tensors(0), one) for one in (config, plain)]
    assert points[0].fingerprint != points[1].fingerprint
    assert json.dumps(dict(config.raw)) != json.dumps(dict(plain.raw))

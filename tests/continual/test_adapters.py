"""Every kind of adapter that the trainer offers: what it saves is what it trained, and points of paths."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from evaluation_tasks import make_task
from peft_oracle import load_peft, logits
from tiny import TARGETS

import modeconn as mc
from modeconn.continual import TrainRun, train
from modeconn.continual.settings import AdapterKind, TrainSettings
from modeconn.continual.starting import RECIPES
from modeconn.errors import ModelError, RunError

SHORT = {"num_train_epochs": 1, "learning_rate": 5e-2, "per_device_train_batch_size": 8}
SEQUENCE = [make_task("first", 0, num_examples=24), make_task("second", 1, num_examples=24)]
PROMPTS = ("prompt-tuning", "p-tuning", "prefix-tuning", "l2p", "loretta-adp")  # these change no weight
KINDS = [*RECIPES, "full"]
OPTIONS = {
    "vera": {"rank": 4},
    "ia3": {"adapter_options": {"feedforward_modules": []}},
    "fourierft": {"adapter_options": {"n_frequency": 16}},
    "boft": {"adapter_options": {"boft_block_size": 4}},
    "loretta-adp": {"adapter_options": {"bottleneck": 4}},
    "l2p": {"method": "l2p"},
}
TARGETED = {"q_proj", "v_proj"}


def settings_of(kind: str) -> dict[str, object]:
    """The settings of a short run."""
    untargeted = {"full", "ln-tuning", *PROMPTS}
    targets = {} if kind in untargeted else {"target_modules": tuple(sorted(TARGETED))}
    return {**SHORT, "adapter": kind, **targets, **OPTIONS.get(kind, {})}


def test_the_settings_offer_every_recipe() -> None:
    assert set(KINDS) == set(AdapterKind.__args__)


@pytest.fixture(scope="module")
def run_of(bases: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TrainRun]:
    """A short run of a kind, made once."""
    runs: dict[str, TrainRun] = {}

    def made(kind: str) -> TrainRun:
        if kind not in runs:
            runs[kind] = train(tmp_path_factory.mktemp(kind) / "run", bases("llama"), SEQUENCE, **settings_of(kind))
        return runs[kind]

    return made


def loss(run: TrainRun, after_task: int, task: str) -> float:
    cells = run.scores.query("metric == 'loss'").set_index(["after_task", "task"])["score"]
    return float(cells.loc[after_task, task])


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_are_what_was_trained(kind: str, run_of: Callable[[str], TrainRun], bases) -> None:
    run = run_of(kind)
    assert loss(run, 1, "first") < loss(run, 0, "first")
    points = [mc.Adapter.from_pretrained(folder) for folder in run.checkpoints]
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=points)
    path = mc.LinearPath(*points, space="factors" if kind in PROMPTS else "weights")
    profile = mc.evaluate_path(path, model, SEQUENCE, num_points=3)  # the gate compares the ends with PEFT
    ends = profile.frame.set_index(["task", "t"])["loss"]
    assert ends["first", 0.0] == pytest.approx(loss(run, 1, "first"), rel=1e-5)
    assert ends["second", 1.0] == pytest.approx(loss(run, 2, "second"), rel=1e-5)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in PROMPTS])
def test_the_first_row_is_the_base_model(kind: str, run_of: Callable[[str], TrainRun], bases) -> None:
    model = mc.AdapterModel.from_pretrained(bases("llama"))
    answers = model.encode(SEQUENCE[0], settings=mc.EncodingSettings(all_choices=False))
    right, _ = model.score_rows(model.module, answers)
    assert loss(run_of(kind), 0, "first") == pytest.approx(right.mean(), rel=1e-5)


@pytest.mark.parametrize("kind", ["pissa", "olora"])
def test_what_was_taken_out_of_the_base_is_saved(kind: str, run_of: Callable[[str], TrainRun]) -> None:
    for folder in run_of(kind).checkpoints:
        assert (folder / "modeconn_initial.safetensors").exists()
        point = mc.Adapter.from_pretrained(folder)
        assert not point.needs_base  # as it is where the start has to be computed from the base
        assert {update.rank for update in point.updates.values()} == {16}


@pytest.mark.parametrize("kind", ["lora", "pissa", "full", "p-tuning"])
def test_an_interrupted_run_ends_with_the_same_bits(
    kind: str, run_of: Callable[[str], TrainRun], bases: Callable[[str], Path], tmp_path: Path
) -> None:
    def interrupt(done: int, total: int, what: str) -> None:
        del total
        if "second" in what and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", bases("llama"), SEQUENCE, progress=interrupt, **settings_of(kind))
    resumed = train(tmp_path / "run", bases("llama"), SEQUENCE, **settings_of(kind))
    straight = run_of(kind)
    assert resumed.scores.equals(straight.scores)
    pairs = zip(resumed.checkpoints, straight.checkpoints, strict=True)
    assert all(mc.Adapter.from_pretrained(a).fingerprint == mc.Adapter.from_pretrained(b).fingerprint for a, b in pairs)


def test_the_base_in_memory_stays_what_it_was(bases: Callable[[str], Path]) -> None:
    from modeconn.continual.learner import learner

    model = mc.AdapterModel.from_pretrained(bases("llama"))
    before = {name: value.clone() for name, value in model.module.state_dict().items()}
    for kind in ("pissa", "full"):
        trained = learner(model, TrainSettings(**settings_of(kind)))
        with torch.no_grad():
            for weight in trained.weights.values():
                weight.add_(1.0)
    assert all(torch.equal(value, before[name]) for name, value in model.module.state_dict().items())


def test_a_full_classifier_knows_its_classes(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = train(tmp_path / "run", bases("bert"), SEQUENCE, **{**SHORT, "adapter": "full", "task_type": "SEQ_CLS"})
    point = mc.Adapter.from_pretrained(run.checkpoints[-1])
    model = mc.AdapterModel.from_pretrained(bases("bert"), adapters=[point], task_type="SEQ_CLS")
    assert model.family.labels == tuple(SEQUENCE[0].labels)


def test_settings_of_other_kinds_are_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"kind ia3 has no such setting\n.*\n  got: --rank 4\n"):
        train(tmp_path / "a", bases("llama"), SEQUENCE, adapter="ia3", rank=4)
    with pytest.raises(RunError, match=r"kind lora has no such setting\n(.*\n)?  got: adapter_options with ranks\n"):
        train(tmp_path / "b", bases("llama"), SEQUENCE, adapter_options={"ranks": 4})
    with pytest.raises(ModelError, match="PEFT cannot make the adapter"):
        train(tmp_path / "c", bases("llama"), SEQUENCE, adapter_options={"init_lora_weights": "nothing"})
    with pytest.raises(RunError, match="adapter cannot be used for training"):
        TrainSettings(adapter="lara")


@pytest.mark.parametrize(
    ("targets", "feedforward"), [(("q_proj", "v_proj"), []), (("q_proj", "mlp.down_proj"), ["mlp.down_proj"])]
)
def test_ia3_of_chosen_modules_is_loaded_by_peft(targets, feedforward, bases: Callable[[str], Path], tmp_path: Path):
    settings = {**SHORT, "adapter": "ia3", "target_modules": targets}
    run = train(tmp_path / "run", bases("llama"), SEQUENCE, **settings)
    point = mc.Adapter.from_pretrained(run.checkpoints[-1])
    assert point.config.raw["feedforward_modules"] == feedforward
    loaded = load_peft("llama", bases("llama"), run.checkpoints[-1])
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point], dtype="float64")
    with model.at(point) as module:
        torch.testing.assert_close(logits(module), logits(loaded))


def test_ia3_of_a_name_for_both_sorts_of_modules_is_refused(bases: Callable[[str], Path], tmp_path: Path) -> None:
    told = r"(?s)tell feed-forward modules \(mlp.c_proj\).*got: c_proj.*remedy: .*feedforward_modules"
    with pytest.raises(ModelError, match=told):
        train(tmp_path / "a", bases("gpt2"), SEQUENCE, adapter="ia3", target_modules=("c_attn", "c_proj"))


@pytest.mark.parametrize("settings", [{"adapter": "olora"}, {"adapter_options": {"init_lora_weights": "olora"}}])
def test_olora_of_transposed_modules_is_refused(settings, bases: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"(?s)store their weight as \[out, in\].*got: .*c_attn.*train another kind"):
        train(tmp_path / "a", bases("gpt2"), SEQUENCE, **settings)


def test_adapter_options_reach_peft(bases: Callable[[str], Path], tmp_path: Path) -> None:
    options = {"use_rslora": True, "layers_to_transform": [0]}
    run = train(tmp_path / "run", bases("llama"), SEQUENCE, adapter_options=options, **SHORT)
    point = mc.Adapter.from_pretrained(run.checkpoints[0])
    assert point.config.raw["use_rslora"] is True
    assert {name.split(".")[2] for name in point.updates} == {"0"}
    assert set(TARGETS["llama"]) <= TARGETED or TARGETS["llama"]

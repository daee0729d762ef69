"""L2P: every text chooses prompts of one pool by its question, and the keys go where the questions are."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from evaluation_tasks import make_task
from method_runs import (
    check_resumes,
    log_of,
    loss_of,
    penalty_in_parts,
    points,
    short_train,
    tiny_run,
)
from tiny import FAMILIES
from tiny_images import image_task, make_vit

import modeconn as mc
from modeconn.continual import TrainRun
from modeconn.continual.methods import L2P, Sequential
from modeconn.errors import AdapterError, ModelError, RunError
from modeconn.models.activations import activations
from modeconn.models.generating import write
from modeconn.models.inputs import read_inputs

POOL = "base_model.model.prompt_pool."
SIZES = {"pool_size": 6, "prompt_length": 2, "top_n": 2}
SETTINGS: dict[str, Any] = {"adapter": "l2p", "adapter_options": SIZES, "learning_rate": 0.1}


def distances(base: Path, family: str, rows: list[tuple[int, ...]], keys: torch.Tensor) -> torch.Tensor:
    """`1 - cos` of each question, read alone by the plain base, with each key, `[N, M]`."""
    model: Any = type(FAMILIES[family]()).from_pretrained(base).eval()
    trunk = model.get_encoder() if model.config.is_encoder_decoder else model.base_model
    with torch.no_grad():
        queries = torch.stack([trunk(input_ids=torch.tensor([row])).last_hidden_state[0].mean(0) for row in rows])
    return 1 - torch.cosine_similarity(queries[:, None], keys[None], dim=2)


def choices(run: TrainRun) -> list[list[int]]:
    """How often each prompt was chosen in training, task by task."""
    return json.loads((run.checkpoints[0].parent / "run.json").read_text())["facts"]["chosen_prompts"]


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert", "t5"])
def test_the_penalty_is_the_distance_of_the_nearest_keys_to_the_questions(
    bases: Callable[[str], Path], tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(tmp_path / "run", bases(family), method="l2p", **SETTINGS)
    method = L2P(key_weight=0.7).start(run)
    method.start_task(1)
    rows = list(range(11))
    contexts = [run.train_sets[1].rows.rows[row].context for row in rows]
    found = distances(bases(family), family, contexts, run.learner.weights[f"{POOL}l2p_keys.default"].detach())
    expected = 0.7 * found.sort(dim=1).values[:, :2].sum(1).mean()
    monkeypatch.setattr(run.learner.module, "eval", run.learner.module.train)  # dropout must not reach the query
    parts = [penalty_in_parts(run, method, rows, size) for size in (11, 4)]
    assert parts == pytest.approx([float(expected)] * 2, rel=1e-4)


def test_choices_of_one_question_with_other_answers_are_equal(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("llama"), method="l2p", **SETTINGS)
    row = run.train_sets[0].rows.rows[0]
    answers = ((5,), (7, 9), (8, 4, 11, 12))
    batch = run.family.collate([replace(row, targets=answer) for answer in answers], run.model.pad_id)
    method = L2P().start(run)
    run.learner.module.train()
    run.logits(batch)
    made = method._made
    assert len({tuple(places) for choice in made for places in choice.places.tolist()}) == 1
    spread = torch.cat([choice.distances for choice in made])
    assert (spread - spread[0]).abs().max() < 1e-5


def test_keys_move_towards_the_questions_and_unchosen_prompts_stay(
    bases: Callable[[str], Path], tmp_path: Path
) -> None:
    run = short_train(tmp_path / "run", bases("llama"), L2P(), **SETTINGS)
    log = log_of(run)
    assert log[-1]["penalty"] < 0.5 * log[0]["penalty"]
    assert loss_of(run, 1, "first") < loss_of(run, 0, "first")
    first, second = points(run)
    chosen = choices(run)
    assert [sum(counts) for counts in chosen] == [24 * 2 * 2] * 2  # examples, epochs, prompts
    unchosen = [place for place, count in enumerate(chosen[1]) if count == 0]
    assert 0 < len(unchosen) < 6
    for name in ("l2p_prompts", "l2p_keys"):
        moved = (first.tensors[POOL + name] != second.tensors[POOL + name]).flatten(1).any(1)
        assert moved.tolist() == [place not in unchosen for place in range(6)]


def test_without_weight_the_keys_stay(bases: Callable[[str], Path], tmp_path: Path) -> None:
    first, second = points(short_train(tmp_path / "run", bases("llama"), L2P(key_weight=0), **SETTINGS))
    assert torch.equal(first.tensors[f"{POOL}l2p_keys"], second.tensors[f"{POOL}l2p_keys"])
    assert not torch.equal(first.tensors[f"{POOL}l2p_prompts"], second.tensors[f"{POOL}l2p_prompts"])


def test_a_new_task_turns_to_prompts_that_were_not_chosen(bases: Callable[[str], Path], tmp_path: Path) -> None:
    chosen = {}
    for spread in (False, True):
        run = short_train(tmp_path / f"{spread}", bases("llama"), L2P(spread_tasks=spread), **SETTINGS)
        chosen[spread] = [{place for place, count in enumerate(counts) if count} for counts in choices(run)]
    assert chosen[True][0] == chosen[False][0]  # nothing to avoid yet
    assert chosen[False][0] & chosen[False][1]
    assert not chosen[True][0] & chosen[True][1]


def test_killed_and_started_again(bases: Callable[[str], Path], tmp_path: Path) -> None:
    check_resumes(tmp_path, bases("llama"), L2P(spread_tasks=True), lora_dropout=None, **SETTINGS)


def test_smaller_batches_make_the_same_steps(bases: Callable[[str], Path], tmp_path: Path) -> None:
    runs = []
    for size in (8, 2):
        settings = {"per_device_train_batch_size": size, "gradient_accumulation_steps": 8 // size}
        runs.append(short_train(tmp_path / f"{size}", bases("llama"), L2P(), **SETTINGS, **settings))
    for one, other in zip(*map(log_of, runs), strict=True):
        assert [one["loss"], one["penalty"]] == pytest.approx([other["loss"], other["penalty"]], rel=1e-3)


@pytest.mark.parametrize("family", ["llama", "bert"])
def test_a_path_between_checkpoints_is_measured(bases: Callable[[str], Path], tmp_path: Path, family: str) -> None:
    run = short_train(tmp_path / "run", bases(family), L2P(), **SETTINGS)
    ends = points(run)
    model = mc.AdapterModel.from_pretrained(bases(family), adapters=ends)
    task = make_task("first", 0)
    profile = mc.evaluate_path(mc.LinearPath(*ends, space="factors"), model, [task], num_points=3)
    losses = profile.frame.set_index("t")["loss"]
    assert losses[0.0] == pytest.approx(loss_of(run, 1, "first"), rel=1e-5)
    assert losses[1.0] == pytest.approx(loss_of(run, 2, "first"), rel=1e-5)
    tensors = {name: (value + ends[1].tensors[name]) / 2 for name, value in ends[0].tensors.items()}
    middle = mc.Adapter.from_tensors(tensors, ends[0].config, name="middle")
    (sums,) = model.evaluate(middle, [model.encode(task)])
    assert losses[0.5] == pytest.approx(sums.loss_sum.sum() / sums.num_tokens.sum(), rel=1e-5)


def test_written_answers_are_those_of_peft(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = short_train(tmp_path / "run", bases("llama"), L2P(), **SETTINGS)
    (point,) = points(run)[1:]
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=[point])
    records = [{"prompt": f"question : the {word} sat", "answer": "good bad"} for word in ("cat", "big dog", "red mat")]
    task = replace(mc.Task.from_records("free", {"test": records}), metric="generated_exact_match", max_new_tokens=4)
    split = model.encode(task)
    with model.at(point) as module:
        written = write(model, module, split)
        peft_model: Any = module.peft_model
        for tokens, context in zip(written, split.questions.contexts, strict=True):
            asked = torch.tensor([context])
            found = peft_model.generate(input_ids=asked, max_new_tokens=4, do_sample=False)[0, len(context) :]
            assert tuple(found.tolist()) == tokens


def test_hidden_states_of_a_checkpoint_are_read_behind_its_prompts(
    bases: Callable[[str], Path], tmp_path: Path
) -> None:
    ends = points(short_train(tmp_path / "run", bases("llama"), L2P(), **SETTINGS))
    model = mc.AdapterModel.from_pretrained(bases("llama"), adapters=ends)
    inputs = read_inputs(model, make_task("first", 0), num_examples=5)
    found = activations(model, ends[1], inputs, sites="layers").features["layers.0"]
    with model.at(ends[1]) as module:
        plain: Any = module.peft_model
        rows = [torch.tensor([row.context]) for row in inputs.rows]
        expected = [plain(input_ids=row, output_hidden_states=True).hidden_states[1][0, -1] for row in rows]
    torch.testing.assert_close(found, torch.stack(expected).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "settings", "told"),
    [
        (L2P(), {"adapter": "lora"}, "method l2p trains a pool of prompts\n  expected: --adapter l2p\n  got: lora\n"),
        (L2P(key_weight=-1), SETTINGS, "key_weight of l2p cannot be used\n  expected: 0 or more\n  got: -1\n"),
        (L2P(spread_tasks=2), SETTINGS, "spread_tasks of l2p cannot be used\n  expected: true or false\n"),  # type: ignore[arg-type]
        (Sequential(), SETTINGS, "adapter cannot be used .*\n  expected: another kind, or l2p together with --method"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_together(
    bases: Callable[[str], Path], tmp_path: Path, method: Sequential, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(RunError, match=told):
        short_train(tmp_path / "run", bases("llama"), method, **settings)


def test_sizes_that_cannot_be_used(bases: Callable[[str], Path], tmp_path: Path) -> None:
    settings = {**SETTINGS, "adapter_options": {"pool_size": 2, "top_n": 3}}
    with pytest.raises(AdapterError, match="top_n: at most the 2 prompts of the pool\n  got: top_n=3\n"):
        short_train(tmp_path / "a", bases("llama"), L2P(), **settings)
    settings = {**SETTINGS, "adapter_options": {"prompt_length": 12}}
    with pytest.raises(ModelError, match=r"too long beside the prompt\n.*at most 64 positions, of which .* takes 60\n"):
        short_train(tmp_path / "b", bases("gpt2"), L2P(), **settings)


def test_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="an adapter of the kind l2p cannot be trained for images"):
        tiny_run(tmp_path / "run", make_vit(tmp_path / "vit"), [image_task("first")], method="l2p", **SETTINGS)

"""Packed rows in training: the losses, penalties and gradients of padded ones."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from method_runs import SEQUENCE, log_of, short_train, tiny_run
from tiny import TARGETS, make_base

import modeconn as mc
from modeconn.continual.methods import AGEM, ILoRA, LwF, Sequential
from modeconn.continual.run import Run
from modeconn.continual.share import parted, shares, text_positions
from modeconn.models.family import Causal, Classifier

PACKABLE = ["llama", "gpt2", "bert"]
NO_DROPOUT: dict[str, dict[str, float]] = {
    "llama": {},
    "gpt2": {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0},
    "bert": {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0},
}


def longest_first(run: Run) -> list[int]:
    """Rows of the first task, the longest and the shortest in turn."""
    rows = run.train_sets[0].rows.rows
    order = sorted(range(len(rows)), key=lambda row: len(rows[row].context))
    return [row for pair in zip(reversed(order), order, strict=True) for row in pair][:8]


def gradients(run: Run, *, method: Sequential | None = None) -> dict[str, torch.Tensor]:
    """Of a batch's loss, and of what a method adds to it, without dropout."""
    run.learner.module.eval()
    batch = run.batch([(run.train_sets[0], row) for row in longest_first(run)])
    with run.autocast():
        logits = run.logits(batch)
        loss = run.losses(batch, logits).sum()
    if method is not None:
        penalty = method.batch_penalty(batch, logits, replayed=True, share=shares([batch])[0])
        assert penalty is not None
        assert penalty.item() > 0
        loss = loss + 10 * penalty
    weights = run.learner.weights
    found = torch.autograd.grad(loss, list(weights.values()), materialize_grads=True)
    return dict(zip(weights, found, strict=True))


def moved(run: Run) -> Run:
    """The run with a learner that is no longer the base."""
    generator = torch.Generator().manual_seed(1)
    run.load({name: one + 0.3 * torch.randn(one.shape, generator=generator) for name, one in run.weights().items()})
    return run


def is_packed(run: Run) -> bool:
    """Whether the run's batches have no padding."""
    return run.batch([(run.train_sets[0], row) for row in (0, 1)]).packed is not None


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor], *, within: float = 1e-4) -> None:
    """Gradients that agree to a part of their norm, and are not zero."""
    one, other = (torch.cat([value.flatten() for value in found.values()]).double() for found in (first, second))
    assert first.keys() == second.keys()
    assert other.norm() > 0
    assert (one - other).norm() <= within * other.norm()


@pytest.mark.parametrize("adapter", ["lora", "dora", "ia3", "wegeft", "loretta-rep", "loretta-adp", "full"])
@pytest.mark.parametrize("family", PACKABLE)
def test_the_gradients_are_those_of_padded_rows(
    bases: Callable[[str], Path], tmp_path: Path, family: str, adapter: str
) -> None:
    targets = {} if adapter == "full" else {"target_modules": TARGETS[family][:1]}
    runs = [
        moved(tiny_run(tmp_path / str(packing), bases(family), adapter=adapter, packing=packing, **targets))
        for packing in (True, False)
    ]
    assert [is_packed(run) for run in runs] == [True, False]
    assert_same(*map(gradients, runs))


@pytest.mark.parametrize("layers", ["last", "all", [0]])
@pytest.mark.parametrize("family", PACKABLE)
def test_hidden_states_are_compared_at_the_same_positions(
    bases: Callable[[str], Path], tmp_path: Path, family: str, layers: str | list[int]
) -> None:
    found = []
    for packing in (True, False):
        method = ILoRA(buffer_size=16, layers=layers)  # type: ignore[arg-type]
        run = tiny_run(
            tmp_path / str(packing), bases(family), packing=packing, target_modules=TARGETS[family],
            method="ilora", method_options={"buffer_size": 16, "layers": layers},
        )  # fmt: skip
        method = method.start(run)
        found.append(gradients(moved(run), method=method))
        assert is_packed(run) is packing
    assert_same(*found)


@pytest.mark.parametrize("family", PACKABLE)
def test_layers_that_are_run_again_attend_within_the_same_texts(tmp_path: Path, family: str) -> None:
    base = make_base(tmp_path / "base", family, **NO_DROPOUT[family])
    found = []
    for again in (True, False):
        run = tiny_run(tmp_path / str(again), base, target_modules=TARGETS[family], gradient_checkpointing=again)
        moved(run).learner.module.train()  # layers are run again in training only
        assert is_packed(run)
        batch = run.batch([(run.train_sets[0], row) for row in longest_first(run)])
        weights = run.learner.weights
        gradient = torch.autograd.grad(run.losses(batch).sum(), list(weights.values()), materialize_grads=True)
        found.append(dict(zip(weights, gradient, strict=True)))
    assert_same(*found)


@pytest.mark.parametrize(("again", "expected"), [(True, 2), (False, 1)])
def test_layers_are_in_fact_run_again(bases: Callable[[str], Path], tmp_path: Path, again: bool, expected: int) -> None:
    run = moved(tiny_run(tmp_path / "run", bases("llama"), gradient_checkpointing=again))
    run.learner.module.train()
    calls = []
    layer = run.learner.module.get_submodule("model.layers.0.input_layernorm")
    layer.register_forward_hook(lambda *_: calls.append(1))
    run.losses(run.batch([(run.train_sets[0], row) for row in (0, 1)])).sum().backward()
    assert len(calls) == expected


@pytest.mark.parametrize("adapter", ["prompt-tuning", "prefix-tuning"])
def test_prompts_and_recomputing_are_refused_together(
    bases: Callable[[str], Path], tmp_path: Path, adapter: str
) -> None:
    with pytest.raises(mc.ModelError, match=r"(?s)cannot be recomputed.*without a prompt\n.*got: Prompted\n"):
        tiny_run(tmp_path / "run", bases("llama"), adapter=adapter, gradient_checkpointing=True)


def test_bf16_is_as_near_to_float32_as_with_padding(bases: Callable[[str], Path], tmp_path: Path) -> None:
    found = []
    for number, settings in enumerate(({}, {"bf16": True}, {"bf16": True, "packing": False})):
        run = moved(tiny_run(tmp_path / str(number), bases("llama"), **settings))
        found.append(torch.cat([one.flatten() for one in gradients(run).values()]))
    packed, padded = ((one - found[0]).norm() / found[0].norm() for one in found[1:])
    assert 0 < packed < 1.5 * padded
    assert padded < 0.15


@pytest.mark.parametrize(
    ("family", "settings", "kind"),
    [
        ("llama", {}, Causal(packed=True, lean=True)),
        ("llama", {"packing": False}, Causal()),
        ("llama", {"adapter": "prompt-tuning", "adapter_options": {"num_virtual_tokens": 2}}, Causal()),
        ("llama", {"method": "ilora"}, Causal(packed=True)),
        ("llama", {"method": "ilora", "method_options": {"consistency_weight": 0}}, Causal(packed=True, lean=True)),
        ("llama", {"gradient_checkpointing": True}, Causal(packed=True)),
        ("bert", {"target_modules": TARGETS["bert"]}, Classifier((), packed=True, lean=True)),
    ],
)
def test_rows_are_packed_where_model_and_method_allow(
    bases: Callable[[str], Path], tmp_path: Path, family: str, settings: dict, kind: Causal | Classifier
) -> None:
    run = tiny_run(tmp_path / "run", bases(family), **settings)
    assert (replace(run.family, labels=()) if isinstance(run.family, Classifier) else run.family) == kind


def test_an_encoder_decoder_is_padded(bases: Callable[[str], Path], tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", bases("t5"), target_modules=TARGETS["t5"])
    assert not is_packed(run)
    assert run.family == run.model.family


@pytest.mark.parametrize("method", [Sequential(), ILoRA(buffer_size=16, decay=0.9), LwF(), AGEM(buffer_size=16)])
def test_a_whole_run_ends_where_that_of_padded_rows_does(
    bases: Callable[[str], Path], tmp_path: Path, method: Sequential
) -> None:
    runs = [short_train(tmp_path / str(packing), bases("llama"), method, packing=packing) for packing in (True, False)]
    first, second = (mc.Adapter.from_pretrained(run.checkpoints[-1]) for run in runs)
    assert (first - second).norm() < 1e-3 * first.norm()


def test_batches_cut_by_tokens_make_the_same_steps(tmp_path: Path) -> None:
    base = make_base(tmp_path / "base", "llama")
    budget, runs = 30, []
    for number, settings in enumerate(({}, {"train_token_budget": budget})):
        runs.append(short_train(tmp_path / str(number), base, ILoRA(buffer_size=16, decay=0.9), **settings))
    first, second = (mc.Adapter.from_pretrained(run.checkpoints[-1]) for run in runs)
    assert (first - second).norm() < 1e-4 * first.norm()
    logs = [log_of(run) for run in runs]
    assert len(logs[0]) == len(logs[1])


def test_no_batch_has_more_tokens_than_the_budget(bases: Callable[[str], Path], tmp_path: Path) -> None:
    from modeconn.continual.sequence import TaskSequence
    from modeconn.continual.task_work import TaskWork
    from modeconn.runs import RunFolder

    run = tiny_run(tmp_path / "one", bases("llama"), train_token_budget=30)
    sizes = []
    run.learner.module.get_submodule("model.embed_tokens").register_forward_hook(
        lambda _, inputs, __: sizes.append(inputs[0].numel())
    )
    with RunFolder.open(tmp_path / "two", command="train", settings={}) as folder:
        sequence = TaskSequence(folder, run, ["after-1", "after-2"], None)
        work = TaskWork(run, 1)
        rows = work.rows(0)
        assert rows is not None
        sequence.method.start_task(1)
        sequence.step(work, rows)
    assert sum(sizes) == sum(run.family.length(run.train_sets[0].rows.rows[row]) for row in rows)
    assert len(sizes) > 1
    assert max(sizes) <= 30


def test_rows_over_the_budget_go_alone() -> None:
    rows = [3, 4, 1, 9, 2]
    assert parted(rows, size=5, count=1, cost=int, budget=8) == [[3, 4, 1], [9], [2]]
    assert parted(rows, size=2, count=1, cost=int, budget=8) == [[3, 4], [1], [9], [2]]
    assert parted(rows, size=5, count=1, cost=int) == [rows]


def test_a_budget_below_one_token_is_refused() -> None:
    with pytest.raises(mc.RunError, match="train_token_budget cannot be used for training"):
        mc.TrainSettings(train_token_budget=0)


def test_rows_of_two_examples_with_one_prompt_stand_apart(bases: Callable[[str], Path], tmp_path: Path) -> None:
    """So that a mean over positions counts both."""
    run = tiny_run(tmp_path / "run", bases("llama"), [SEQUENCE[0]])
    rows = run.train_sets[0].rows.rows
    twins = next((i, k) for i in range(len(rows)) for k in range(i) if rows[i].context == rows[k].context)
    batch = run.batch([(run.train_sets[0], row) for row in twins])
    assert batch.packed is not None
    assert len(batch.packed.texts) == 2


def test_rows_of_two_tasks_with_one_number_and_one_prompt_stand_apart(
    bases: Callable[[str], Path], tmp_path: Path
) -> None:
    """A replayed batch may hold both; every position counts, as in batches of one row."""
    run = tiny_run(tmp_path / "run", bases("llama"))
    pair = [(split, 4) for split in run.train_sets]
    assert len({split.rows.rows[row].context for split, row in pair}) == 1
    batch = run.batch(pair)
    assert batch.packed is not None
    assert text_positions(batch).sum() == sum(int(text_positions(run.batch([one])).sum()) for one in pair)


def test_every_pass_of_a_method_is_made_in_bf16_where_the_settings_ask(
    bases: Callable[[str], Path], tmp_path: Path
) -> None:
    rows = {}
    for bf16 in (False, True):
        run = tiny_run(tmp_path / f"{bf16}", bases("llama"), bf16=bf16)
        batch = run.batch([(run.train_sets[0], row) for row in range(4)])
        rows[bf16] = run.logits(batch).dtype, run.losses(batch).dtype
    assert rows == {False: (torch.float32,) * 2, True: (torch.bfloat16, torch.float32)}

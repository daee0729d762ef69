"""A training step against the step that a user writes with PEFT today, and an I-LoRA step against its lower bound.

    python analysis/benchmarks/train.py [--rounds 5] [--threads 1] [--models 4x256 8x512]

All train LoRA of rank 8 on query and value of a random Llama, float32, AdamW, batches of 8 of the same 128 examples: 20
to 256 tokens (log-normal), answers of 1 to 8. I-LoRA replays 8 of 128 others a step.

- usual: PEFT, the examples in random order, padded to the longest, logits and loss over all positions.
- lora: a step of `modeconn train`, sequential.
- ilora: a step of `modeconn train --method ilora`, the last layer's hidden states compared.
- bound: what an I-LoRA step cannot do without: the fast learner's forward and backward pass on current and replayed
  rows, packed into one, and the slow learner's forward pass on the replayed ones; no loss of hidden states, no update.
- scheme: three padded passes with all logits and all hidden states, as the public code makes them, corrected so that
  mask, labels and slow learner are right (the public code cannot be run; see the paper, arXiv 2402.18865).

One round is every batch once. The five take turns batch by batch, in an order that moves on every time, so that what
else the machine does strikes all. A ratio is that of two steps on one batch in one round; printed are the median of all
ratios and, between brackets, their quartiles. "average" is the part of an I-LoRA step that the slow learner's update
takes.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from fit import (
    BATCH,
    NUM_BATCHES,
    RANK,
    SHAPES,
    Step,
    lora_config,
    random_adapters,
    random_model,
    random_task,
    usual_step,
)
from numpy import quantile
from peft import get_peft_model
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer

import modeconn as mc
from modeconn.continual.methods import ILoRA
from modeconn.continual.preparing import prepared
from modeconn.continual.sequence import TaskSequence
from modeconn.continual.task_work import TaskWork
from modeconn.runs import RunFolder

ORDER = ["usual", "lora", "ilora", "bound", "scheme"]
RATIOS = [("usual", "lora"), ("ilora", "bound"), ("scheme", "ilora")]
DECAY = 0.99


@contextmanager
def sequence_of(folder: Path, base: Path, tasks: Sequence[mc.Task], method: str) -> Iterator[TaskSequence]:
    """Training at the start of the second task."""
    options = {"decay": DECAY, "buffer_size": BATCH * NUM_BATCHES} if method == "ilora" else {}
    settings = mc.TrainSettings(
        method=method, method_options=options, rank=RANK, lora_dropout=0.0, num_train_epochs=(1,),
        target_modules=("q_proj", "v_proj"), per_device_train_batch_size=BATCH, eval_split="eval",
    )  # fmt: skip
    with RunFolder.open(folder, command="train", settings={}) as opened:
        sequence = TaskSequence(opened, prepared(opened, base, tasks, settings), ["1", "2"], None)
        sequence.method.start_task(1)
        sequence.method.end_task(1)
        sequence.method.start_task(2)
        sequence.run.learner.module.train()
        yield sequence


def own_step(sequence: TaskSequence) -> Step:
    """A step of the trainer; its schedule stands still, so that it goes on for any number of rounds."""
    work = TaskWork(sequence.run, 2)
    work._schedule.step = lambda: None  # type: ignore[method-assign]

    def step(number: int) -> float:
        return sequence.step(work, work.rows(number) or [])["loss"]

    return step


def bound_step(sequence: TaskSequence) -> Step:
    """The passes that an I-LoRA step cannot do without, each packed."""
    run, method, work = sequence.run, sequence.method, TaskWork(sequence.run, 2)
    assert isinstance(method, ILoRA)
    memory = random.Random(2)

    def step(number: int) -> float:
        current = [(run.train_sets[1], row) for row in work.rows(number) or []]
        replayed = [(run.train_sets[0], row) for row in memory.sample(range(BATCH * NUM_BATCHES), BATCH)]
        loss = run.losses(run.batch([*current, *replayed])).sum()
        loss.backward()
        for weight in run.learner.weights.values():
            weight.grad = None
        with torch.no_grad(), run.at(method._average.weights):
            run.logits(run.batch(replayed))
        return loss.item()

    return step


def scheme_step(base: Path, tasks: Sequence[mc.Task]) -> Step:
    """Fast learner on the batch, fast and slow learner on memory, padded, with everything that a model can give."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(plain, lora_config(init=True), adapter_name="fast")
    model.add_adapter("slow", lora_config(init=True))
    model.set_adapter("fast")
    pairs = [(weight, model.get_parameter(name.replace(".fast.", ".slow.")))
             for name, weight in model.named_parameters() if ".fast." in name]  # fmt: skip
    optimizer = torch.optim.AdamW([fast for fast, _ in pairs], lr=1e-3)
    memory, current = ([_texts(tokenizer, one) for one in task.split("train")] for task in tasks)
    drawn = random.Random(2)

    def step(number: int) -> float:
        batch = _padded(current[number * BATCH : (number + 1) * BATCH], tokenizer.pad_token_id or 0)
        replayed = _padded(drawn.sample(memory, BATCH), tokenizer.pad_token_id or 0)
        loss = model(**batch).loss
        fast = model(**replayed, output_hidden_states=True)
        model.set_adapter("slow")
        with torch.no_grad():
            slow = model(**replayed, output_hidden_states=True)
        model.set_adapter("fast")
        mask = replayed["attention_mask"].bool()
        distance = functional.mse_loss(fast.hidden_states[-1][mask], slow.hidden_states[-1][mask])
        loss = loss + fast.loss + distance
        loss.backward()
        torch.nn.utils.clip_grad_norm_([fast for fast, _ in pairs], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for mine, other in pairs:
                other.mul_(DECAY).add_(mine, alpha=1 - DECAY)
        return loss.item()

    return step


def _texts(tokenizer: Any, example: Any) -> tuple[list[int], int]:  # noqa: ANN401
    """An example's tokens, and how many of them are the prompt's."""
    ids = tokenizer(f"{example.prompt} {example.answer}")["input_ids"] + [tokenizer.eos_token_id]
    return ids, len(tokenizer(example.prompt)["input_ids"])


def _padded(rows: Sequence[tuple[list[int], int]], pad: int) -> dict[str, torch.Tensor]:
    """Rows as a script with PEFT pads them."""
    width = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [pad] * (width - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([[-100] * begin + ids[begin:] + [-100] * (width - len(ids)) for ids, begin in rows]),
    }


def measure(name: str, rounds: int) -> None:
    """Print one row."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base = random_model(SHAPES[name], folder / "base")
        tasks = [random_task(base, seed=seed) for seed in (1, 0)]
        with (
            sequence_of(folder / "lora", base, tasks, "sequential") as lora,
            sequence_of(folder / "ilora", base, tasks, "ilora") as ilora,
            sequence_of(folder / "bound", base, tasks, "ilora") as bound,
        ):
            steps = {
                "usual": usual_step(base, random_adapters(base, folder)[0], tasks[1]),
                "lora": own_step(lora),
                "ilora": own_step(ilora),
                "bound": bound_step(bound),
                "scheme": scheme_step(base, tasks),
            }
            times = _times(steps, rounds)
            average = statistics.median(_timed(ilora.method.after_step) for _ in range(50))
    shown = " ".join(f"{statistics.median(times[label]):9.1f}" for label in ORDER)
    ratios = " ".join(f"{_ratio(times[a], times[b]):>22s}" for a, b in RATIOS)
    print(f"{name:8s} {shown} {ratios} {average / statistics.median(times['ilora']):9.3%}", flush=True)


def _times(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every step, batch by batch in turn; the first round warms up."""
    times: dict[str, list[float]] = {label: [] for label in ORDER}
    for turn in range((rounds + 1) * NUM_BATCHES):
        first = turn % len(ORDER)
        for label in ORDER[first:] + ORDER[:first]:
            times[label].append(_timed(lambda label=label: steps[label](turn % NUM_BATCHES)))  # noqa: B023
    return {label: found[NUM_BATCHES:] for label, found in times.items()}


def _timed(call: Any) -> float:  # noqa: ANN401
    """Milliseconds that a call takes."""
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def _ratio(times: list[float], others: list[float]) -> str:
    """The median and the quartiles of ratios of pairs."""
    low, middle, high = quantile([a / b for a, b in zip(times, others, strict=True)], [0.25, 0.5, 0.75])
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def main() -> None:
    """Measure the models one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), float32, {arguments.rounds} rounds, milliseconds")
    titles = " ".join(f"{label:>9s}" for label in ORDER) + " " + " ".join(f"{f'{a} / {b}':>22s}" for a, b in RATIOS)
    print(f"{'model':8s} {titles} {'average':>9s}")
    for name in arguments.models:
        measure(name, arguments.rounds)


if __name__ == "__main__":
    main()

"""A step of a curve fit against a plain LoRA step, and against the step that a user writes with PEFT today.

    python analysis/benchmarks/fit.py [--rounds 5] [--threads 1] [--models 4x256 8x512] [--only-memory]

All train LoRA on query and value of a random Llama, float32, AdamW, batches of 8 of the same 128 examples: 20 to 256
tokens (log-normal), answers of 1 to 8.

- fit: a Bezier curve of one bend in weights space between ends of rank 8; the bend has rank 16.
- plain: this package's model, batches and loss, and one LoRA pair of rank 8 a module; the same batches.
- usual: PEFT, rank 8, the examples in random order, padded to the longest, logits and loss over all positions.

Time: one round is every batch once. The three take turns batch by batch, in an order that moves on every time, so that
what else the machine does strikes all. A ratio is that of two steps on one batch in one round; printed are the median
of all ratios and, between brackets, their quartiles.

Memory: the most bytes that torch has allocated at once during a step, above what was there before it, counted by its
allocator and so the same on any machine. Beside it stand the points of the fit: both ends and the bend. The plain step
is shown at the bend's rank as well. A step of the longest batch, after one that has made the optimiser's state.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import torch
from numpy import quantile
from peft import LoraConfig, PeftModel, get_peft_model
from torch.profiler import ProfilerActivity, profile
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import modeconn as mc
from modeconn.fitting.bends import Bends
from modeconn.fitting.objective import Objective
from modeconn.fitting.run import optimizer_of
from modeconn.models.trainable import Branch, Trainable

EMBEDDED = Path(str(files("modeconn.embedded")))
SHAPES = {
    "4x256": {"num_hidden_layers": 4, "hidden_size": 256, "intermediate_size": 688, "vocab_size": 4096},
    "8x512": {"num_hidden_layers": 8, "hidden_size": 512, "intermediate_size": 1376, "vocab_size": 32000},
}
BATCH, NUM_BATCHES, RANK = 8, 16, 8
Step = Callable[[int], float]


def random_model(shape: dict[str, int], folder: Path) -> Path:
    """A random Llama with the embedded tokenizer."""
    torch.manual_seed(0)
    LlamaForCausalLM(LlamaConfig(num_attention_heads=8, **shape)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(EMBEDDED / "base").save_pretrained(folder)
    return folder


def random_task(base: Path, *, seed: int = 0) -> mc.Task:
    """Examples of 20 to 256 tokens, log-normal, of words that are one token each."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    records = mc.Task.load(EMBEDDED / "tasks" / "science").split("train")
    words = sorted({word for record in records for word in record.prompt.split()})
    words = [word for word in words if len(tokenizer(" " + word, add_special_tokens=False)["input_ids"]) == 1]
    source = random.Random(seed)

    def text(length: int) -> str:
        return " ".join(source.choice(words) for _ in range(length))

    examples = []
    for _ in range(BATCH * NUM_BATCHES):
        total, answer = min(256, max(20, round(source.lognormvariate(4.2, 0.6)))), source.randint(1, 8)
        examples.append({"prompt": text(total - answer), "answer": text(answer)})
    return mc.Task.from_records(f"random{seed}", {"train": examples, "eval": examples[:1]})


def random_adapters(base: Path, folder: Path) -> list[mc.Adapter]:
    """Two LoRA adapters with factors that are not zero."""
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        get_peft_model(model, lora_config(init=False)).save_pretrained(str(folder / str(seed)))
    return [mc.Adapter.from_pretrained(folder / str(seed)) for seed in (1, 2)]


def lora_config(*, init: bool) -> LoraConfig:
    """LoRA on query and value."""
    return LoraConfig(
        r=RANK, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=init, lora_dropout=0.0
    )


def own_step(objective: Objective, tensors: list[torch.Tensor], at: Callable[[int], Trainable]) -> Step:
    """A step of this package: of a curve or of one adapter, by the point that it trains."""
    optimizer = optimizer_of(tensors, mc.FitSettings())

    def step(number: int) -> float:
        loss = objective.loss(lambda: at(number), number, tensors)
        torch.nn.utils.clip_grad_norm_(tensors, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss

    return step


def plain_point(adapter: mc.Adapter) -> tuple[list[torch.Tensor], Trainable]:
    """One adapter, all of it trained."""
    pairs = {name: update.factors() for name, update in adapter.updates.items()}
    branches = {name: Branch(*(one.clone().requires_grad_() for one in pair)) for name, pair in pairs.items()}
    return [one for branch in branches.values() for one in (branch.up, branch.down)], Trainable(None, branches)


def usual_step(base: Path, adapter: mc.Adapter, task: mc.Task) -> Step:
    """The training step of a script with PEFT: random order, padding, labels of -100 on the prompts."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(plain, str(adapter.source), is_trainable=True)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=1e-3)
    examples = list(task.split("train"))
    random.Random(1).shuffle(examples)
    pad = tokenizer.pad_token_id or 0

    def step(number: int) -> float:
        batch = examples[number * BATCH : (number + 1) * BATCH]
        rows = [tokenizer(f"{one.prompt} {one.answer}")["input_ids"] + [tokenizer.eos_token_id] for one in batch]
        begins = [len(tokenizer(one.prompt)["input_ids"]) for one in batch]
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        labels = torch.tensor(
            [
                [-100] * begin + row[begin:] + [-100] * (width - len(row))
                for row, begin in zip(rows, begins, strict=True)
            ]
        )
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    return step


@contextmanager
def steps_of(shape: Mapping[str, int]) -> Iterator[tuple[dict[str, Step], int, int]]:
    """The steps of a model, the longest batch, and the bytes of the fit's points."""
    with tempfile.TemporaryDirectory() as temporary:
        base = random_model(dict(shape), Path(temporary, "base"))
        ends, task = random_adapters(base, Path(temporary)), random_task(base)
        model = mc.AdapterModel.from_pretrained(base, adapters=ends)
        curve = mc.BezierCurve.between(*ends)
        settings = mc.FitSettings(num_steps=NUM_BATCHES, per_device_train_batch_size=BATCH)
        objective = Objective(curve, model, [task], settings)
        bends = Bends(curve.on(model), model.device)
        (narrow, plain), (wide, plain_wide) = plain_point(ends[0]), plain_point(curve.points[1])
        steps = {
            "usual": usual_step(base, ends[0], task),
            "plain": own_step(objective, narrow, lambda _: plain),
            "plain, rank 16": own_step(objective, wide, lambda _: plain_wide),
            "fit": own_step(objective, bends.tensors, lambda number: bends.at((number + 0.5) / NUM_BATCHES)),
        }
        split = objective.mixture.encoded[0]
        lengths = [len(row.context) + len(row.targets) for row in split.rows.rows]  # type: ignore[attr-defined]
        sizes = [max(lengths[row] for _, row in objective.mixture.rows(number)) for number in range(NUM_BATCHES)]
        yield steps, sizes.index(max(sizes)), 4 * sum(tensor.numel() for tensor in _points(curve))


def _points(curve: mc.BezierCurve) -> Iterable[torch.Tensor]:
    """The factors of all control points."""
    return (factor for point in curve.points for update in point.updates.values() for factor in update.factors())


def measure(name: str, steps: Mapping[str, Step], rounds: int) -> None:
    """Print one row of times."""
    labels = ["usual", "plain", "fit"]
    times: dict[str, list[float]] = {label: [] for label in labels}
    for turn in range((rounds + 1) * NUM_BATCHES):  # the first round warms up
        first = turn % len(labels)
        for label in labels[first:] + labels[:first]:
            began = time.perf_counter()
            steps[label](turn % NUM_BATCHES)
            times[label].append(1000 * (time.perf_counter() - began))
    usual, plain, fit = (times[label][NUM_BATCHES:] for label in labels)
    shown = " ".join(f"{statistics.median(one):9.1f}" for one in (usual, plain, fit))
    print(f"{name:8s} {shown} {_ratio(fit, plain):>22s} {_ratio(fit, usual):>22s}", flush=True)


def _ratio(times: list[float], others: list[float]) -> str:
    """The median and the quartiles of ratios of pairs."""
    low, middle, high = quantile([a / b for a, b in zip(times, others, strict=True)], [0.25, 0.5, 0.75])
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


def measure_memory(name: str, steps: Mapping[str, Step], longest: int, points: int) -> None:
    """Print one row of peaks, in MB."""
    peaks = []
    for label in ("plain", "plain, rank 16", "fit"):
        step = steps[label]
        step(longest)  # the optimiser's state
        peaks.append(_peak(step, longest))
    print(f"{name:8s} " + " ".join(f"{peak / 1e6:14.2f}" for peak in [*peaks, points]), flush=True)


def _peak(step: Step, number: int) -> int:
    """The most bytes that torch has allocated at once during a step, those before it left out."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step(number)
    levels, left = [0], list(recorded.profiler.kineto_results.experimental_event_tree())  # type: ignore[union-attr]
    while left:
        event = left.pop()
        left += event.children
        if event.tag.name == "Allocation":
            levels.append(event.extra_fields.total_allocated)  # type: ignore[union-attr]
    return max(levels)


def main() -> None:
    """Measure the models one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--only-memory", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), float32, {arguments.rounds} rounds")
    if not arguments.only_memory:
        print(
            f"{'model':8s} {'usual ms':>9s} {'plain ms':>9s} {'fit ms':>9s} {'fit / plain':>22s} {'fit / usual':>22s}"
        )
        for name in arguments.models:
            with steps_of(SHAPES[name]) as (steps, _, _):
                measure(name, steps, arguments.rounds)
    print("peak MB  " + " ".join(f"{title:>14s}" for title in ("plain", "plain, rank 16", "fit", "points")))
    for name in arguments.models:
        with steps_of(SHAPES[name]) as (steps, longest, points):
            measure_memory(name, steps, longest, points)


if __name__ == "__main__":
    main()

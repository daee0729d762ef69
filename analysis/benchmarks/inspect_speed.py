"""Time and memory of `modeconn inspect` for two adapters of a 7B model, in a fresh process each time.

Two LoRA files of random numbers are made in Llama-2-7B's shapes, all seven projections of every layer. The reference is
the usual script: it reads both files and multiplies the factors out to take the norm of every update.

    python analysis/benchmarks/inspect_speed.py [--layers 32] [--rank 16] [--dtype bfloat16] [--repeats 3]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

HIDDEN, INNER = 4096, 11008
SHAPES = {  # module -> out, in
    **{f"self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"},
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
}
_OURS = """
import sys
from modeconn.cli.main import main
assert main(["inspect", *sys.argv[1:]]) == 0
"""
_USUAL = """
import sys
from safetensors.torch import load_file
for folder in sys.argv[1:]:
    tensors = load_file(folder + "/adapter_model.safetensors")
    for name in tensors:
        if name.endswith("lora_A.weight"):
            up = tensors[name.replace("lora_A", "lora_B")]
            print(name, float((up.float() @ tensors[name].float()).norm()))
"""
_REPORT = """
import time, json
print(json.dumps({
    "peak": int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024,
    "seconds": time.perf_counter() - began,
    "cpu": time.process_time(),
}))
"""


def make_adapter(folder: Path, *, layers: int, rank: int, dtype: torch.dtype, seed: int) -> int:
    """Write a LoRA adapter of random numbers; returns the number of its parameters."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(layers):
        for module, (rows, columns) in SHAPES.items():
            name = f"base_model.model.model.layers.{layer}.{module}"
            tensors[f"{name}.lora_A.weight"] = (0.02 * torch.randn(rank, columns, generator=generator)).to(dtype)
            tensors[f"{name}.lora_B.weight"] = (0.02 * torch.randn(rows, rank, generator=generator)).to(dtype)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank}
    config["target_modules"] = sorted({module.rpartition(".")[2] for module in SHAPES})
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return sum(tensor.numel() for tensor in tensors.values())


def measure(script: str, arguments: list[str]) -> dict[str, float]:
    """Peak memory in bytes, seconds, and seconds of computing of a script in a fresh process, imports included."""
    timed = f"import time; began = time.perf_counter()\n{script}\n{_REPORT}"
    done = subprocess.run([sys.executable, "-c", timed, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Make the adapters, inspect them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("old", "new")]
        dtype = getattr(torch, settings.dtype)
        counts = [
            make_adapter(folder, layers=settings.layers, rank=settings.rank, dtype=dtype, seed=seed)
            for seed, folder in enumerate(folders)
        ]
        print(f"two adapters of {counts[0]:,} parameters, {settings.dtype}, torch {torch.__version__}")
        scripts = {"modeconn inspect": _OURS, "norms of products": _USUAL}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in scripts}
        for _ in range(settings.repeats):
            for name, script in scripts.items():
                runs[name].append(measure(script, [str(folder) for folder in folders]))
    print(f"{'':20}  median seconds  of one core  peak GB")
    for name, found in runs.items():
        seconds = statistics.median(run["seconds"] for run in found)
        cpu = statistics.median(run["cpu"] for run in found)
        print(f"{name:20}  {seconds:14.2f}  {cpu:11.2f}  {max(run['peak'] for run in found) / 1e9:7.2f}")


if __name__ == "__main__":
    main()

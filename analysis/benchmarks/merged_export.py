"""Memory and time of writing a point between two full fine-tunes, at the width of Llama-2-7B.

Two models of a few layers are made from random numbers, shard by shard, and the midpoint is written in a fresh
process, whose largest resident memory the kernel tells. The reference is the usual script, which holds both models.

    python analysis/benchmarks/merged_export.py [--layers 2] [--dtype bfloat16] [--folder /tmp]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from modeconn.adapters.shard_writing import TensorToWrite, write_shards

_OURS = """
import sys
from modeconn.adapters.adapter import Adapter
from modeconn.models.exporting import export_merged
a, b = (Adapter.from_pretrained(folder) for folder in sys.argv[1:3])
export_merged(0.5 * a + 0.5 * b, sys.argv[3])
"""
_USUAL = """
import sys
from transformers import AutoModelForCausalLM
a, b = (AutoModelForCausalLM.from_pretrained(folder, dtype="auto") for folder in sys.argv[1:3])
for one, two in zip(a.parameters(), b.parameters()):
    one.data.lerp_(two.data, 0.5)
a.save_pretrained(sys.argv[3])
"""
_REPORT = """
import time, json
print(json.dumps({
    "peak": int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))) * 1024,
    "seconds": time.perf_counter() - began,
}))
"""


def make_model(folder: Path, config: LlamaConfig, dtype: torch.dtype, seed: int) -> int:
    """Write a model of random numbers with one shard a layer; returns its bytes."""
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    folder.mkdir(parents=True)
    config.dtype = dtype
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    shards: dict[str, list[TensorToWrite]] = {}
    for number, (name, parameter) in enumerate(model.named_parameters()):
        shard = name.split(".")[2] if ".layers." in name else "outside"
        pieces = partial(random_pieces, parameter.numel(), 1000 * seed + number)
        shards.setdefault(shard, []).append(TensorToWrite(name, dtype, tuple(parameter.shape), pieces))
    write_shards(folder, list(shards.values()))
    return sum(tensor.num_bytes for shard in shards.values() for tensor in shard)


def random_pieces(numel: int, seed: int) -> Iterator[torch.Tensor]:
    """Random numbers, a few MB at a time."""
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, numel, 1 << 22):
        yield 0.02 * torch.randn(min(1 << 22, numel - start), generator=generator)


def measure(script: str, arguments: list[str]) -> dict[str, float]:
    """Peak memory in bytes and seconds of a script in a fresh process."""
    timed = f"import time; began = time.perf_counter()\n{script}\n{_REPORT}"
    done = subprocess.run([sys.executable, "-c", timed, *arguments], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Make the models, export, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--repeats", type=int, default=3)
    settings = parser.parse_args()
    config = LlamaConfig(num_hidden_layers=settings.layers)  # the defaults are those of Llama-2-7B
    with tempfile.TemporaryDirectory(dir=settings.folder) as temporary:
        root = Path(temporary)
        sizes = [make_model(root / name, config, getattr(torch, settings.dtype), n) for n, name in enumerate("ab")]
        threads = torch.get_num_threads()
        print(f"one model: {sizes[0] / 2**30:.2f} GiB, {settings.dtype}, {settings.layers} layers, {threads} threads")
        print(f"{'':24}{'peak GiB':>10}{'of a model':>12}{'seconds':>10}")
        for name, script in (("export_merged", _OURS), ("both models in memory", _USUAL)):
            found = []
            for number in range(settings.repeats):
                out = root / f"{name}-{number}"
                found.append(measure(script, [str(root / "a"), str(root / "b"), str(out)]))
                subprocess.run(["rm", "-r", str(out)], check=True)
            peak, seconds = (statistics.median(one[key] for one in found) for key in ("peak", "seconds"))
            print(f"{name:24}{peak / 2**30:10.2f}{peak / sizes[0]:12.2f}{seconds:10.1f}")


if __name__ == "__main__":
    main()

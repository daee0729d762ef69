"""Time and memory of `modeconn geometry` for two adapters of a 7B model, in a fresh process each time.

The adapters are those of `inspect_speed.py`: LoRA of random numbers in Llama-2-7B's shapes, all seven projections of
every layer. Without a base: spectra, principal angles, cosines, sign agreement, tables and figures. The reference is
the usual script on a single one of the 224 modules: it forms both updates and decomposes them.

    python analysis/benchmarks/geometry.py [--layers 32] [--rank 16] [--dtype bfloat16] [--repeats 3] [--reference]
"""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from inspect_speed import SHAPES, make_adapter, measure

_OURS = """
import sys
from modeconn.cli.main import main
assert main(["geometry", "--adapters", *sys.argv[2:], "--output-dir", sys.argv[1], "--quiet"]) == 0
"""
_TABLES = """
import sys
from modeconn.adapters.adapter import Adapter
from modeconn.geometry.measure import measure_geometry
measure_geometry([Adapter.from_pretrained(folder) for folder in sys.argv[2:]])
"""
_USUAL = """
import sys
import torch
from safetensors.torch import load_file
found = []
for folder in sys.argv[2:]:
    tensors = load_file(folder + "/adapter_model.safetensors")
    names = [name for name in tensors if name.endswith("layers.0.self_attn.q_proj.lora_A.weight")]
    for name in names:
        up = tensors[name.replace("lora_A", "lora_B")]
        found.append(torch.linalg.svd(up.float() @ tensors[name].float(), full_matrices=False))
print(float((found[0].U[:, :16].T @ found[1].U[:, :16]).norm()))
"""


def main() -> None:
    """Make the adapters, measure them, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--reference", action="store_true", help="time the usual script too: minutes")
    settings = parser.parse_args()
    scripts = {"modeconn geometry": _OURS, "measure_geometry": _TABLES}
    scripts |= {"dense SVD, 1 module": _USUAL} if settings.reference else {}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in scripts}
    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary) / name for name in ("old", "new")]
        dtype = getattr(torch, settings.dtype)
        counts = [
            make_adapter(folder, layers=settings.layers, rank=settings.rank, dtype=dtype, seed=seed)
            for seed, folder in enumerate(folders)
        ]
        modules = settings.layers * len(SHAPES)
        print(
            f"two adapters of {counts[0]:,} parameters in {modules} modules, {settings.dtype}, "
            f"torch {torch.__version__}, {torch.get_num_threads()} threads"
        )
        for number in range(settings.repeats):
            for name, script in scripts.items():
                out = str(Path(temporary) / f"out-{number}")
                runs[name].append(measure(script, [out, *map(str, folders)]))
    print(f"{'':20}  median seconds  of one core  peak GB")
    for name, found in runs.items():
        seconds, cpu = (statistics.median(run[key] for run in found) for key in ("seconds", "cpu"))
        print(f"{name:20}  {seconds:14.2f}  {cpu:11.2f}  {max(run['peak'] for run in found) / 1e9:7.2f}")


if __name__ == "__main__":
    main()

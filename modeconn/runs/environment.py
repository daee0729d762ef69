"""What a run ran on: versions of the packages and peak memory, without importing any of them."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

try:
    import resource
except ImportError:  # Windows
    resource = None

PACKAGES = ("modeconn", "torch", "transformers", "peft", "numpy")


def versions() -> dict[str, str | None]:
    """Installed versions of Python and of the packages that decide numbers; None where one is absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def peak_memory_mib() -> float | None:
    """The most memory this process has held so far, in MiB; None where the system does not say."""
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return round(peak * unit / 2**20, 1)


def peak_device_memory_mib() -> float | None:
    """The most GPU memory that torch has held so far on any one GPU, in MiB; None without a GPU in use."""
    torch = sys.modules.get("torch")  # a run that never imported torch has used no GPU
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    peaks = [torch.cuda.max_memory_allocated(index) for index in range(torch.cuda.device_count())]
    return round(max(peaks) / 2**20, 1)

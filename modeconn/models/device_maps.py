"""Which device gets which part of a base: what is asked for, checked, as transformers and accelerate take it."""

import logging
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from modeconn.errors import ModelError, listed
from modeconn.models.memory_limits import MemoryLimit, device_limits, json_object
from modeconn.models.offloaded import sources_of_weights, unreachable
from modeconn.models.quantised import quantization_of
from modeconn.models.sources import told

STRATEGIES = ("auto", "balanced", "balanced_low_0", "sequential")
DeviceMap = str | Mapping[str, int | str]


def as_device(device: str | int | torch.device) -> torch.device:
    """A device that tensors can be put on.

    Raises:
        ModelError: If there is none of that name, or it cannot be used here.
    """
    try:
        return torch.zeros(1, device=device).device
    except (RuntimeError, AssertionError) as error:  # unknown names and absent GPUs, in builds with and without CUDA
        raise ModelError(
            f"cannot use the device {str(device)!r}",
            expected="a device that this machine and this build of torch have, as cpu, cuda or cuda:1",
            got=told(error),
            remedy='use device="cpu" (--device cpu), or install torch for the device',
        ) from error


def map_options(
    device_map: DeviceMap | None, max_memory: MemoryLimit | None, *, device: torch.device
) -> dict[str, Any]:
    """What `from_pretrained` of transformers takes to spread a model; nothing without a map.

    Args:
        device_map: One of `STRATEGIES`, or module -> device ("cpu", "disk", 0, "cuda:1"), also as JSON.
        max_memory: What each device may hold, or device -> what it may hold, in GiB or as "12GiB".
        device: The device that was asked for beside the map; only the CPU goes with one.

    Raises:
        ModelError: If there is no such strategy or device, or one setting contradicts the other.
    """
    if device_map is None:
        return {}
    if device.type != "cpu":
        raise ModelError(
            "device and device_map (--device, --device-map) contradict each other",
            expected="one of them",
            got=f"device={str(device)!r} and device_map={device_map!r}",
            remedy="leave the device out: batches go where the map puts the embeddings",
        )
    parsed = _read(device_map)
    if isinstance(parsed, str):
        limits = None if max_memory is None else device_limits(max_memory)
        return {"device_map": parsed} | ({} if limits is None else {"max_memory": limits})
    if max_memory is not None:
        raise ModelError(
            "max_memory (--max-memory) cannot be followed: the device map says what goes where",
            expected=f"one of the maps {listed(STRATEGIES)}, which are made from the memory",
            got=f"the map {dict(parsed)}",
            remedy="leave max_memory out, or let device_map='auto' decide",
        )
    return {"device_map": {module: _checked(where) for module, where in parsed.items()}}


def loaded_spread(load: Callable[..., tuple[nn.Module, Any]], **options: Any) -> tuple[nn.Module, Any]:  # noqa: ANN401
    """Load a model with a device map.

    What cannot be fetched from the checkpoint as it is, is written to a temporary folder, which goes with the model.

    Args:
        load: Loads a model of transformers, and what it says of it.
        options: For `load`; the device map is among them.

    Raises:
        ModelError: If the map does not fit the model, or points cannot be put beside what it makes of it.
    """
    folder = tempfile.mkdtemp(prefix="modeconn-offload-")
    sources: list[Any] = []
    try:
        model, info = _loaded(load, offload_folder=folder, **options)
        check_spread(model, options["device_map"])
        sources = [one for one in sources_of_weights(model).values() if hasattr(one, "save_folder")]
    finally:
        if sources:  # copies of the model fetch from it, too
            weakref.finalize(sources[0], shutil.rmtree, folder, ignore_errors=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return model, info


def _loaded(load: Callable[..., tuple[nn.Module, Any]], **options: Any) -> tuple[nn.Module, Any]:  # noqa: ANN401
    """Load; what transformers and accelerate do not like of the map is told as that."""
    try:
        with _quiet_accelerate():
            return load(**options)
    except ModelError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, OSError):
            raise
        raise ModelError(
            "the base model cannot be loaded with this device map",
            expected="a place for every module that can hold its weights, rounded ones on devices only",
            got=told(cause),
            remedy='give device_map="auto" (--device-map auto), or see whether the base can be loaded without a map',
        ) from cause


def check_spread(model: nn.Module, device_map: Any) -> None:  # noqa: ANN401  (as `map_options` gives it)
    """Raise unless a loaded model is spread as it was asked for, in a way that points can be put beside.

    Raises:
        ModelError: If the map names what the model does not have, or rounded weights are away between calls.
    """
    given = device_map.keys() if isinstance(device_map, Mapping) else set()
    if unknown := given - {name for name, _ in model.named_modules()}:
        raise ModelError(
            f"the device map does not fit {type(model).__name__}",
            expected=f"modules of the model, as {listed(name for name, _ in model.named_children())} and those in them",
            got=listed(unknown),
            remedy="name modules as the model does: print(model) shows them",
        )
    if parted := unreachable(model):
        raise ModelError(
            f"the weights of {type(model).__name__} cannot be spread like that",
            expected="tied weights in one place, all of them on devices or all on the disk",
            got=f"no way to fetch {listed(parted)} from the disk",
            remedy="put the modules that share a weight in one place (as the embeddings of encoder and decoder)",
        )
    away = [name for name, weight in model.named_parameters() if weight.device.type == "meta"]
    if away and quantization_of(model) is not None:
        raise ModelError(
            "a quantised base cannot be offloaded here",
            expected="devices that hold all of its rounded weights",
            got=f"{listed(away)} on the CPU or the disk",
            remedy="give more memory (--max-memory), or a device map without cpu and disk",
        )


def _read(device_map: DeviceMap) -> DeviceMap:
    """A strategy's name, or a mapping; JSON becomes one."""
    read: Any = device_map
    if isinstance(device_map, str) and device_map.lstrip().startswith("{"):
        read = json_object(device_map, "device_map (--device-map)", '{"model": 0, "lm_head": "cpu"}')
    if read in STRATEGIES or (isinstance(read, Mapping) and read):
        return read
    raise ModelError(
        f"unknown device map {device_map!r}",
        expected=f"{listed(STRATEGIES)}, or module -> device",
        got=repr(device_map),
        remedy="use device_map='auto'; for one device give device (--device) instead",
    )


def _checked(where: int | str) -> int | str:
    """A place for a module, as accelerate takes it."""
    if where == "disk":
        return where
    device = as_device(int(where) if str(where).isdigit() else str(where))
    if device.type == "meta":
        raise ModelError(
            "a device map cannot put modules on 'meta': they would have no weights",
            expected='devices, "cpu" or "disk"',
            got=repr(where),
            remedy='use "disk" for modules that no device holds',
        )
    return "cpu" if device.type == "cpu" else str(device)


@contextmanager
def _quiet_accelerate() -> Iterator[None]:
    """Silence remarks on what is asked for, or checked here: offloaded weights, names that are no modules."""
    logger = logging.getLogger("accelerate.big_modeling")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The following device_map keys do not match any submodules")
            yield
    finally:
        logger.setLevel(before)

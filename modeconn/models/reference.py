"""What placed points are compared with: what PEFT must not share with the base, and full fine-tunes on their own."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModelError
from modeconn.models.exporting import export_merged
from modeconn.models.loading import load_base
from modeconn.models.offloaded import is_spread, made_plain
from modeconn.models.prompted import loaded_from_folder

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel


def reference_of(model: "AdapterModel", point: Adapter) -> AbstractContextManager[nn.Module]:
    """A base with a point loaded by PEFT itself, beside it; the weights are shared.

    Args:
        model: The base.
        point: The point; an unchanged checkpoint is loaded from its own folder, a full fine-tune by transformers, as a
            second model.
    """
    if point.replaces:
        return loaded_by_transformers(model.module, model.base_name, model.family.task_type, point)
    twin = model.twin(apart=overwritten(point, model.dtype))
    if is_spread(model.module):
        made_plain(twin)
    return loaded_from_folder(twin, point)


def overwritten(point: Adapter, dtype: torch.dtype) -> list[str]:
    """The parameters of a base that PEFT changes in place when it loads a point: they must not be shared with it.

    Args:
        point: The point.
        dtype: The base's.

    Raises:
        ModelError: If PEFT cannot load the point on this machine, or must decompose the base's weights and cannot in
            this dtype.
    """
    if reason := point.config.kind.unloadable(point.tensors):
        raise ModelError(
            f"PEFT cannot load {point.name} on this machine",
            expected="an adapter that PEFT can load, to compare the end of the path with",
            got=reason,
            remedy="evaluate on a machine with a GPU and its compiler (nvcc), or, in Python, without the comparison:"
            " evaluate_path(..., check=False); modeconn export --merged needs no PEFT",
        )
    endings = point.config.kind.overwrites(point.config.raw)
    if dtype == torch.float64 and ".weight" in endings:
        raise ModelError(
            f"PEFT cannot load {point.name} beside a base in float64",
            expected="a base in float32, bfloat16 or float16, whose weights PEFT decomposes",
            got=f"float64, and init_lora_weights={point.config.raw.get('init_lora_weights')!r}",
            remedy="load the base in float32",
        )
    return [name for name in point.updates if name.endswith(endings)]


@contextmanager
def loaded_by_transformers(base: nn.Module, base_name: str, task_type: str, point: Adapter) -> Iterator[nn.Module]:
    """A full fine-tune as transformers loads it; a head that it lacks is the base's.

    Args:
        base: The base model; it gives dtype, device and padding, and is not changed.
        base_name: The base's folder or hub id.
        task_type: What the model is for.
        point: The point; one that is no unchanged checkpoint is written to a temporary folder first.
    """
    like = next(base.parameters())
    others = dict(base.named_parameters(remove_duplicate=False)).keys() - {*point.updates, *point.saved}
    with TemporaryDirectory() as temporary:
        folder = point.source or export_merged(point, Path(temporary) / "model", base=base_name)
        loaded = load_base(folder, task_type=task_type, dtype=like.dtype, saved=others)
        module: Any = loaded.module.to(like.device)
        module.needs_padding = True  # so that what packing might get wrong shows, too
        with torch.no_grad():
            for name in loaded.absent:
                module.get_parameter(name).copy_(base.get_parameter(name))
        module.config.pad_token_id = getattr(base.config, "pad_token_id", None)  # models of images have none
        yield module

"""Points as PEFT and transformers load them, on their own: what the placed points are compared with."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.models.exporting import export_merged
from modeconn.models.loading import load_base, quiet_peft


@contextmanager
def loaded_by_peft(twin: nn.Module, point: Adapter) -> Iterator[nn.Module]:
    """A base model with a point loaded by PEFT.

    Args:
        twin: The base model; PEFT rebuilds it.
        point: The point; an unchanged checkpoint is loaded from its own folder, so that nothing of this package
            stands between.
    """
    from peft import PeftModel

    with TemporaryDirectory() as temporary, quiet_peft():
        folder = point.source or point.save_pretrained(Path(temporary) / "adapter")
        peft_model = PeftModel.from_pretrained(twin, str(folder))
        yield peft_model.base_model.model.eval()  # type: ignore[union-attr]


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
    with TemporaryDirectory() as temporary:
        folder = point.source or export_merged(point, Path(temporary) / "model", base=base_name)
        module: Any = load_base(folder, task_type=task_type, dtype=like.dtype).module.to(like.device)
    lacking = {name for name, _ in module.named_parameters()} - {*point.updates, *point.saved}
    with torch.no_grad():
        for name in lacking & dict(base.named_parameters()).keys():
            module.get_parameter(name).copy_(base.get_parameter(name))
    module.config.pad_token_id = base.config.pad_token_id  # type: ignore[union-attr]
    yield module

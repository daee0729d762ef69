"""Which base model a command loads, and how."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.models.adapter_model import AdapterModel


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The base model of some checkpoints."""

    base_model: str | None = field(default=None, metadata=flag_help("folder or hub id; none takes the adapters' own"))
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "IMAGE_CLASSIFICATION"] | None = field(
        default=None, metadata=flag_help("kind of model, where the adapters do not say")
    )
    labels: tuple[str, ...] | None = field(
        default=None, metadata=flag_help("a classifier's classes in the order of its head, where not recorded")
    )
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = field(
        default="float32", metadata=flag_help("dtype of the base's weights")
    )
    quantization: Literal["torchao-int8", "bnb-8bit", "bnb-4bit"] | None = field(
        default=None, metadata=flag_help("round the base's weights; needs torchao or bitsandbytes")
    )
    device: str = field(default="cpu", metadata=flag_help("torch device"))
    device_map: str | dict[str, Any] | None = field(
        default=None,
        metadata=flag_help(
            "spread the base over devices: auto, balanced, balanced_low_0, sequential, or {module: device or disk}"
        ),
    )
    max_memory: float | str | dict[str, Any] | None = field(
        default=None,
        metadata=flag_help(
            "GiB a device, or 12GiB: of the base with --device-map (also {device: limit}), else of weights and batches,"
            " which are halved to fit"
        ),
    )

    def load_model(self, points: "Sequence[Adapter]") -> "AdapterModel":
        """The base model, checked against all points.

        Raises:
            ModelError: If it cannot be loaded, or is not the points'.
        """
        from modeconn.cli.model_notes import on_model
        from modeconn.models.adapter_model import AdapterModel

        self._check_alone()
        model = AdapterModel.from_pretrained(
            self.base_model,
            adapters=list(points),
            task_type=self.task_type,
            labels=self.labels,
            device=self.device,
            dtype=self.dtype,
            quantization=self.quantization,
            device_map=self.device_map,
            max_memory=self.max_memory,
            **self.model_options(),
        )
        for note in on_model(model) if os.environ.get("RANK", "0") == "0" else ():  # once in a launch
            print(f"note: {note}", file=sys.stderr)
        return model

    def model_options(self) -> "dict[str, Any]":
        """What else `from_pretrained` is told."""
        return {}

    def _check_alone(self) -> None:
        """Raise if several processes would spread the base over the same devices, each for itself."""
        from modeconn.errors import ModelError
        from modeconn.runs.processes import launched

        if self.device_map is not None and launched() and os.environ.get("LOCAL_WORLD_SIZE") != "1":
            raise ModelError(
                "device_map (--device-map) does not go with several processes on one machine",
                expected="one process, which spreads the base over all devices, or processes with a base each",
                got=f"--device-map {self.device_map} in a launch of several processes",
                remedy="start the command without torchrun or accelerate launch, or leave --device-map out",
            )

"""Which base model a command loads, and how."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

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

    def load_model(self, points: "Sequence[Adapter]") -> "AdapterModel":
        """The base model, checked against all points.

        Raises:
            ModelError: If it cannot be loaded, or is not the points'.
        """
        from modeconn.models.adapter_model import AdapterModel

        return AdapterModel.from_pretrained(
            self.base_model,
            adapters=list(points),
            task_type=self.task_type,
            labels=self.labels,
            device=self.device,
            dtype=self.dtype,
            quantization=self.quantization,
        )

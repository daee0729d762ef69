"""The settings of a training run: flags of `modeconn train`, keys of its YAML file, arguments of `train`."""

from dataclasses import dataclass, field
from typing import Any, Literal

from modeconn.errors import RunError


def _help(text: str) -> dict[str, Any]:
    """The metadata that becomes a flag's help."""
    return {"help": text}


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How checkpoints are trained; names are those of transformers and PEFT where these have one."""

    method: Literal["sequential"] = field(default="sequential", metadata=_help("training method"))
    adapter: Literal["lora"] = field(default="lora", metadata=_help("kind of adapter"))
    rank: int = field(default=8, metadata=_help("rank r of the adapter"))
    lora_alpha: float = field(default=16, metadata=_help("scaling is lora_alpha / rank"))
    lora_dropout: float = field(default=0.0, metadata=_help("dropout before the adapter"))
    target_modules: tuple[str, ...] | None = field(
        default=None, metadata=_help("modules that get an adapter; none takes PEFT's choice for the architecture")
    )
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM"] | None = field(
        default=None, metadata=_help("kind of model; none takes the base model's")
    )
    learning_rate: float = field(default=1e-3, metadata=_help("peak learning rate of AdamW"))
    num_train_epochs: int = field(default=3, metadata=_help("passes over the train split of every task"))
    per_device_train_batch_size: int = field(default=8, metadata=_help("examples a step"))
    warmup_ratio: float = field(default=0.05, metadata=_help("part of a task's steps with rising learning rate"))
    weight_decay: float = field(default=0.0, metadata=_help("decoupled weight decay"))
    max_grad_norm: float = field(default=1.0, metadata=_help("gradients are clipped to this L2 norm"))
    score_eos: bool = field(default=True, metadata=_help("train the end-of-sequence token after the answer"))
    max_length: int | None = field(default=None, metadata=_help("tokens a row; none takes what the model holds"))
    eval_split: str = field(default="test", metadata=_help("split that the score matrix is measured on"))
    token_budget: int = field(default=2048, metadata=_help("tokens a batch in evaluation, padding included"))
    seed: int = field(default=0, metadata=_help("seed of head, adapter, order and dropout"))
    device: str = field(default="cpu", metadata=_help("torch device"))

    def __post_init__(self) -> None:
        positive = ("rank", "lora_alpha", "learning_rate", "num_train_epochs", "per_device_train_batch_size")
        for name in (*positive, "max_grad_norm", "token_budget"):
            if not getattr(self, name) > 0:
                raise RunError(
                    f"{name} cannot be used for training",
                    expected="a number above 0",
                    got=repr(getattr(self, name)),
                    remedy=f"give --{name.replace('_', '-')} a positive value",
                )

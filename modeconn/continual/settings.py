"""The settings of a training run: flags of `modeconn train`, keys of its YAML file, arguments of `train`."""

from dataclasses import dataclass, field
from typing import Literal

from modeconn.errors import RunError
from modeconn.runs.settings import flag_help


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How checkpoints are trained; names are those of transformers and PEFT where these have one."""

    method: Literal["sequential"] = field(default="sequential", metadata=flag_help("training method"))
    adapter: Literal["lora"] = field(default="lora", metadata=flag_help("kind of adapter"))
    rank: int = field(default=8, metadata=flag_help("rank r of the adapter"))
    lora_alpha: float = field(default=16, metadata=flag_help("scaling is lora_alpha / rank"))
    lora_dropout: float = field(default=0.0, metadata=flag_help("dropout before the adapter"))
    target_modules: tuple[str, ...] | None = field(
        default=None, metadata=flag_help("modules that get an adapter; none takes PEFT's choice for the architecture")
    )
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM"] | None = field(
        default=None, metadata=flag_help("kind of model; none takes the base model's")
    )
    learning_rate: float = field(default=1e-3, metadata=flag_help("peak learning rate of AdamW"))
    num_train_epochs: int = field(default=3, metadata=flag_help("passes over the train split of every task"))
    per_device_train_batch_size: int = field(default=8, metadata=flag_help("examples a step"))
    warmup_ratio: float = field(default=0.05, metadata=flag_help("part of a task's steps with rising learning rate"))
    weight_decay: float = field(default=0.0, metadata=flag_help("decoupled weight decay"))
    max_grad_norm: float = field(default=1.0, metadata=flag_help("gradients are clipped to this L2 norm"))
    score_eos: bool = field(default=True, metadata=flag_help("train the end-of-sequence token after the answer"))
    max_length: int | None = field(default=None, metadata=flag_help("tokens a row; none takes what the model holds"))
    eval_split: str = field(default="test", metadata=flag_help("split that the score matrix is measured on"))
    token_budget: int = field(default=2048, metadata=flag_help("tokens a batch in evaluation, padding included"))
    seed: int = field(default=0, metadata=flag_help("seed of head, adapter, order and dropout"))
    device: str = field(default="cpu", metadata=flag_help("torch device"))

    def __post_init__(self) -> None:
        positive = ("rank", "lora_alpha", "learning_rate", "num_train_epochs", "per_device_train_batch_size")
        for name in (*positive, "max_grad_norm", "token_budget"):
            self._check(name, "a number above 0", holds=getattr(self, name) > 0)
        self._check("weight_decay", "0 or a number above", holds=self.weight_decay >= 0)
        self._check("lora_dropout", "a part, from 0 to below 1", holds=0 <= self.lora_dropout < 1)
        self._check("warmup_ratio", "a part, from 0 to 1", holds=0 <= self.warmup_ratio <= 1)

    def _check(self, name: str, expected: str, *, holds: bool) -> None:
        """Raises RunError unless a field's value may be used."""
        if not holds:
            flag = name.replace("_", "-")
            raise RunError(
                f"{name} cannot be used for training",
                expected=expected,
                got=repr(getattr(self, name)),
                remedy=f"give --{flag} another value",
            )

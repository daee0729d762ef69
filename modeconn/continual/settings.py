"""The settings of a training run: flags of `modeconn train`, keys of its YAML file, arguments of `train`."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from modeconn.continual.setting_types import fits, told
from modeconn.errors import RunError
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.continual.methods.method import Sequential

AdapterKind = Literal[
    "lora", "rslora", "dora", "pissa", "olora", "wegeft", "loretta-rep", "loretta-adp", "loha", "lokr", "vera", "ia3",
    "fourierft", "oft", "boft", "ln-tuning", "prompt-tuning", "p-tuning", "prefix-tuning", "l2p", "full",
]  # fmt: skip
METHOD_NAMES = (
    "sequential", "replay", "ilora", "der++", "ewc", "online-ewc", "lwf", "gem", "a-gem",
    "per-task", "multi-task", "ema", "soup", "path-merge", "o-lora", "mc-sgd", "progressive-prompts", "l2p",
)  # fmt: skip  # a test compares them with the classes
PER_TASK = ("learning_rate", "num_train_epochs")  # one value for all tasks, or one a task


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How checkpoints are trained; names are those of transformers and PEFT where these have one.

    `learning_rate` and `num_train_epochs` hold one value for all tasks, which may be given bare, or one a task.

    Raises:
        RunError: If a value cannot be used.

    Example:
        >>> TrainSettings(learning_rate=1e-4).learning_rate
        (0.0001,)
    """

    method: str = field(default="sequential", metadata=flag_help(f"training method: {', '.join(METHOD_NAMES)}"))
    method_options: dict[str, Any] = field(default_factory=dict, metadata=flag_help("settings of the method, by name"))
    adapter: AdapterKind = field(default="lora", metadata=flag_help("kind of adapter; full trains all weights"))
    rank: int | None = field(default=None, metadata=flag_help("rank r of the adapter (8 where the kind has one)"))
    lora_alpha: float | None = field(
        default=None, metadata=flag_help("scaling is lora_alpha / rank (16 where the kind has one)")
    )
    lora_dropout: float | None = field(default=None, metadata=flag_help("dropout before the adapter"))
    adapter_options: dict[str, Any] = field(
        default_factory=dict, metadata=flag_help("further settings of the adapter, by PEFT's names")
    )
    target_modules: tuple[str, ...] | None = field(
        default=None, metadata=flag_help("modules that get an adapter; none takes PEFT's choice for the architecture")
    )
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM", "IMAGE_CLASSIFICATION"] | None = field(
        default=None, metadata=flag_help("kind of model; none takes the base model's")
    )
    learning_rate: tuple[float, ...] = field(
        default=(1e-3,), metadata=flag_help("peak learning rate of AdamW; one for all tasks, or one a task")
    )
    num_train_epochs: tuple[int, ...] = field(
        default=(3,), metadata=flag_help("passes over a task's train split; one for all tasks, or one a task")
    )
    per_device_train_batch_size: int = field(
        default=8, metadata=flag_help("examples that go through the model at once")
    )
    gradient_accumulation_steps: int = field(default=1, metadata=flag_help("batches a step"))
    train_token_budget: int | None = field(
        default=None, metadata=flag_help("tokens that go through the model at once; larger batches go in pieces")
    )
    packing: bool = field(
        default=True, metadata=flag_help("read rows one after the other without padding, where the model allows it")
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant_with_warmup"] = field(
        default="linear", metadata=flag_help("how the learning rate goes on after its warm-up, anew for every task")
    )
    warmup_ratio: float = field(default=0.05, metadata=flag_help("part of a task's steps with rising learning rate"))
    weight_decay: float = field(default=0.0, metadata=flag_help("decoupled weight decay"))
    max_grad_norm: float = field(default=1.0, metadata=flag_help("gradients are clipped to this L2 norm"))
    early_stopping_patience: int = field(
        default=0, metadata=flag_help("epochs without a lower validation loss before a task ends; 0 trains all epochs")
    )
    validation_split: str = field(
        default="eval", metadata=flag_help("split of early stopping and path-merge; never the test split")
    )
    bf16: bool = field(default=False, metadata=flag_help("autocast to bf16; weights stay in float32"))
    gradient_checkpointing: bool = field(default=False, metadata=flag_help("recompute activations to save memory"))
    score_eos: bool = field(default=True, metadata=flag_help("train the end-of-sequence token after the answer"))
    separator: str = field(default=" ", metadata=flag_help("between prompt and answer, where neither has a blank"))
    mask_labels: bool = field(
        default=False, metadata=flag_help("leave out classes that are not the task's own in evaluation (classifiers)")
    )
    train_mask_labels: bool = field(
        default=False, metadata=flag_help("leave them out of the training loss, too: as if each task had its own head")
    )
    max_length: int | None = field(default=None, metadata=flag_help("tokens a row; none takes what the model holds"))
    eval_score_eos: bool = field(
        default=False, metadata=flag_help("score the end-of-sequence token in evaluation, too")
    )
    eval_split: str = field(default="test", metadata=flag_help("split that the score matrix is measured on"))
    token_budget: int = field(default=2048, metadata=flag_help("tokens a batch in evaluation, padding included"))
    lm_eval: tuple[str, ...] = field(
        default=(), metadata=flag_help("benchmarks of lm-evaluation-harness, before and after (extra general)")
    )
    lm_eval_tasks: str | None = field(default=None, metadata=flag_help("folder with benchmarks of your own, as YAML"))
    lm_eval_examples: int | None = field(default=None, metadata=flag_help("examples of a benchmark; none takes all"))
    report_to: tuple[str, ...] = field(
        default=(),
        metadata=flag_help("trackers of accelerate that follow the run, such as tensorboard; none by default"),
    )
    save_steps: int = field(default=0, metadata=flag_help("steps between kept states; 0 keeps one after every task"))
    seed: int = field(default=0, metadata=flag_help("seed of head, adapter, order and dropout"))
    device: str = field(default="cpu", metadata=flag_help("torch device"))

    def __post_init__(self) -> None:
        for name in PER_TASK:
            values = getattr(self, name)
            values = tuple(values) if isinstance(values, (list, tuple)) else (values,)
            object.__setattr__(self, name, values)
        for name, hint in get_type_hints(TrainSettings).items():
            self._check(name, told(hint), holds=fits(getattr(self, name), hint))
        for name in PER_TASK:
            values = getattr(self, name)
            self._check(name, "numbers above 0, at least one", holds=bool(values) and all(v > 0 for v in values))
        for name in ("rank", "lora_alpha", "train_token_budget"):
            self._check(name, "a number above 0", holds=getattr(self, name) is None or getattr(self, name) > 0)
        for name in (
            "per_device_train_batch_size", "gradient_accumulation_steps", "max_grad_norm", "token_budget"
        ):  # fmt: skip
            self._check(name, "a number above 0", holds=getattr(self, name) > 0)
        for name in ("weight_decay", "early_stopping_patience", "save_steps"):
            self._check(name, "0 or a number above", holds=getattr(self, name) >= 0)
        self._check("validation_split", "a split other than test", holds=self.validation_split != "test")
        self._check("lora_dropout", "a part, from 0 to below 1", holds=0 <= (self.lora_dropout or 0) < 1)
        self._check("warmup_ratio", "a part, from 0 to 1", holds=0 <= self.warmup_ratio <= 1)

    @property
    def examples_a_step(self) -> int:
        """Examples of the task in an optimiser step."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    def made_method(self) -> "Sequential":
        """The training method that the settings name, not started.

        Raises:
            RunError: If there is no such method, a setting is not the method's, or the adapter is another method's.
        """
        from modeconn.continual.methods.table import make_method

        made = make_method(self.method, self.method_options)
        kept = self.adapter != "l2p" or self.method == "l2p"  # without the method the pool's keys would never move
        self._check("adapter", "another kind, or l2p together with --method l2p", holds=kept)
        return made

    def for_task(self, number: int, num_tasks: int) -> tuple[float, int]:
        """Learning rate and number of epochs of the task `number` of `num_tasks`, counted from 1.

        Raises:
            RunError: If a setting has neither one value nor one a task.
        """
        values = []
        for name in PER_TASK:
            given = getattr(self, name)
            expected = "one value for one task" if num_tasks == 1 else f"one value, or {num_tasks}: one a task"
            self._check(name, expected, holds=len(given) in (1, num_tasks))
            values.append(given[0 if len(given) == 1 else number - 1])
        return values[0], values[1]

    def recorded(self) -> dict[str, Any]:
        """The settings by name as a run records them: one number where it is the same for all tasks, no trackers."""
        shared = {name: getattr(self, name)[0] for name in PER_TASK if len(set(getattr(self, name))) == 1}
        return {name: one for name, one in {**vars(self), **shared}.items() if name != "report_to"}

    def _check(self, name: str, expected: str, *, holds: bool) -> None:
        """Raises RunError unless a field's value may be used."""
        if not holds:
            flag, value = name.replace("_", "-"), getattr(self, name)
            got = (" ".join(map(str, value)) or "none") if isinstance(value, tuple) else repr(value)
            raise RunError(
                f"{name} cannot be used for training",
                expected=expected,
                got=got,
                remedy=f"give --{flag} another value",
            )

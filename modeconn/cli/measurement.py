"""What commands that measure many points share: model and encoding settings, the run folder, what is recorded."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path as Curve
    from modeconn.runs import RunFolder
    from modeconn.tasks.encoding import EncodingSettings
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class MeasurementSettings:
    """Which tasks and which model, and how they are read."""

    tasks: tuple[str, ...] = field(metadata=flag_help("task folders, files or hub ids"))
    output_dir: Path
    base_model: str | None = field(default=None, metadata=flag_help("folder or hub id; none takes the adapters' own"))
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM"] | None = field(
        default=None, metadata=flag_help("kind of model, where the adapters do not say")
    )
    split: str = field(default="test", metadata=flag_help("split of every task"))
    max_length: int | None = field(default=None, metadata=flag_help("tokens a row; none takes what the model holds"))
    token_budget: int = field(default=2048, metadata=flag_help("tokens a batch, padding included"))
    score_eos: bool = field(default=False, metadata=flag_help("score the end-of-sequence token after the answer"))
    mask_labels: bool = field(
        default=False, metadata=flag_help("leave out classes that are not the task's own (classifiers)")
    )
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = field(
        default="float32", metadata=flag_help("dtype of the base's weights")
    )
    device: str = field(default="cpu", metadata=flag_help("torch device"))
    overwrite: bool = False
    dry_run: bool = False
    quiet: bool = False

    @property
    def sources(self) -> tuple[str, ...]:
        """The checkpoints and paths that are read, as they were typed."""
        raise NotImplementedError

    def resolved(self) -> Self:
        """The same settings with absolute paths: one input has one name in `run.json`, however it was typed."""
        from modeconn.runs import resolved

        return replace(
            self,
            tasks=tuple(resolved(task) for task in self.tasks),
            base_model=resolved(self.base_model) if self.base_model else None,
        )

    def encoding(self) -> "EncodingSettings":
        """How examples become tokens."""
        from modeconn.tasks.encoding import EncodingSettings

        return EncodingSettings(
            max_length=self.max_length,
            score_eos=self.score_eos,
            token_budget=self.token_budget,
            mask_labels=self.mask_labels,
        )


@dataclass(frozen=True)
class Measurement:
    """One run of a command that measures points.

    Attributes:
        command: The verb.
        settings: Its settings.
        points: The checkpoints that are read, bends of paths included.
        plan: A path through them and the number of points that are measured, for a dry run.
    """

    command: str
    settings: MeasurementSettings
    points: "Sequence[Adapter]"
    plan: "tuple[Curve, int]"

    def run(
        self,
        measure: "Callable[[RunFolder, AdapterModel, list[Task]], None]",
        show: "Callable[[RunFolder], None]",
    ) -> int:
        """Measure and show, or only show what a former run left, or only say what would be done.

        Args:
            measure: Measures and writes, in the opened run folder.
            show: Prints the result of a finished run.

        Returns:
            The exit code.
        """
        from modeconn.cli.notes import on_other_bases
        from modeconn.cli.progress import say_shown_again
        from modeconn.tasks.task import Task

        tasks = [Task.load(task) for task in self.settings.tasks]
        folder = self._opened(tasks)
        if folder.finished and self.settings.dry_run:
            print(f"nothing to do: the run in {self.settings.output_dir} is finished")
            return 0
        if folder.finished:
            say_shown_again(folder.folder)
        else:
            for note in on_other_bases(self.points, self.settings.base_model):
                print(f"note: {note}", file=sys.stderr)
            model = self._model()
            if self.settings.dry_run:
                return self._show_plan(model, tasks)
            with folder:
                self._record(folder, model)
                measure(folder, model, tasks)
        show(folder)
        print(f"\nwritten: {folder.folder}")
        return 0

    def _opened(self, tasks: "list[Task]") -> "RunFolder":
        """The run folder, which holds none of the inputs."""
        from modeconn.runs import RunFolder, refuse_inputs_inside

        settings = self.settings
        bases = {settings.base_model, *(point.config.base_model for point in self.points)}
        refuse_inputs_inside(settings.output_dir, [*settings.sources, *settings.tasks, *bases])
        hashes: Mapping[str, str] = {
            **{f"adapter {point.name}": point.fingerprint for point in self.points},
            **{f"task {task.name}": task.fingerprint for task in tasks},
        }
        return RunFolder.open(
            settings.output_dir,
            command=self.command,
            settings=settings.resolved(),
            hashes=hashes,
            overwrite=settings.overwrite,
        )

    def _model(self) -> "AdapterModel":
        """The base model, checked against all points."""
        from modeconn.models.adapter_model import AdapterModel

        settings = self.settings
        return AdapterModel.from_pretrained(
            settings.base_model,
            adapters=list(self.points),
            task_type=settings.task_type,
            device=settings.device,
            dtype=settings.dtype,
        )

    def _record(self, folder: "RunFolder", model: "AdapterModel") -> None:
        """What decides the numbers beside the settings."""
        from modeconn.cli.notes import on_other_bases

        encoding: dict[str, Any] = vars(self.settings.encoding())
        longest = min(encoding["max_length"] or model.longest, model.longest)
        folder.record(
            device=str(model.device),
            dtype=self.settings.dtype,
            hashes={"base model": model.fingerprint},
            encoding={**encoding, "max_length": longest},
            notes=on_other_bases(self.points, self.settings.base_model),
        )

    def _show_plan(self, model: "AdapterModel", tasks: "list[Task]") -> int:
        """Print what a run would do, its memory and its time."""
        from modeconn.cli.profile_printing import print_plan
        from modeconn.evaluation.plan import plan_evaluation

        path, num_points = self.plan
        settings = self.settings
        plan = plan_evaluation(
            path, model, tasks, num_points=num_points, split=settings.split, settings=settings.encoding()
        )
        print_plan(plan, path=path.name)
        return 0

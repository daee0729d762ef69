"""What commands that measure many points share: how examples are read, the run folder, what is recorded."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from modeconn.cli.model_settings import ModelSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path as Curve
    from modeconn.runs import RunFolder
    from modeconn.runs.processes import Processes
    from modeconn.tasks.encoding import EncodingSettings
    from modeconn.tasks.task import Task

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class MeasurementSettings(ModelSettings, ABC):
    """Which tasks and which model, and how they are read."""

    tasks: tuple[str, ...] = field(metadata=flag_help("task folders, files or hub ids"))
    output_dir: Path
    split: str = field(default="test", metadata=flag_help("split of every task"))
    unlisted_answers: Literal["error", "leave-out"] = field(
        default="error", metadata=flag_help("what becomes of examples whose answer is not among the task's labels")
    )
    mask_labels: bool = field(
        default=False, metadata=flag_help("leave out classes that are not the task's own (classifiers)")
    )
    score_eos: bool = field(default=False, metadata=flag_help("score the end-of-sequence token after the answer"))
    separator: str = field(default=" ", metadata=flag_help("between prompt and answer, where neither has a blank"))
    max_length: int | None = field(default=None, metadata=flag_help("tokens a row; none takes what the model holds"))
    token_budget: int = field(default=2048, metadata=flag_help("tokens a batch, padding included"))
    overwrite: bool = False
    dry_run: bool = False
    quiet: bool = False

    @property
    @abstractmethod
    def sources(self) -> tuple[str, ...]:
        """The checkpoints and paths that are read, as they were typed."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are read."""
        return (self.split,)

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
            separator=self.separator,
        )


@dataclass(frozen=True, kw_only=True)
class SweepSettings(MeasurementSettings, ABC):
    """The same of commands that evaluate many points of one path or plane."""

    points_per_batch: int = field(
        default=1, metadata=flag_help("points that a batch is read for together (models that are small for their GPU)")
    )

    def model_options(self) -> dict[str, Any]:
        """How many points a batch is read for."""
        return {"points_per_batch": self.points_per_batch}


@dataclass(frozen=True)
class Measurement:
    """One run of a command that measures points.

    Attributes:
        command: The verb.
        settings: Its settings.
        points: The checkpoints that are read, bends of paths included.
        plan: Paths through them, each with what `plan_evaluation` is told of its positions, for a dry run.
        inputs: The names of the checkpoints in `run.json`, where they are not the points' own.
        processes: Those that a launcher started, which share the work; None for a process alone.
        plan_notes: What a dry run does not know.
        planned: Titles and plans of a dry run by model and tasks, where it is no evaluation of paths.
    """

    command: str
    settings: MeasurementSettings
    points: "Sequence[Adapter]"
    plan: "Sequence[tuple[Curve, Mapping[str, Any]]]"
    inputs: "Mapping[str, Adapter] | None" = None
    processes: "Processes | None" = None
    plan_notes: "Sequence[str]" = ()
    planned: "Callable[[AdapterModel, list[Task]], Iterable[tuple[str, Mapping[str, str]]]] | None" = None

    def run(
        self,
        measure: "Callable[[RunFolder, AdapterModel, list[Task]], T]",
        show: "Callable[[RunFolder], Sequence[str]]",
        write: "Callable[[RunFolder, AdapterModel, list[Task], T], None] | None" = None,
        accept: "Callable[[list[Task]], None] | None" = None,
    ) -> int:
        """Measure and show, or only show what a former run left, or only say what would be done.

        Args:
            measure: Measures, in the opened run folder; in all processes.
            show: Prints the tables of a finished run and returns remarks, which are printed below.
            write: Writes what was measured; in the main process. None where `measure` does, in a process alone.
            accept: Raises where the tasks do not go with the settings, before anything is loaded or written.

        Returns:
            The exit code.
        """
        from modeconn.cli.notes import on_classes, on_left_out, print_notes
        from modeconn.cli.progress import say_shown_again
        from modeconn.evaluation.evaluate import check_tasks
        from modeconn.tasks.task import Task

        settings = self.settings
        tasks = [Task.load(task, unlisted=settings.unlisted_answers) for task in settings.tasks]
        for split in settings.splits:
            check_tasks(tasks, split=split)
        if accept is not None:
            accept(tasks)
        folder = self._opened(tasks)
        if not folder.processes.is_main and (folder.finished or settings.dry_run):
            return 0
        notes = on_left_out(tasks, settings.splits)
        if folder.finished and settings.dry_run:
            print(f"nothing to do: the run in {settings.output_dir} is finished")
            return 0
        for note in self._on_bases():
            print(f"note: {note}", file=sys.stderr)
        if folder.finished:
            say_shown_again(folder.folder)
        else:
            model = self._model(folder.processes)
            if settings.dry_run:
                return self._show_plan(model, tasks, notes, num_processes=folder.processes.count)
            with folder:
                self._record(folder, model, tasks)
                measured = measure(folder, model, tasks)
                folder.processes.part()
                if not folder.processes.is_main:
                    return 0
                if write is not None:
                    write(folder, model, tasks, measured)
                if model.classes_taken:
                    folder.record(classes_taken=model.classes_taken)
        print_notes([*notes, *on_classes(folder), *show(folder)])
        print(f"\nwritten: {folder.folder}")
        return 0

    def _opened(self, tasks: "list[Task]") -> "RunFolder":
        """The run folder, which holds none of the inputs."""
        from modeconn.runs import RunFolder, refuse_inputs_inside

        settings = self.settings
        bases = {settings.base_model, *(point.config.base_model for point in self.points)}
        inputs = self.inputs or {f"adapter {point.name}": point for point in self.points}
        refuse_inputs_inside(settings.output_dir, [*settings.sources, *settings.tasks, *bases])
        return RunFolder.open(
            settings.output_dir,
            command=self.command,
            settings=settings.resolved(),
            hashes={
                **{name: point.fingerprint for name, point in inputs.items()},
                **{f"task {task.name}": task.fingerprint for task in tasks},
            },
            overwrite=settings.overwrite,
            processes=self.processes,
        )

    def _model(self, processes: "Processes") -> "AdapterModel":
        """The base model on the process's own device, checked against all points and the settings."""
        from modeconn.models.splits import check_followed

        settings = replace(self.settings, device=processes.device(self.settings.device))
        model = settings.load_model(self.points)
        check_followed(model.family, self.settings.encoding())
        return model

    def _on_bases(self) -> list[str]:
        """Remarks on checkpoints that name another base."""
        from modeconn.cli.notes import on_other_bases

        return on_other_bases(self.points, self.settings.base_model)

    def _record(self, folder: "RunFolder", model: "AdapterModel", tasks: "list[Task]") -> None:
        """What decides the numbers beside the settings."""
        from modeconn.models.image_reader import image_facts

        encoding: dict[str, Any] = vars(self.settings.encoding())
        longest = min(encoding["max_length"] or model.longest, model.longest)
        folder.record(
            device=str(model.device),
            dtype=self.settings.dtype,
            hashes={"base model": model.fingerprint},
            encoding={**encoding, "max_length": longest},
            left_out_examples={task.name: task.num_left_out for task in tasks if task.left_out},
            notes=self._on_bases(),
            **image_facts(model.tokenizer),
            **({"num_processes": folder.processes.count} if folder.processes.count > 1 else {}),
        )

    def _show_plan(self, model: "AdapterModel", tasks: "list[Task]", notes: list[str], *, num_processes: int) -> int:
        """Print what a run would do, its memory and its time."""
        from modeconn.cli.notes import print_notes
        from modeconn.cli.profile_printing import print_plan
        from modeconn.evaluation.plan import plan_evaluation

        settings: dict[str, Any] = {"split": self.settings.split, "settings": self.settings.encoding()}
        for title, plan in self.planned(model, tasks) if self.planned is not None else ():
            print_plan(plan, path=title)
        for path, positions in self.plan:
            asked = settings | dict(positions)
            plan = plan_evaluation(path, model, tasks, num_processes=num_processes, **asked)
            print_plan(plan, path=f"{path.name}, {asked['split']} split")
        print_notes([*notes, *self.plan_notes])
        return 0

"""What the commands share that move the bends of a path: their inputs, the run folder, what is written and printed."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from modeconn.cli.model_settings import ModelSettings
from modeconn.fitting.settings import FitSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.adapters.adapter import Adapter
    from modeconn.fitting.result import CurveFit
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class FitRunSettings(FitSettings, ModelSettings):
    """Between what a path is fitted, and on which tasks."""

    start: str = field(metadata=flag_help("adapter at t = 0: a folder or hub id"))
    end: str = field(metadata=flag_help("adapter at t = 1"))
    tasks: tuple[str, ...] = field(metadata=flag_help("task folders, files or hub ids whose loss is to be low"))
    output_dir: Path
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the curve")
    )
    heads: Literal["shared", "own", "skip"] | None = field(
        default=None,
        metadata=flag_help("whose head counts, where heads differ: the start's, each end's (classifiers), the base's"),
    )
    bend_rank: int | None = field(
        default=None, metadata=flag_help("rank of every bend in weights space; that of both ends together by default")
    )
    unlisted_answers: Literal["error", "leave-out"] = field(
        default="error", metadata=flag_help("what becomes of examples whose answer is not among the task's labels")
    )
    overwrite: bool = False
    quiet: bool = False

    def resolved(self) -> Self:
        """The same settings with absolute paths: one input has one name in `run.json`, however it was typed."""
        from modeconn.runs import resolved

        return replace(
            self,
            start=resolved(self.start),
            end=resolved(self.end),
            tasks=tuple(resolved(task) for task in self.tasks),
            base_model=resolved(self.base_model) if self.base_model else None,
        )

    def only(self, kind: type[FitSettings]) -> Any:  # noqa: ANN401  (a `kind`)
        """The part of the settings that a fit in Python takes."""
        return kind(**{field.name: getattr(self, field.name) for field in fields(kind)})


class Fit(Protocol):
    """What moves the bends: `fit_curve`, `fit_autoneb`."""

    def __call__(self, model: Any, tasks: Any, *, store: Any, progress: Any) -> "CurveFit":  # noqa: ANN401
        """Fit with the path and settings that are bound already."""
        ...


def run_fit(command: str, settings: FitRunSettings, fit: "Callable[[list[Adapter]], Fit]") -> int:
    """Fit a path between two checkpoints and write its run folder; a finished one is shown again.

    Args:
        command: The verb.
        settings: Its settings.
        fit: Makes what fits the path between the loaded ends.

    Returns:
        The exit code.
    """
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.naming import named
    from modeconn.cli.notes import on_classes, on_left_out, on_other_bases, print_notes
    from modeconn.cli.progress import say_shown_again
    from modeconn.evaluation.evaluate import check_tasks
    from modeconn.fitting.result import FitStopped
    from modeconn.tasks.task import Task

    ends = [Adapter.from_pretrained(end, name=name) for end, name in named([settings.start, settings.end])]
    tasks = [Task.load(task, unlisted=settings.unlisted_answers) for task in settings.tasks]
    for split in (settings.train_split, settings.eval_split):
        check_tasks(tasks, split=split)
    fit_between = fit(ends)  # what cannot be fitted is told before a folder is made
    notes = on_left_out(tasks, [settings.train_split, settings.eval_split])
    for note in [*notes, *on_other_bases(ends, settings.base_model)]:
        print(f"note: {note}", file=sys.stderr)
    folder = _opened(command, settings, ends, tasks)
    if folder.finished:
        say_shown_again(folder.folder)
    else:
        with folder:
            try:
                fitted = _fitted(settings, folder, ends, tasks, fit_between)
            except FitStopped as stopped:  # the best curve until then is worth keeping
                _write(folder, stopped.fit)
                raise
            _write(folder, fitted)
    _show(settings)
    print_notes(on_classes(folder))
    return 0


def _opened(command: str, settings: FitRunSettings, ends: "list[Adapter]", tasks: "list[Task]") -> "RunFolder":
    """The run folder, which holds none of the inputs."""
    from modeconn.runs import RunFolder, refuse_inputs_inside

    bases = {settings.base_model, *(end.config.base_model for end in ends)}
    refuse_inputs_inside(settings.output_dir, [settings.start, settings.end, *settings.tasks, *bases])
    return RunFolder.open(
        settings.output_dir,
        command=command,
        settings=settings.resolved(),
        hashes={
            **{f"adapter {end.name}": end.fingerprint for end in ends},
            **{f"task {task.name}": task.fingerprint for task in tasks},
        },
        overwrite=settings.overwrite,
    )


def _fitted(
    settings: FitRunSettings, folder: "RunFolder", ends: "list[Adapter]", tasks: "list[Task]", fit: Fit
) -> "CurveFit":
    """Load the base and fit."""
    from modeconn.adapters.heads import under_policy
    from modeconn.cli.progress import progress
    from modeconn.fitting.store import RunFitStore

    model = settings.load_model(under_policy(ends, settings.heads))
    folder.record(
        device=str(model.device),
        dtype=settings.dtype,
        seeds={"seed": settings.seed},
        hashes={"base model": model.fingerprint},
    )
    with progress(quiet=settings.quiet) as report:
        fitted = fit(model, tasks, store=RunFitStore(folder), progress=report)
    if model.classes_taken:
        folder.record(classes_taken=model.classes_taken)
    return fitted


def _write(folder: "RunFolder", fit: "CurveFit") -> None:
    """The path folder, the history and its figure."""
    from modeconn.paths import save_path
    from modeconn.plotting import plot_fit_history, save_figure

    folder.record(best_step=fit.best_step, stopped_early=fit.stopped_early)
    with folder.replacing("path") as temporary:
        save_path(fit.curve, temporary)
    folder.write_csv(fit.history, "history.csv")
    with folder.replacing("figures") as temporary:
        temporary.mkdir()
        save_figure(plot_fit_history(fit.history), temporary / "history", table=fit.history)


def _show(settings: FitRunSettings) -> None:
    """Print what the fit reached, and how to measure it."""
    import pandas as pd

    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    history = read_csv(settings.output_dir / "history.csv")
    measured = history.dropna(subset=["worst_loss"])
    names = {
        "step": "step",
        "objective": "objective",
        "mean_loss": "mean",
        "above_chord": "above the chord",
        "worst_loss": f"worst{_how_many(measured)}",
        "worst_t": "at t",
    }
    table = pd.DataFrame({shown: measured[name] for name, shown in names.items() if name in measured})
    begun = "the line" if settings.bend_rank is None else f"the line, with bends of rank {settings.bend_rank}"
    print_table(
        table,
        title=f"loss at the validation positions, {settings.eval_split} split, nats; kept is the curve of the lowest"
        f" objective (step 0: {begun})",
    )
    print(f"\nwritten: {settings.output_dir}")
    tasks = " ".join(settings.tasks)
    print(f"measure it: modeconn evaluate --path {settings.output_dir} --tasks {tasks} --output-dir ...")


def _how_many(measured: "pd.DataFrame") -> str:
    """Of how many positions the worst of a history's validations was taken, in words."""
    if "worst_of" not in measured:  # a run of before it was noted
        return ""
    counts = sorted(measured["worst_of"].astype(int).tolist())
    return f" of {counts[0]}" if counts[0] == counts[-1] else f" of {counts[0]} to {counts[-1]}"


def between(
    settings: FitRunSettings,
    ends: "list[Adapter]",
    curve: Any,  # noqa: ANN401  (a class of paths with bends)
    *,
    label: str,
    **number: int,
) -> Any:  # noqa: ANN401  (a `curve`)
    """A curve of a kind that lies on the line, from which the fit begins.

    Args:
        settings: The command's.
        ends: Both points.
        curve: The class of the path.
        label: Begins the path's name.
        **number: How many bends, pivots or pieces, by the name that `curve.between` has for it.
    """
    name = f"{label} {ends[0].name} -> {ends[1].name}"
    options = {"space": settings.space, "name": name, "heads": settings.heads, "bend_rank": settings.bend_rank}
    return curve.between(ends[0], ends[1], **options, **number)

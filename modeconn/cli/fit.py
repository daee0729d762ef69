"""Fit a curve between two checkpoints: its bends move to where the tasks' loss is low, its ends stay.

Writes the curve as a path folder (path/), history.csv and figures/ to the output folder; the bends are adapters that
plain PEFT loads. `modeconn evaluate --path` measures the curve on the test split.
"""

import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modeconn.fitting.settings import FitSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.fitting.result import CurveFit
    from modeconn.paths.path import Path as Curve
    from modeconn.runs import RunFolder
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Settings(FitSettings):
    """What to fit and how."""

    start: str = field(metadata=flag_help("adapter at t = 0: a folder or hub id"))
    end: str = field(metadata=flag_help("adapter at t = 1"))
    tasks: tuple[str, ...] = field(metadata=flag_help("task folders, files or hub ids whose loss is to be low"))
    output_dir: Path
    curve: Literal["bezier", "chain", "piecewise-bezier"] = field(
        default="bezier", metadata=flag_help("piecewise-bezier joins curves of one bend each")
    )
    num_bends: int = field(default=1, metadata=flag_help("free points between the ends; joints count as bends"))
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the curve")
    )
    base_model: str | None = field(default=None, metadata=flag_help("folder or hub id; none takes the adapters' own"))
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM"] | None = field(
        default=None, metadata=flag_help("kind of model, where the adapters do not say")
    )
    unlisted_answers: Literal["error", "leave-out"] = field(
        default="error", metadata=flag_help("what becomes of examples whose answer is not among the task's labels")
    )
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = field(
        default="float32", metadata=flag_help("dtype of the base's weights")
    )
    device: str = field(default="cpu", metadata=flag_help("torch device"))
    overwrite: bool = False
    quiet: bool = False

    def resolved(self) -> "Settings":
        """The same settings with absolute paths: one input has one name in `run.json`, however it was typed."""
        from modeconn.runs import resolved

        return replace(
            self,
            start=resolved(self.start),
            end=resolved(self.end),
            tasks=tuple(resolved(task) for task in self.tasks),
            base_model=resolved(self.base_model) if self.base_model else None,
        )


def run(settings: Settings) -> int:
    """Fit a curve and write its run folder; a finished one is shown again."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.cli.naming import named
    from modeconn.cli.notes import on_left_out, on_other_bases
    from modeconn.cli.progress import say_shown_again
    from modeconn.fitting.result import FitStopped
    from modeconn.runs import RunFolder, refuse_inputs_inside
    from modeconn.tasks.task import Task

    ends = [Adapter.from_pretrained(end, name=name) for end, name in named([settings.start, settings.end])]
    tasks = [Task.load(task, unlisted=settings.unlisted_answers) for task in settings.tasks]
    notes = on_left_out(tasks, [settings.train_split, settings.eval_split])
    for note in [*notes, *on_other_bases(ends, settings.base_model)]:
        print(f"note: {note}", file=sys.stderr)
    bases = {settings.base_model, *(end.config.base_model for end in ends)}
    refuse_inputs_inside(settings.output_dir, [settings.start, settings.end, *settings.tasks, *bases])
    folder = RunFolder.open(
        settings.output_dir,
        command="fit",
        settings=settings.resolved(),
        hashes={
            **{f"adapter {end.name}": end.fingerprint for end in ends},
            **{f"task {task.name}": task.fingerprint for task in tasks},
        },
        overwrite=settings.overwrite,
    )
    if folder.finished:
        say_shown_again(folder.folder)
    else:
        with folder:
            try:
                fit = _fit(settings, folder, ends, tasks)
            except FitStopped as stopped:  # the best curve until then is worth keeping
                _write(folder, stopped.fit)
                raise
            _write(folder, fit)
    _show(settings)
    return 0


def _fit(settings: Settings, folder: "RunFolder", ends: "list[Adapter]", tasks: "list[Task]") -> "CurveFit":
    """Load the base and fit."""
    from modeconn.cli.progress import progress
    from modeconn.fitting.fit import fit_curve
    from modeconn.fitting.store import RunFitStore
    from modeconn.models.adapter_model import AdapterModel

    model = AdapterModel.from_pretrained(
        settings.base_model, adapters=ends, task_type=settings.task_type, device=settings.device, dtype=settings.dtype
    )
    folder.record(
        device=str(model.device),
        dtype=settings.dtype,
        seeds={"seed": settings.seed},
        hashes={"base model": model.fingerprint},
    )
    own = {field.name: getattr(settings, field.name) for field in fields(FitSettings)}
    with progress(quiet=settings.quiet) as report:
        return fit_curve(
            _curve(settings, ends),
            model,
            tasks,
            settings=FitSettings(**own),
            store=RunFitStore(folder),
            progress=report,
        )


def _curve(settings: Settings, ends: "list[Adapter]") -> "Curve":
    """The curve on the line, from which the fit begins."""
    from modeconn.errors import FitError
    from modeconn.paths import BezierCurve, PiecewiseBezier, PolygonalChain

    name = f"{settings.curve} {ends[0].name} -> {ends[1].name}"
    bends = settings.num_bends
    if settings.curve == "bezier":
        return BezierCurve.between(ends[0], ends[1], num_bends=bends, space=settings.space, name=name)
    if settings.curve == "chain":
        return PolygonalChain.between(ends[0], ends[1], num_bends=bends, space=settings.space, name=name)
    if bends < 1 or bends % 2 == 0:
        raise FitError(
            "a piecewise Bezier curve cannot have this number of bends",
            expected="an odd number: one bend a piece and a joint between two pieces",
            got=str(bends),
            remedy="give --num-bends 3 for two pieces, 5 for three",
        )
    return PiecewiseBezier.between(ends[0], ends[1], num_segments=(bends + 1) // 2, space=settings.space, name=name)


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


def _show(settings: Settings) -> None:
    """Print what the fit reached, and how to measure it."""
    import pandas as pd

    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    history = read_csv(settings.output_dir / "history.csv")
    measured = history.dropna(subset=["worst_loss"])
    names = {"step": "step", "worst_loss": "worst validation loss", "worst_t": "at t"}
    table = pd.DataFrame({shown: measured[name] for name, shown in names.items()})
    print_table(table, title=f"worst mean loss inside the curve, {settings.eval_split} split, nats (step 0: the line)")
    print(f"\nwritten: {settings.output_dir}")
    tasks = " ".join(settings.tasks)
    print(f"measure it: modeconn evaluate --path {settings.output_dir} --tasks {tasks} --output-dir ...")

"""Measure tasks along paths between checkpoints, and how high the barriers are.

The paths are the line from --start to --end, the lines between consecutive --points, and fitted curves (--path), or
several of them in one table and one figure. Writes profile.csv, examples.parquet, barriers.csv and figures/ to the
output folder and prints the barriers.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path as Curve
    from modeconn.runs import RunFolder
    from modeconn.tasks.encoding import EncodingSettings
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to evaluate and how."""

    tasks: tuple[str, ...] = field(metadata=flag_help("task folders, files or hub ids"))
    output_dir: Path
    start: str | None = field(default=None, metadata=flag_help("checkpoint at t = 0 of a line: a folder or hub id"))
    end: str | None = field(default=None, metadata=flag_help("checkpoint at t = 1"))
    points: tuple[str, ...] = field(default=(), metadata=flag_help("checkpoints in a row, joined by a line each"))
    path: tuple[str, ...] = field(default=(), metadata=flag_help("path folders, as modeconn fit writes them"))
    base_model: str | None = field(default=None, metadata=flag_help("folder or hub id; none takes the adapters' own"))
    task_type: Literal["CAUSAL_LM", "SEQ_CLS", "SEQ_2_SEQ_LM"] | None = field(
        default=None, metadata=flag_help("kind of model, where the adapters do not say")
    )
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the lines")
    )
    heads: Literal["shared", "own", "skip"] | None = field(
        default=None,
        metadata=flag_help("whose head counts, where heads differ: the start's, each end's, the base's"),
    )
    num_points: int = field(default=21, metadata=flag_help("evenly spaced positions, ends included"))
    t: tuple[float, ...] | None = field(default=None, metadata=flag_help("the positions themselves, from 0 to 1"))
    tolerance: float | None = field(
        default=None,
        metadata=flag_help(
            "choose the positions: the profile is known between them to this part of its range (0.0025)"
        ),
    )
    split: str = field(default="test", metadata=flag_help("split of every task"))
    unlisted_answers: Literal["error", "leave-out"] = field(
        default="error", metadata=flag_help("what becomes of examples whose answer is not among the task's labels")
    )
    labels: tuple[str, ...] | None = field(
        default=None, metadata=flag_help("a classifier's classes in the order of its head, where not recorded")
    )
    mask_labels: bool = field(default=False, metadata=flag_help("leave out classes that are not the task's own"))
    score_eos: bool = field(default=False, metadata=flag_help("score the end-of-sequence token after the answer"))
    separator: str = field(default=" ", metadata=flag_help("between prompt and answer, where neither has a blank"))
    max_length: int | None = field(default=None, metadata=flag_help("tokens a row; none takes what the model holds"))
    token_budget: int = field(default=2048, metadata=flag_help("tokens a batch, padding included"))
    dtype: Literal["float32", "float64", "bfloat16", "float16"] = field(
        default="float32", metadata=flag_help("dtype of the base's weights")
    )
    quantization: Literal["torchao-int8", "bnb-8bit", "bnb-4bit"] | None = field(
        default=None, metadata=flag_help("round the base's weights; needs torchao or bitsandbytes")
    )
    device: str = field(default="cpu", metadata=flag_help("torch device"))
    overwrite: bool = False
    dry_run: bool = False
    quiet: bool = False

    def resolved(self) -> "Settings":
        """The same settings with absolute paths: one input has one name in `run.json`, however it was typed."""
        from modeconn.runs import resolved

        return replace(
            self,
            start=resolved(self.start) if self.start else None,
            end=resolved(self.end) if self.end else None,
            points=tuple(resolved(point) for point in self.points),
            path=tuple(resolved(path) for path in self.path),
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


def run(settings: Settings) -> int:
    """Evaluate paths and write their run folder; a finished one is shown again."""
    from modeconn.cli.given_paths import given_paths
    from modeconn.cli.notes import on_left_out, on_other_bases
    from modeconn.cli.profile_printing import print_profile
    from modeconn.cli.progress import say_shown_again
    from modeconn.tasks.task import Task

    paths = given_paths(settings)
    tasks = [Task.load(task, unlisted=settings.unlisted_answers) for task in settings.tasks]
    folder = _opened(settings, paths, tasks)
    notes = on_left_out(tasks, [settings.split])
    for note in on_other_bases(_points(paths), settings.base_model):
        print(f"note: {note}", file=sys.stderr)
    if not folder.finished:
        model = _model(settings, paths)
        if settings.dry_run:
            return _show_plan(settings, paths, tasks, model, notes)
        with folder:
            _evaluate(settings, folder, paths, tasks, model)
    elif settings.dry_run:
        print(f"nothing to do: the run in {settings.output_dir} is finished")
        return 0
    else:
        say_shown_again(folder.folder)
    print_profile(folder, notes=notes)
    return 0


def _points(paths: "Sequence[Curve]") -> "list[Adapter]":
    """All control points, each once."""
    return list({id(point): point for path in paths for point in path.points}.values())


def _bends(path: "Curve") -> range:
    """The numbers of a path's control points between its ends."""
    return range(1, len(path.points) - 1)


def _opened(settings: Settings, paths: "Sequence[Curve]", tasks: "list[Task]") -> "RunFolder":
    """The run folder, which holds none of the inputs."""
    from modeconn.runs import RunFolder, refuse_inputs_inside

    bases = {settings.base_model, *(point.config.base_model for point in _points(paths))}
    given = [source for source in (settings.start, settings.end, *settings.points, *settings.path) if source]
    refuse_inputs_inside(settings.output_dir, [*given, *settings.tasks, *bases])
    return RunFolder.open(
        settings.output_dir,
        command="evaluate",
        settings=settings.resolved(),
        hashes={
            **{
                f"adapter {point.name}": point.fingerprint for path in paths for point in (path.start, path.head_of_end)
            },
            **{f"bend {n} of {path.name}": path.points[n].fingerprint for path in paths for n in _bends(path)},
            **{f"task {task.name}": task.fingerprint for task in tasks},
        },
        overwrite=settings.overwrite,
    )


def _model(settings: Settings, paths: "Sequence[Curve]") -> "AdapterModel":
    """The base model, checked against all points."""
    from modeconn.models.adapter_model import AdapterModel

    model = AdapterModel.from_pretrained(
        settings.base_model,
        adapters=_points(paths),
        task_type=settings.task_type,
        labels=settings.labels,
        device=settings.device,
        dtype=settings.dtype,
        quantization=settings.quantization,
    )
    _refuse_class_settings(settings, model.family.task_type)
    return model


def _refuse_class_settings(settings: Settings, task_type: str) -> None:
    """Raise if settings that only a classifier follows were given for another model: they would do nothing."""
    from modeconn.errors import ModelError

    given = {"--labels": settings.labels is not None, "--mask-labels": settings.mask_labels}
    flags = " and ".join(flag for flag, is_given in given.items() if is_given)
    if flags and task_type != "SEQ_CLS":
        raise ModelError(
            f"{flags} cannot be followed: the model has no classes",
            expected="a sequence classifier (SEQ_CLS)",
            got=f"a model of the kind {task_type}",
            remedy=f"leave {flags} out, or give --task-type SEQ_CLS if the adapters are a classifier's",
        )


def _evaluate(
    settings: Settings, folder: "RunFolder", paths: "Sequence[Curve]", tasks: "list[Task]", model: "AdapterModel"
) -> None:
    """Measure and write."""
    from modeconn.cli.notes import on_other_bases
    from modeconn.cli.profile_files import write_profile
    from modeconn.cli.progress import progress
    from modeconn.evaluation.evaluate import evaluate_path
    from modeconn.evaluation.profile import Profile
    from modeconn.evaluation.store import RunPointStore

    folder.record(
        device=str(model.device),
        dtype=settings.dtype,
        hashes={"base model": model.fingerprint},
        encoding=_encoding_in_full(settings, model),
        left_out_examples={task.name: task.num_left_out for task in tasks if task.left_out},
        notes=on_other_bases(_points(paths), settings.base_model),
    )
    with progress(quiet=settings.quiet) as report:
        profiles = [
            evaluate_path(
                path,
                model,
                tasks,
                num_points=settings.num_points,
                t=settings.t,
                tolerance=settings.tolerance,
                split=settings.split,
                settings=settings.encoding(),
                store=RunPointStore(folder),
                progress=report,
            )
            for path in paths
        ]
    write_profile(folder, Profile.concat(profiles))


def _encoding_in_full(settings: Settings, model: "AdapterModel") -> dict[str, Any]:
    """How examples become tokens, with the length that the model sets where none was given."""
    encoding = settings.encoding()
    return {**vars(encoding), "max_length": min(encoding.max_length or model.longest, model.longest)}


def _show_plan(
    settings: Settings, paths: "Sequence[Curve]", tasks: "list[Task]", model: "AdapterModel", notes: list[str]
) -> int:
    """Print what a run would do, its memory and its time."""
    from modeconn.cli.profile_printing import print_plan
    from modeconn.evaluation.plan import plan_evaluation

    num_points = len(settings.t) if settings.t is not None else settings.num_points
    for path in paths:
        plan = plan_evaluation(
            path, model, tasks, num_points=num_points, split=settings.split, settings=settings.encoding()
        )
        print_plan(plan, path=path.name, notes=notes)
    return 0

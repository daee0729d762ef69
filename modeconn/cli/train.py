"""Train an adapter on tasks in sequence and keep a checkpoint after each.

Writes a PEFT folder after-1-..., after-2-... for every task, and scores.csv: every task's score after each.
"""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modeconn.continual.settings import TrainSettings
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    import pandas as pd

    from modeconn.runs.processes import Processes
    from modeconn.tasks.task import Task


@dataclass(frozen=True, kw_only=True)
class Settings(TrainSettings):
    """What to train and how."""

    base_model: str = field(metadata=flag_help("folder or hub id of the base"))
    tasks: tuple[str, ...] = field(metadata=flag_help("task folders, files or hub ids, in training order"))
    unlisted_answers: Literal["error", "leave-out"] = field(
        default="error", metadata=flag_help("what becomes of examples whose answer is not among the task's labels")
    )
    output_dir: Path
    overwrite: bool = False
    dry_run: bool = False
    quiet: bool = False


def run(settings: Settings, processes: "Processes | None" = None) -> int:
    """Train and print the score matrix; a finished run is shown again."""
    from modeconn.cli.notes import on_left_out, print_notes
    from modeconn.cli.progress import progress, say_shown_again
    from modeconn.cli.tables import print_score_matrix
    from modeconn.continual.trainer import train
    from modeconn.runs import refuse_inputs_inside
    from modeconn.tasks.task import Task

    refuse_inputs_inside(settings.output_dir, [*settings.tasks, settings.base_model])
    tasks = [Task.load(task, unlisted=settings.unlisted_answers) for task in settings.tasks]
    own = {field.name: getattr(settings, field.name) for field in fields(TrainSettings)}
    if settings.dry_run:
        return _show_plan(settings.base_model, tasks, TrainSettings(**own))
    with progress(quiet=settings.quiet) as report:
        trained = train(
            settings.output_dir,
            settings.base_model,
            tasks,
            settings=TrainSettings(**own),
            overwrite=settings.overwrite,
            progress=report,
            processes=processes,
        )
    if trained.finished_before:
        say_shown_again(settings.output_dir)
    print_score_matrix(trained.scores)
    _print_measures(trained.scores)
    _print_ability(settings.output_dir)
    print_notes([*on_left_out(tasks, ["train", settings.eval_split]), *_on_cut_prompts(settings)])
    for checkpoint in trained.checkpoints:
        print(f"checkpoint: {checkpoint}")
    return 0


def _show_plan(base_model: str, tasks: "list[Task]", settings: TrainSettings) -> int:
    """Print what a run would do and what it takes."""
    from modeconn.cli.notes import on_left_out, print_notes
    from modeconn.cli.tables import print_table
    from modeconn.continual.plan import plan_training

    plan = plan_training(base_model, tasks, settings=settings)
    print_table(plan.tasks, title=f"what would be trained: {settings.adapter}, {settings.method}")
    petaflop = plan.num_tokens * plan.token_flops / 1e15
    print(
        f"\nparameters: {plan.num_parameters:,}, of which {plan.num_trained:,} are trained"
        f" ({plan.num_trained / plan.num_parameters:.3%})"
        f"\nmemory: {plan.memory / 1e9:.3g} GB of weights, gradients and optimiser states; activations come on top"
        f"\nwork: {plan.num_tokens:,} tokens, about {petaflop:.3g} PFLOP of products with weights;"
        " replayed examples, slow learners and evaluation come on top"
    )
    print_notes(on_left_out(tasks, ["train", settings.eval_split]))
    return 0


def _print_measures(scores: "pd.DataFrame") -> None:
    """Print what the score matrix says of learning and forgetting."""
    import pandas as pd

    from modeconn.cli.tables import print_table
    from modeconn.continual.scores import ScoreMatrix

    matrix = ScoreMatrix.from_frame(scores)
    if matrix.num_tasks > 1:
        print()
        print_table(pd.DataFrame([matrix.summary()]), title="over all tasks, each in its own score")


def _print_ability(folder: Path) -> None:
    """Print what the harness's benchmarks say of the base and every checkpoint, if they were run."""
    from modeconn.cli.tables import print_table
    from modeconn.runs import read_csv

    if (file := folder / "general.csv").exists():
        print()
        shown = ["checkpoint", "task", "metric", "score", "score_low", "score_high", "num_examples"]
        print_table(read_csv(file).reindex(columns=shown), title="lm-evaluation-harness")


def _on_cut_prompts(settings: Settings) -> list[str]:
    """One remark for each split of which prompts were cut."""
    from modeconn.runs import read_record

    record = read_record(settings.output_dir)
    facts = record.facts if record else {}
    return [
        f"{count} prompts of {task} were cut in the middle to fit {split} (--max-length)"
        for split, key in (("training", "truncated_train_examples"), ("evaluation", "truncated_eval_examples"))
        for task, count in facts.get(key, {}).items()
        if count
    ]

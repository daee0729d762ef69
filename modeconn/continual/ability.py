"""General ability along a training run: benchmarks of the lm-evaluation-harness before training and after each task."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modeconn.adapters.adapter import Adapter
from modeconn.continual.run import Run
from modeconn.continual.settings import TrainSettings
from modeconn.errors import RunError
from modeconn.evaluation.general import check_general, check_writes, general_scores
from modeconn.evaluation.store import RunPointStore
from modeconn.models.adapter_model import AdapterModel
from modeconn.runs import RunFolder

WITHOUT_UPDATE = ("prompt-tuning", "p-tuning", "prefix-tuning", "l2p", "loretta-adp")
BASE = "base"  # how the table calls the model before training
_COLUMNS = ["path", "space", "t", "distance"]  # of a path's points


def check_ability(settings: TrainSettings) -> None:
    """Raise unless the benchmarks that the settings name can be run; neither a model nor data are read.

    Raises:
        EvaluationError: If a benchmark is unknown, a setting is out of range, or lm-eval is not installed.
        RunError: If settings of benchmarks are given without any.
    """
    if settings.lm_eval:
        check_general(settings.lm_eval, num_examples=settings.lm_eval_examples, include_path=settings.lm_eval_tasks)
    elif settings.lm_eval_tasks is not None or settings.lm_eval_examples is not None:
        raise RunError(
            "there is no benchmark to be run",
            expected="--lm-eval with names of benchmarks",
            got="--lm-eval-tasks or --lm-eval-examples alone",
            remedy="name the benchmarks, or leave these out",
        )


def check_measurable(run: Run) -> None:
    """Raise unless the harness can read the run's checkpoints.

    Raises:
        EvaluationError: If the model is a classifier.
        RunError: If the adapter changes no weights.
    """
    check_writes(run.model)
    if run.settings.adapter in WITHOUT_UPDATE:
        raise RunError(
            "the harness cannot run the checkpoints",
            expected="an adapter that changes weights",
            got=run.settings.adapter,
            remedy="leave out --lm-eval, or train another kind of adapter",
        )


def write_ability(folder: RunFolder, model: AdapterModel, checkpoints: Sequence[Path], settings: TrainSettings) -> None:
    """Measure the base and every checkpoint; leaves general.csv and general.parquet in the folder.

    A measurement that was interrupted goes on. A base whose head is trained is left out: it had none before.

    Args:
        folder: The run folder, opened.
        model: The base model.
        checkpoints: Folders, in the order of training.
        settings: Which benchmarks.

    Raises:
        EvaluationError: If they cannot be run, or a checkpoint changes no weights.
    """
    points = [Adapter.from_pretrained(checkpoint) for checkpoint in checkpoints]
    first = points[0]
    before = [] if first.saved or first.replaces else [replace(0.0 * first, name=BASE)]
    found = general_scores(
        [*before, *points],
        model,
        settings.lm_eval,
        num_examples=settings.lm_eval_examples,
        include_path=settings.lm_eval_tasks,
        store=RunPointStore(folder),
    )
    tables = {"general.csv": found.frame.drop(columns=_COLUMNS[1:]), "general.parquet": found.samples.drop(columns="t")}
    folder.write_csv(tables["general.csv"].rename(columns={"path": "checkpoint"}), "general.csv")
    folder.write_parquet(tables["general.parquet"].rename(columns={"path": "checkpoint"}), "general.parquet")

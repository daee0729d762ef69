"""The lm-evaluation-harness as a function: benchmarks by name, and its numbers of a module that is in memory."""

import copy
import difflib
import logging
import random
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modeconn.errors import EvaluationError, listed
from modeconn.models.adapter_model import AdapterModel

SEED = 1234  # the harness's own: which examples stand before a question
NUM_RESAMPLES = 1000  # for standard errors of what is no mean; the harness's 100,000 take minutes at each point


def load_benchmarks(names: Sequence[str], include_path: Path | None = None) -> Mapping[str, Any]:
    """Tasks and groups of the harness by their names, with their data.

    A folder's own tasks are tried first: where they are all that is asked for, the harness's index is not built, which
    takes seconds, and nothing is looked for on the network that the folder does not name.

    Args:
        names: Of tasks, groups or tags.
        include_path: A folder with YAML files of tasks; they win over the harness's of the same name.

    Returns:
        What `lm_eval.tasks.TaskManager.load` returns: name -> task under "tasks", name -> group under "groups".

    Raises:
        EvaluationError: If the extra `general` is not installed, a name is unknown, or a task's data cannot be read.
    """
    own = _own_tasks(names, include_path)
    if own is not None:
        with suppress(Exception):  # a group of theirs may name the harness's tasks
            return own.load(list(names))
    everything = _all_tasks(names, include_path)
    try:
        return everything.load(list(names))
    # The harness fails in too many ways to name: network, unknown data sets, templates, missing libraries.
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise EvaluationError(
            f"the harness cannot load {listed(names)}",
            expected="tasks whose data are on this machine or can be reached",
            got=f"{type(error).__name__}: {lines[0]}",
            remedy="check the network, or write YAML files that name local data and give their folder as include_path"
            " (--lm-eval-tasks)",
        ) from error


def check_benchmarks(names: Sequence[str], include_path: Path | None = None) -> None:
    """Raise if `load_benchmarks` would not find a name; no data are read.

    Args:
        names: Of tasks, groups or tags.
        include_path: A folder with YAML files of tasks.

    Raises:
        EvaluationError: If the extra `general` is not installed, or a name is unknown.
    """
    if _own_tasks(names, include_path) is None:
        _all_tasks(names, include_path)


def require_harness() -> None:
    """Raise unless the extra `general` is installed.

    Raises:
        EvaluationError: If it is not.
    """
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise EvaluationError(
            "general ability cannot be measured",
            expected="the library lm-eval, which the extra `general` brings along",
            got=f"{type(error).__name__}: {error}",
            remedy="pip install 'modeconn[general]'",
        ) from error


def check_known(names: Sequence[str], known: Collection[str]) -> None:
    """Raise if the harness has no task of a name.

    Raises:
        EvaluationError: If it has none; the message lists names that are near.
    """
    unknown = sorted(set(names).difference(known))
    if not unknown:
        return
    near = dict.fromkeys(one for name in unknown for one in difflib.get_close_matches(name, known, n=5))
    raise EvaluationError(
        "the harness has no such task",
        expected=f"tasks, groups or tags of lm-eval, such as {listed(near)}" if near else "tasks of lm-eval",
        got=listed(unknown),
        remedy="take one of its names, or give the folder of your own YAML files as include_path (--lm-eval-tasks)",
    )


def _own_tasks(names: Sequence[str], include_path: Path | None) -> Any | None:  # noqa: ANN401
    """The harness's index of a folder alone; None where it lacks a name."""
    require_harness()
    from lm_eval.tasks import TaskManager

    if include_path is None:
        return None
    own = TaskManager(include_path=str(include_path), include_defaults=False)
    return own if set(names) <= set(own.all_tasks) else None


def _all_tasks(names: Sequence[str], include_path: Path | None) -> Any:  # noqa: ANN401
    """The harness's whole index, which has every name."""
    from lm_eval.tasks import TaskManager

    everything = TaskManager(include_path=str(include_path) if include_path is not None else None)
    check_known(names, everything.all_tasks)
    return everything


def run_benchmarks(
    loaded: Mapping[str, Any],
    model: AdapterModel,
    module: nn.Module,
    *,
    num_examples: int | None = None,
    batch_size: int = 8,
) -> dict[str, Any]:
    """The harness's results of a module that is at a point; every point gets the same prompts.

    Args:
        loaded: From `load_benchmarks`.
        model: The model, for tokenizer and length.
        module: Its module at a point.
        num_examples: The first so many of each task; None takes all.
        batch_size: Requests that go through the module together.

    Returns:
        What `lm_eval.evaluator.evaluate` returns.
    """
    from lm_eval.evaluator import evaluate
    from lm_eval.models import huggingface

    reads: Any = huggingface.HFLM
    with _as_it_is(module), _logging_above(logging.ERROR):  # it warns that the module is one in memory
        reader = reads(
            pretrained=module,
            tokenizer=copy.deepcopy(model.tokenizer),  # which it changes
            max_length=model.longest,
            batch_size=batch_size,
        )
    for task in loaded["tasks"].values():
        task.set_fewshot_seed(seed=SEED)  # anew for each point: a sampler goes on where it was
    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002  (what the benchmarks' own code draws from)
    torch.manual_seed(SEED)
    with _without_bars():
        found: Any = evaluate(
            lm=reader,
            task_dict=dict(loaded),  # type: ignore[arg-type]
            limit=num_examples,
            bootstrap_iters=NUM_RESAMPLES,
            log_samples=True,
        )
    return found


@contextmanager
def generators_restored(device: torch.device) -> Iterator[None]:
    """A context after which every shared generator of random numbers is where it was; the harness sets them.

    Args:
        device: Where the model lives.
    """
    kept, kept_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(kept)
            np.random.set_state(kept_numpy)  # noqa: NPY002


@contextmanager
def _as_it_is(module: nn.Module) -> Iterator[None]:
    """A module whose tied weights are not tied anew, which would undo a point that parts them."""
    kept = {name: value for name, value in vars(module).items() if name == "tie_weights"}
    vars(module)["tie_weights"] = lambda *_, **__: None
    try:
        yield
    finally:
        del vars(module)["tie_weights"]
        vars(module).update(kept)


@contextmanager
def _logging_above(level: int) -> Iterator[None]:
    """The harness's log from a level on."""
    log = logging.getLogger("lm_eval")
    kept = log.level
    log.setLevel(level)
    try:
        yield
    finally:
        log.setLevel(kept)


@contextmanager
def _without_bars() -> Iterator[None]:
    """No progress bars of the harness's: there is one for each task at each point, and no setting for them."""
    loaded = [module for name, module in sys.modules.items() if name.startswith("lm_eval.") and "tqdm" in vars(module)]
    kept = {module: module.tqdm for module in loaded}
    for module, bar in kept.items():
        vars(module)["tqdm"] = partial(_hidden, bar)
    try:
        yield
    finally:
        for module, bar in kept.items():
            vars(module)["tqdm"] = bar


def _hidden(bar: Any, *args: Any, **options: Any) -> Any:  # noqa: ANN401
    """A progress bar that does not show, whatever its caller says."""
    return bar(*args, **{**options, "disable": True})

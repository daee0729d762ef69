"""What is checked before a sweep, whatever it sweeps over: the table `checks` of its result."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from modeconn.adapters.adapter import Adapter
from modeconn.evaluation.batch_independence import check_rows_alone
from modeconn.evaluation.gate import check_ends, check_repeatable
from modeconn.evaluation.processes import processes_of
from modeconn.evaluation.together import check_together
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.point_model import Encoded, PointModel
from modeconn.models.several_points import points_per_batch
from modeconn.paths.path import Path

if TYPE_CHECKING:
    from collections.abc import Callable

    from modeconn.evaluation.records import PointStore


def preconditions(
    path: Path,
    model: PointModel,
    encoded: Sequence[Encoded],
    checkpoints: Sequence[Adapter],
    *,
    against_peft: bool,
    called: Literal["ends", "points"],
    store: "PointStore | None" = None,
) -> dict[str, Any]:
    """What must hold before points are measured, each checkpoint checked by one process.

    Args:
        path: The path whose control points are combined, bound to the model; its start is evaluated twice.
        model: The model.
        encoded: The splits that will be evaluated.
        checkpoints: The points that somebody trained.
        against_peft: Whether to compare them with plain PEFT.
        called: What the checkpoints are to the sweep.
        store: That of the sweep, which knows the processes of a launch.

    Returns:
        repeatable_within (relative to 1 + loss), truncated_examples (task -> count), heads where the path has a
        policy for them, `{called}_agree_with_peft_within` (checkpoint -> relative to 1 + loss), and
        together_as_alone_within (the same, of points that are evaluated together) where the model does that.

    Raises:
        EvaluationError: If the model is not deterministic, a row's loss depends on the batch, a checkpoint is not what
            PEFT loads, or a loss is not finite.
    """
    work: list[Callable[[], Any]] = [
        partial(check_repeatable, model, path.start, encoded),
        partial(check_rows_alone, model, path.start, encoded),
    ]
    if against_peft:
        work += [partial(check_ends, model, [one], encoded) for one in checkpoints]
    repeatable, _, *agreeing = processes_of(store).share(work, lambda one: one())
    found: dict[str, Any] = {"repeatable_within": repeatable}
    found["truncated_examples"] = {one.task: one.num_truncated for one in encoded}
    if path.heads:
        found["heads"] = path.heads
    if against_peft:
        found[f"{called}_agree_with_peft_within"] = _largest(agreeing)
    if points_per_batch(model) > 1 and isinstance(model, AdapterModel):
        found["together_as_alone_within"] = check_together(model, checkpoints, encoded)
    return found


def _largest(several: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The largest number of each name: two checkpoints may have one."""
    found: dict[str, float] = {}
    for name, number in (pair for one in several for pair in one.items()):
        found[name] = max(number, found.get(name, number))
    return found

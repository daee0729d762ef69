"""The dry run of `modeconn cka`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from modeconn.cli.cka import Settings
    from modeconn.models.adapter_model import AdapterModel
    from modeconn.paths.path import Path as Curve
    from modeconn.tasks.task import Task


def planned_comparisons(
    settings: "Settings", path: "Curve", num_points: int, model: "AdapterModel", tasks: "list[Task]"
) -> "Iterator[tuple[str, dict[str, str]]]":
    """What the comparisons of each task would cost.

    Args:
        settings: Those of the command.
        path: The path, or a line between the first and the last checkpoint of a run.
        num_points: Checkpoints of the run.
        model: The model.
        tasks: The tasks.

    Yields:
        A title, and quantity -> value, for each task.
    """
    from modeconn.similarity.plan import Comparing, plan_cka

    along, layers = settings.comparing(chance=False), settings.comparing(chance=True)
    if settings.points:
        comparisons = [Comparing(num_points, matched=True, settings=along)]
        references = {"previous": num_points, "first": 0}.get(settings.reference or "base", 1)
        if num_points == 1:  # layer by layer, too
            comparisons.append(Comparing(1, matched=False, settings=layers))
            references += 1
    else:
        pairs = 3 if settings.reference == "base" else 1
        comparisons = [
            Comparing(pairs, matched=False, settings=layers),
            Comparing(settings.num_points, matched=True, settings=along),
        ]
        references = pairs + (settings.reference == "base")  # an end of the path is read once
    for task in tasks:
        plan = plan_cka(
            path.on(model)(0.5), model, task, comparisons, num_references=references, split=settings.split,
            encoding=settings.encoding(),
        )  # fmt: skip
        yield f"cka of {task.name}, {settings.split} split", plan

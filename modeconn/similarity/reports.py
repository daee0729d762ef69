"""CKA of points: layer by layer between two, along a path, after every task of a continual run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd
from numpy.typing import ArrayLike

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError
from modeconn.evaluation.evaluate import positions_asked
from modeconn.evaluation.records import PointStore
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.module_model import ModuleModel, TensorTask
from modeconn.paths.path import Path
from modeconn.similarity.engine import Progress, Side, check_points, compared, sides_of
from modeconn.similarity.remarks import remarks_on
from modeconn.similarity.rows import COLUMNS
from modeconn.similarity.settings import CKASettings
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task

PathReference = Literal["start", "end", "base"]
DriftReference = Literal["base", "first", "previous"]


@dataclass(frozen=True, eq=False)
class Similarity:
    """A table of comparisons and what there is to say about them.

    Attributes:
        frame: One row for each pair of layers and point: point, reference, task, split, pooling, layer,
            layer_reference, t (missing off a path), cka (debiased; missing where a layer does not vary), low and high
            (at one pair), cka_biased, num_examples, num_rows (examples, or tokens), num_together (rows compared at
            once: all of them, or those of a minibatch), num_features and num_features_reference, num_effective
            (examples that carry the spread), influence (the largest change by leaving one example out) and
            influential_example, null_high (the upper end of what shuffled examples give) and p_value.
        notes: Remarks for the reader.
        checks: What was checked: agreement with PEFT, the inputs' hash, cut prompts.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    checks: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, tables: Sequence[pd.DataFrame], checks: Mapping[str, Any]) -> "Similarity":
        """Tables as one, in the order of the columns, with its remarks."""
        frame = pd.concat(
            [table.reindex(columns=["step", *COLUMNS] if "step" in table else list(COLUMNS)) for table in tables],
            ignore_index=True,
        )
        frame = frame.astype({"influential_example": "Int64"})
        cut = int(checks.get("truncated_examples", 0))
        notes = (f"{cut} prompts were cut to fit",) if cut else ()
        return cls(frame, (*remarks_on(frame), *notes), checks)


def cka_between(
    point: Adapter | None,
    reference: Adapter | None,
    model: AdapterModel | ModuleModel,
    task: Task | TensorTask,
    *,
    reference_model: AdapterModel | ModuleModel | None = None,
    split: str = "test",
    settings: CKASettings | None = None,
    encoding: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> Similarity:
    """CKA of every layer of one point with every layer of another.

    Args:
        point: A checkpoint, a point of a path, or None for the base itself.
        reference: What it is compared with; the same.
        model: The model; a `ModuleModel` where the points are bare modules'.
        task: Its prompts, or tensors, are read.
        reference_model: The reference's model, where it is another one: the texts are the same, the tokens may differ.
        split: Which split.
        settings: How they are compared.
        encoding: How prompts become tokens.
        check: Whether to compare the checkpoints with plain PEFT first.
        store: Keeps finished comparisons.
        progress: Called as `progress(done, total, what)`.

    Returns:
        The layer-by-layer table.

    Raises:
        EvaluationError: If there are too few examples, activations are not finite, the inputs differ, or a checkpoint
            is not what PEFT loads.
        ModelError: If a point does not fit, or a site is not in the model.
        TaskError: If the task lacks the split or cannot be encoded.

    Example:
        What a fine-tuning changed, layer by layer::

            found = cka_between(adapter, None, model, task, settings=CKASettings(pooling="mean"))
            found.frame[["layer", "layer_reference", "cka", "low", "high"]]

        Two checkpoints of any torch module, at submodules by name::

            settings, model = CKASettings(sites=("features.3", "head"), pooling="flatten"), mc.ModuleModel(new, loss)
            cka_between(mc.module_point(new), mc.module_point(old), model, tensors, settings=settings)
    """
    settings = settings or CKASettings()
    sides = sides_of(model, reference_model, task, split=split, settings=settings, encoding=encoding)
    checks = _inputs_of(sides)
    if check:
        for side, one in zip(sides, (point, reference), strict=True):
            agreeing = check_points(side.model, [one], task, split=split, encoding=encoding)
            checks["agree_with_peft_within"] = checks.get("agree_with_peft_within", {}) | agreeing
    options: dict[str, Any] = {"settings": settings, "encoding": encoding, "store": store, "progress": progress}
    tables = compared([point], reference, sides, matched=False, **options)
    return Similarity.of(tables, checks)


def cka_along_path(
    path: Path,
    model: AdapterModel | ModuleModel,
    task: Task | TensorTask,
    *,
    num_points: int = 11,
    t: ArrayLike | None = None,
    reference: PathReference = "start",
    split: str = "test",
    settings: CKASettings | None = None,
    encoding: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> Similarity:
    """CKA of every layer with itself at the reference, along a path.

    Args:
        path: The path.
        model: The model; a `ModuleModel` where the points are bare modules'.
        task: Its prompts, or tensors, are read.
        num_points: Evenly spaced positions, ends included.
        t: The positions themselves instead, increasing from 0 to 1.
        reference: What every point is compared with: the path's start, its end, or the base itself.
        split: Which split.
        settings: How they are compared.
        encoding: How prompts become tokens.
        check: Whether to compare both ends with plain PEFT first.
        store: Keeps finished comparisons.
        progress: Called as `progress(done, total, what)`.

    Returns:
        One row for each layer and position.

    Raises:
        EvaluationError: As for `cka_between`; or if the positions do not increase from 0 to 1.
        ModelError: If a point does not fit, or a site is not in the model.
        TaskError: If the task lacks the split or cannot be encoded.
    """
    settings = settings or CKASettings()
    _check_choice(reference, ("start", "end", "base"))
    asked = positions_asked(num_points=num_points, t=t)
    positions: list[float] = asked.tolist()  # type: ignore[union-attr]  # no tolerance is given
    for point in path.points:
        model.check(point)
    path = path.on(model)
    sides = sides_of(model, None, task, split=split, settings=settings, encoding=encoding)
    checks = _inputs_of(sides)
    if check:
        ends = [path.start, path.end]
        checks["agree_with_peft_within"] = check_points(model, ends, task, split=split, encoding=encoding)
    other = {"start": path.start, "end": path.end, "base": None}[reference]
    tables = compared(
        [path(one) for one in positions], other, sides,
        matched=True, settings=settings, encoding=encoding, store=store, progress=progress,
    )  # fmt: skip
    return Similarity.of([table.assign(t=one) for one, table in zip(positions, tables, strict=True)], checks)


def cka_drift(
    points: Sequence[Adapter],
    model: AdapterModel | ModuleModel,
    task: Task | TensorTask,
    *,
    reference: DriftReference = "base",
    split: str = "test",
    settings: CKASettings | None = None,
    encoding: EncodingSettings | None = None,
    check: bool = True,
    store: PointStore | None = None,
    progress: Progress | None = None,
) -> Similarity:
    """How far every layer has moved after each of a run's checkpoints.

    Args:
        points: The checkpoints in the order of the run.
        model: The model; a `ModuleModel` where the points are bare modules'.
        task: Its prompts, or tensors, are read.
        reference: What each is compared with: the base itself, the first checkpoint, or the one before it (the base for
            the first).
        split: Which split.
        settings: How they are compared.
        encoding: How prompts become tokens.
        check: Whether to compare the checkpoints with plain PEFT first.
        store: Keeps finished comparisons.
        progress: Called as `progress(done, total, what)`.

    Returns:
        One row for each layer and checkpoint; the column `step` counts the checkpoints from 1.

    Raises:
        EvaluationError: As for `cka_between`; or if there is no checkpoint.
        ModelError: If a point does not fit, or a site is not in the model.
        TaskError: If the task lacks the split or cannot be encoded.
    """
    settings = settings or CKASettings()
    _check_choice(reference, ("base", "first", "previous"))
    if not points:
        raise EvaluationError(
            "there is no checkpoint to compare", expected="one or more", got="none", remedy="give a run's checkpoints"
        )
    sides = sides_of(model, None, task, split=split, settings=settings, encoding=encoding)
    checks = _inputs_of(sides)
    if check:
        checks["agree_with_peft_within"] = check_points(model, points, task, split=split, encoding=encoding)
    options: dict[str, Any] = {"settings": settings, "encoding": encoding, "store": store, "progress": progress}
    options["matched"] = True
    if reference == "previous":
        pairs = zip(points, (None, *points[:-1]), strict=True)
        tables = [compared([point], other, sides, **options)[0] for point, other in pairs]
    else:
        tables = compared(points, points[0] if reference == "first" else None, sides, **options)
    return Similarity.of([table.assign(step=number) for number, table in enumerate(tables, 1)], checks)


def _inputs_of(sides: tuple[Side, Side]) -> dict[str, Any]:
    """What was read, for the record."""
    inputs = sides[0].inputs
    return {"inputs": inputs.texts, "truncated_examples": max(side.inputs.num_truncated for side in sides)}


def _check_choice(reference: str, known: Sequence[str]) -> None:
    """Raise unless the reference is known."""
    if reference not in known:
        raise EvaluationError(
            f"unknown reference {reference!r}",
            expected=" or ".join(known),
            got=repr(reference),
            remedy=f"use reference={known[0]!r}",
        )

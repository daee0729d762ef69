"""Say what checkpoints hold: kind, modules, ranks, shapes, the size of every update, and how they can be joined.

Works without the base model; with it, updates are also given relative to the base's weights, those that are functions
of them get a size at all, and the fit is checked: checkpoints that do not fit are named, and the exit status is 1. The
base stays on disk.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.adapters.summary import MeasuredBase, Row
    from modeconn.paths.joining import Joining

MOST_MODULES = 40  # lines of a table that can be read


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to inspect."""

    adapters: tuple[str, ...] = field(
        metadata=flag_help("adapters or full fine-tunes: folders or hub ids") | {"positional": True}
    )
    base_model: str | None = field(default=None, metadata=flag_help("check the fit, and give relative norms"))
    all: bool = field(default=False, metadata=flag_help(f"a line for each module, also of more than {MOST_MODULES}"))
    json: bool = field(default=False, metadata=flag_help("print one JSON object instead of tables"))
    quiet: bool = False


def run(settings: Settings) -> int:
    """Print a table of the checkpoints, one of their modules, and which pairs can be joined in which coordinates."""
    from itertools import combinations

    from modeconn.adapters.adapter import Adapter
    from modeconn.adapters.summary import by_type, rows_of
    from modeconn.cli.naming import named
    from modeconn.paths.joining import joining

    points = [Adapter.from_pretrained(source, name=name, allow_zero=True) for source, name in named(settings.adapters)]
    bases, misfits = _bases(points, settings.base_model)
    rows = [rows_of(point, bases.get(point.name)) for point in points]
    summaries = [_summary(point, own, bases.get(point.name)) for point, own in zip(points, rows, strict=True)]
    given = settings.base_model is not None
    pairs = [joining(first, second, base_given=given) for first, second in combinations(points, 2)]
    modules = [row for own in rows for row in own]
    notes = _notes(points, summaries, rows, bases)
    if settings.json:
        content = {
            "adapters": summaries,
            "modules": [_as_dict(row) for row in modules],
            "module_types": [_as_dict(row) for row in by_type(modules)],
            "pairs": [{"first": p.first, "second": p.second, "spaces": p.spaces, "refused": p.refused} for p in pairs],
            "cannot_be_joined": _warnings(pairs),
            "do_not_fit": misfits,
            "notes": notes,
        }
        print(json.dumps(content, indent=2))
        return 1 if misfits else 0
    shown = modules if settings.all or len(modules) <= MOST_MODULES else by_type(modules)
    _print(summaries, shown, pairs, with_base=settings.base_model is not None)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    for warning in [*misfits.values(), *_warnings(pairs)]:
        print(f"warning: {warning}", file=sys.stderr)
    return 1 if misfits else 0


def _bases(points: "Sequence[Adapter]", base_model: str | None) -> "tuple[dict[str, MeasuredBase], dict[str, str]]":
    """The base of each point that fits it, as what the point is used for, and why others do not; empty without a base.

    Raises:
        ModelError: If no point fits.
    """
    if base_model is None:
        return {}, {}
    from modeconn.adapters.summary import MeasuredBase
    from modeconn.errors import ModelError
    from modeconn.models.completeness import check_complete_on_disk
    from modeconn.models.stored_fit import check_fits_stored, open_base

    uses = {point.config.task_type for point in points}
    opened = {use: MeasuredBase(open_base(base_model, task_type=use)) for use in uses}
    found, misfits = {}, {}
    for point in points:
        base = opened[point.config.task_type]
        try:
            check_fits_stored(base.model, point)
            check_complete_on_disk(base.model, point)
            found[point.name] = base
        except ModelError as error:
            misfits[point.name] = str(error)
            if len(misfits) == len(points):
                raise
    return found, misfits


def _summary(point: "Adapter", rows: "Sequence[Row]", base: "MeasuredBase | None") -> dict[str, Any]:
    """One point as a row."""
    from modeconn.adapters.summary import kind_name, linear_weights, told_settings, total_norm

    changes = [row for row in rows if row.kind != "saved"]
    linear = linear_weights(base.model) if base is not None else frozenset()
    return {
        "adapter": point.name,
        "kind": kind_name(told_settings(point)),
        "task type": point.config.task_type,
        "base model": point.config.base_model,
        "modules": len(changes),
        "rank": " ".join(map(str, sorted({row.rank for row in changes if row.rank is not None}))) or None,
        "alpha": " ".join(f"{alpha:g}" for alpha in sorted({row.alpha for row in changes if row.alpha is not None}))
        or None,
        "dtype": " ".join(sorted({dtype for row in rows if row.dtype for dtype in row.dtype.split()})) or None,
        "parameters": point.layout.num_parameters,
        "norm of update": total_norm(row.norm for row in changes),
        "relative norm": _relative(changes),
        "coverage": f"{len(linear & point.updates.keys())} of {len(linear)} linear" if linear else None,
        "saved modules": " ".join(sorted(point.saved)) or None,
    }


def _relative(rows: "Sequence[Row]") -> float | None:
    """The norm of the updates over that of the parameters that they change."""
    from modeconn.adapters.summary import total_norm

    norm, base_norm = total_norm(row.norm for row in rows), total_norm(row.base_norm for row in rows)
    return norm / base_norm if norm is not None and base_norm else None


def _as_dict(row: "Row") -> dict[str, Any]:
    """A row by its column names."""
    return {
        "adapter": row.adapter,
        "parameter": row.parameter,
        "count": row.count,
        "kind": row.kind,
        "rank": row.rank,
        "alpha": row.alpha,
        "dtype": row.dtype,
        "shape": [None if size < 0 else size for size in row.shape],  # -1 where only the base knows
        "norm": row.norm,
        "relative norm": row.relative_norm,
    }


def _notes(
    points: "Sequence[Adapter]",
    summaries: Sequence[dict[str, Any]],
    rows: "Sequence[Sequence[Row]]",
    bases: "Mapping[str, MeasuredBase]",
) -> list[str]:
    """What a reader of the tables should know."""
    from modeconn.adapters.untrained import changes_nothing
    from modeconn.models.vocabulary import other_vocabulary

    notes = []
    for point, own in zip(points, rows, strict=True):
        name, kind = point.name, point.config.kind
        base = bases.get(name)
        if point.is_zero or (base is not None and changes_nothing(point, base.model)):
            notes.append(f"{name} changes nothing: it was saved before training")
        if base is not None and (rows_of_both := other_vocabulary(base.model, point)) is not None:
            notes.append(f"{name} brings a vocabulary of {rows_of_both[0]} rows along; the base has {rows_of_both[1]}")
        if not kind.has_update:
            notes.append(f"{name} has no weight update ({kind.name}), so no norms; its own tensors are listed")
        elif any(row.norm is None for row in own):
            notes.append(f"norms of {name} ({kind.name}) need the base's weights: give --base-model")
    for column in ("base model", "dtype", "task type"):
        values = {summary["adapter"]: summary[column] for summary in summaries if summary[column]}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{name}: {value}" for name, value in values.items())
            notes.append(f"the checkpoints differ in {column} ({told})")
    return notes


def _warnings(pairs: "Sequence[Joining]") -> list[str]:
    """Pairs that no line in weights space joins, and what is left to them."""
    return [
        f"{pair.first} and {pair.second} cannot be joined in weights space: {pair.refused['weights']}"
        + (f"; a line in space={' or '.join(pair.spaces)} is possible" if pair.spaces else "; nor in any other")
        for pair in pairs
        if "weights" in pair.refused
    ]


def _print(
    summaries: Sequence[dict[str, Any]], rows: "Sequence[Row]", pairs: "Sequence[Joining]", *, with_base: bool
) -> None:
    """The tables; columns that nothing is known for are left out."""
    import pandas as pd

    from modeconn.cli.tables import print_table

    kinds = {"rank": "Int64", "alpha": "Float64", "norm": "Float64", "relative norm": "Float64"}
    modules = pd.DataFrame([_as_dict(row) | {"shape": row.told_shape} for row in rows]).astype(kinds)
    summary = pd.DataFrame(summaries).astype({"norm of update": "Float64", "relative norm": "Float64"})
    unused = [] if with_base else ["relative norm", "coverage"]
    alone = [] if any(row.count > 1 for row in rows) else ["count"]
    modules = modules.drop(columns=[*alone, *unused[:1]])
    print_table(summary.drop(columns=unused))
    print()
    print_table(modules)
    if pairs:
        spaces = ("weights", "factors", "aligned-factors")
        joined = [
            {"first": p.first, "second": p.second, **{s: "yes" if s in p.spaces else "no" for s in spaces}}
            for p in pairs
        ]
        print()
        print_table(pd.DataFrame(joined), title="lines between two, by space")

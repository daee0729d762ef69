"""Write a point of a path as an adapter that plain PEFT loads, or merged into its base as a full model.

Between adapters whose updates are low-rank, those of convolutions and experts included, the point is exact, of the sum
of their ranks; --rank gives the nearest adapter of a rank and prints how near it is. Other kinds, and full fine-tunes,
need --rank or --merged. Where a base is opened or given, the ends are checked against it; a tokenizer beside an end
comes along.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from modeconn.errors import RunError
from modeconn.runs.settings import flag_help

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.adapters.full import FullModel
    from modeconn.paths.path import Path as ModelPath


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Which point to write, and how."""

    start: str | None = field(default=None, metadata=flag_help("checkpoint at t = 0: a folder or hub id"))
    end: str | None = field(default=None, metadata=flag_help("checkpoint at t = 1"))
    path: str | None = field(default=None, metadata=flag_help("a saved path, or the run that fitted it, instead"))
    t: float = field(metadata=flag_help("position on the path, from 0 to 1"))
    output_dir: Path = field(metadata=flag_help("folder of the adapter or model"))
    space: Literal["weights", "factors", "aligned-factors"] = field(
        default="weights", metadata=flag_help("coordinates of the line")
    )
    heads: Literal["shared", "skip"] | None = field(
        default=None, metadata=flag_help("whose head counts, where the ends' differ in shape")
    )
    rank: int | None = field(default=None, metadata=flag_help("nearest adapter of this rank; none writes it exactly"))
    merged: bool = field(default=False, metadata=flag_help("write a full model instead of an adapter"))
    base_model: str | None = field(default=None, metadata=flag_help("folder or hub id; none takes the adapters' own"))
    dtype: Literal["float32", "float64", "bfloat16", "float16"] | None = field(
        default=None, metadata=flag_help("of a merged model; null keeps the base's")
    )
    quiet: bool = False

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        line = self.start is not None and self.end is not None
        if (self.path is None) != line or (self.path is not None and (self.start or self.end)):
            raise RunError(
                "it is not said what to export",
                expected="--start and --end, or --path",
                got="more than that" if self.path is not None else "not both ends",
                remedy="give the two ends of a line, or the folder of a saved path",
            )
        if self.merged and self.rank is not None:
            raise RunError(
                "a merged model has no rank",
                expected="--merged or --rank",
                got=f"--merged and --rank {self.rank}",
                remedy="leave one of them out",
            )
        if self.dtype is not None and not self.merged:
            raise RunError(
                "adapters are written in float32",
                expected="--dtype together with --merged",
                got=f"--dtype {self.dtype} alone",
                remedy="leave --dtype out, or add --merged",
            )


def run(settings: Settings) -> int:
    """Write the point and say what was written."""
    from modeconn.adapters.agreement import check_same_names
    from modeconn.cli.notes import on_other_bases
    from modeconn.runs import refuse_inputs_inside

    path = _path(settings)
    if settings.base_model is None:
        check_same_names(path.points)
    for note in on_other_bases(path.points, settings.base_model):
        print(f"note: {note}", file=sys.stderr)
    sources = [point.source for point in path.points]
    bases = {settings.base_model, *(point.config.base_model for point in path.points)}
    refuse_inputs_inside(settings.output_dir, [settings.start, settings.end, settings.path, *sources, *bases])
    point = path(settings.t)
    if settings.merged:
        _write_merged(settings, point, path.points)
    else:
        _write_adapter(settings, point, path.points)
    print(f"written: {settings.output_dir}")
    return 0


def _path(settings: Settings) -> "ModelPath":
    """The line between the ends, or the saved path."""
    from modeconn.adapters.adapter import Adapter
    from modeconn.paths.line import LinearPath
    from modeconn.paths.saving import load_path

    if settings.path is not None:
        return load_path(settings.path)
    start, end = (Adapter.from_pretrained(str(source)) for source in (settings.start, settings.end))
    return LinearPath(start, end, space=settings.space, heads=settings.heads)


def _write_merged(settings: Settings, point: "Adapter", ends: "Sequence[Adapter]") -> None:
    """Write a full model."""
    from modeconn.models.exporting import export_merged

    export_merged(point, settings.output_dir, base=settings.base_model, dtype=settings.dtype, ends=ends)
    print(f"merged model at t={settings.t:g}, dtype {settings.dtype or 'of the base'}")


def _write_adapter(settings: Settings, point: "Adapter", ends: "Sequence[Adapter]") -> None:
    """Write an adapter, of lower rank where that is asked for; a base that is given is checked in any case."""
    from modeconn.adapters.truncating import truncated, with_factors, without_form

    opened = _checked_base(settings, point, ends)
    if settings.base_model is not None and not _is_quantised(settings.base_model):
        opened()
    if settings.rank is None:
        near, error = with_factors(point, opened), None
    else:
        near, error = truncated(point, settings.rank, base=opened() if without_form(point) else None)
    near.save_pretrained(settings.output_dir)
    how = f"exact, {_ranks(near)}" if error is None else f"{_ranks(near)}; relative error of the update {error:.3g}"
    print(f"adapter at t={settings.t:g}, {how}")
    if point.replaces:
        _tell_vocabulary(near, opened())


def _tell_vocabulary(near: "Adapter", base: "FullModel") -> None:
    """Say what PEFT needs where an adapter brings a vocabulary of another size than its base's along."""
    from modeconn.models.vocabulary import other_vocabulary

    if (rows := other_vocabulary(base, near)) is not None:
        print(
            f"note: the vocabulary has {rows[0]} rows, that of the base {rows[1]}: before PEFT loads the adapter,"
            f" resize the base with resize_token_embeddings({rows[0]})",
            file=sys.stderr,
        )


def _checked_base(settings: Settings, point: "Adapter", ends: "Sequence[Adapter]") -> "Callable[[], FullModel]":
    """Opens the base on disk, once, where the ends fit it."""
    from modeconn.adapters.truncating import check_shapes
    from modeconn.models.completeness import check_checkpoint
    from modeconn.models.exporting import base_on_disk

    @cache
    def opened() -> "FullModel":
        """The base."""
        base = base_on_disk(point, settings.base_model)
        for end in ends:
            check_shapes(end, base)
            check_checkpoint(base, end)
        return base

    return opened


def _is_quantised(base: str) -> bool:
    """Whether a base holds packed numbers, which say nothing about an adapter's."""
    import json
    from contextlib import suppress

    from modeconn.adapters.full import CONFIG_FILE
    from modeconn.models.loading import local_folder

    file = local_folder(base) / CONFIG_FILE
    with suppress(OSError, ValueError, AttributeError):  # told better when the model is opened
        return bool(json.loads(file.read_text(encoding="utf-8")).get("quantization_config"))
    return False


def _ranks(point: "Adapter") -> str:
    """The ranks of a point's modules in words."""
    from modeconn.adapters.kinds.lora_files import pair_rank

    ranks = sorted({rank for update in point.updates.values() if (rank := pair_rank(update)) is not None})
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}" if ranks else "without factors"

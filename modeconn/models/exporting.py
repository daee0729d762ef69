"""A point as a full model on disk, merged one tensor at a time: no model is ever in memory."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import CONFIG_FILE, FullModel
from modeconn.adapters.shard_writing import write_shards
from modeconn.adapters.tokenizers import copy_files, sources_of, tokenizer_folder
from modeconn.atomic import replacing
from modeconn.errors import ModelError, listed
from modeconn.models.completeness import check_checkpoint
from modeconn.models.fingerprint import stored_fingerprint
from modeconn.models.loading import as_dtype, local_folder
from modeconn.models.merging import merge, own_template

_BESIDE = ("generation_config.json", "preprocessor_config.json", "processor_config.json")


def export_merged(
    point: Adapter | str | Path,
    folder: str | Path,
    *,
    base: str | Path | None = None,
    dtype: str | torch.dtype | None = None,
    ends: Sequence[Adapter] = (),
) -> Path:
    """Write a point as a full model that transformers loads; the folder appears by rename, whole or not at all.

    `W_0 + dW` is made in float32 at least and rounded once. Tensors are read, combined and written one after the
    other, those of full fine-tunes in pieces of 16 MB. Shards are those of the base; config and tokenizer
    come along.

    Args:
        point: A point of a path, a checkpoint, or its folder or hub id.
        folder: Where; it may not exist, or be empty.
        base: Folder or hub id of the base model; None takes the one that the point names. Points between full
            fine-tunes need none: their first checkpoint gives config and tokenizer.
        dtype: Of all tensors; None keeps the base's.
        ends: The checkpoints that a point of a path was made from, `path.points`, to be checked as `evaluate` checks
            them. Where the vocabulary grew in training, the tokenizer beside one of the point's is taken in any case.

    Returns:
        The folder.

    Raises:
        ModelError: If the point has no weight update, does not fit the base, or cannot be held by one model; if a
            checkpoint lacks modules that its settings target, or holds copies of other base weights.
        AdapterError: If a file cannot be read, or a number does not fit the dtype.
    """
    point = point if isinstance(point, Adapter) else Adapter.from_pretrained(point)
    target = Path(folder).expanduser()
    _check_point(point)
    _check_target(target)
    template = own_template(point) or base_on_disk(point, base)
    for end in ends or (point,):
        check_checkpoint(template, end)
    merged = merge(point, template, dtype=as_dtype(dtype) if dtype is not None else None)
    grown = merged.config.get("vocab_size") != template.raw.get("vocab_size")
    tokenizer = tokenizer_folder(sources_of([point, *ends])) if grown else None
    _check_space(target, sum(tensor.num_bytes for shard in merged.shards for tensor in shard))
    try:
        with replacing(target, scratch=target.absolute().parent) as new:
            new.mkdir()
            write_shards(new, merged.shards)
            (new / CONFIG_FILE).write_text(json.dumps(merged.config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
            copy_files(template.folder, new, _BESIDE)
            copy_files(tokenizer or template.folder, new)
    except OSError as error:
        raise ModelError(
            f"cannot write a model to {target}",
            expected="a folder that can be written",
            got=f"{type(error).__name__}: {error.strerror or error}",
            remedy="give a folder on a disk with space and write permission",
        ) from error
    return target


def base_on_disk(point: Adapter, base: str | Path | None = None) -> FullModel:
    """The base of a point, opened and not loaded.

    Args:
        point: The point.
        base: Folder or hub id; None takes the one that the point names.

    Raises:
        ModelError: If it is not known, or is not the one that the point recorded.
    """
    source = base if base is not None else point.config.base_model
    if source is None:
        raise ModelError(
            f"the base model of {point.name} is not known",
            expected="the model whose weights it changes",
            got="none given, and none named by the point",
            remedy="give it: base=..., on the command line --base-model",
        )
    model = FullModel.open(local_folder(source), task_type=point.config.task_type, strict=False)
    _check_base(point, model)
    return model


def _check_point(point: Adapter) -> None:
    """Raise unless the point is a model's: it has an update, and is no difference."""
    whole = abs(point.weight_sum - 1.0) < 1e-9
    if point.config.kind.has_update and whole:
        return
    raise ModelError(
        f"cannot merge {point.name}",
        expected="a point whose weight updates can be added to the base's weights",
        got=f"a combination whose coefficients sum to {point.weight_sum:g}"
        if not whole
        else f"an adapter of the kind {point.config.kind.name}, which has no weight update",
        remedy="add the difference to a checkpoint first" if not whole else "use it with PEFT, beside the base",
    )


def _check_base(point: Adapter, template: FullModel) -> None:
    """Raise if the point recorded another base."""
    recorded = point.provenance.get("base_fingerprint")
    if recorded and recorded != (found := stored_fingerprint(template)):
        raise ModelError(
            f"{point.name} was trained on another base model than {template.folder}",
            expected=f"the base with fingerprint {recorded[:12]} ({point.config.base_model})",
            got=f"fingerprint {found[:12]}",
            remedy="give the base that it was trained on with --base-model",
        )


def _check_target(folder: Path) -> None:
    """Raise unless the folder is new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(
            f"cannot write a model to {folder}",
            expected="a new or empty folder",
            got=f"a folder with {listed(file.name for file in folder.iterdir())}" if folder.is_dir() else "a file",
            remedy="give another folder",
        )


def _check_space(folder: Path, num_bytes: int) -> None:
    """Raise if the disk cannot hold the model."""
    parent = next(one for one in folder.absolute().parents if one.exists())
    free = shutil.disk_usage(parent).free
    if free < num_bytes:
        raise ModelError(
            f"cannot write a model to {folder}",
            expected=f"{num_bytes / 2**30:.1f} GiB of free space",
            got=f"{free / 2**30:.1f} GiB",
            remedy='give a folder on another disk, or a narrower dtype such as "bfloat16"',
        )

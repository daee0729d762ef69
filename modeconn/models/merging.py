"""What a merged model consists of: every tensor, and how its elements are made when they are written."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import CONFIG_FILE, FullModel
from modeconn.adapters.kinds.full import Replacement
from modeconn.adapters.shard_writing import TensorToWrite
from modeconn.adapters.skeleton import Skeleton
from modeconn.adapters.stored import StoredTensor
from modeconn.adapters.ties import with_ties
from modeconn.adapters.update import Update, agree
from modeconn.errors import ModelError, listed
from modeconn.models.heads import head_size
from modeconn.models.placing import folded

_PIECE = 1 << 22  # elements that are computed at once


@dataclass(frozen=True)
class MergedModel:
    """A full model that is not made yet.

    Attributes:
        config: The content of its config.json.
        shards: The tensors of each file.
    """

    config: Mapping[str, Any]
    shards: list[list[TensorToWrite]]


def own_template(point: Adapter) -> FullModel | None:
    """The first full fine-tune of a point that consists of nothing else, if the two hold the same whole model."""
    if not point.updates or not all(update.replaces for update in point.updates.values()):
        return None
    first = next(iter(point.updates.values())).parts[0]
    folder = first.value.origin.parent if isinstance(first, Replacement) else None
    if folder is None or not (folder / CONFIG_FILE).exists():  # its tensors are in memory
        return None
    model = FullModel.open(folder, task_type=point.config.task_type)
    same = model.stored.keys() <= {*point.updates, *point.saved}  # not if the point goes without the head
    return model if same and model.stored.keys() >= model.skeleton.shapes.keys() else None


def merge(point: Adapter, base: FullModel, *, dtype: torch.dtype | None = None) -> MergedModel:
    """What to write for a point on a base; nothing is read yet but headers.

    Args:
        point: The point.
        base: The model whose weights it changes, and whose shards and config the result takes over.
        dtype: Of all tensors; None keeps the base's.

    Raises:
        ModelError: If the point does not fit the base, or transformers cannot hold its tied weights apart.
    """
    groups = defaultdict(list)
    for name, first in base.skeleton.ties.items():
        groups[first].append(name)
    point = with_ties(point.within(base), [[first, *names] for first, names in groups.items()])
    apart = {name for name, first in base.skeleton.ties.items() if not _same(point, name, first)}
    config = _config(point, base, apart=bool(apart), dtype=dtype)
    skeleton = Skeleton.of(config, str(base.folder), task_type=point.config.task_type)
    _check_fit(point, skeleton, base)
    if tied := apart & skeleton.ties.keys():
        raise ModelError(
            f"{point.name} cannot be merged into one model",
            expected="changes that leave tied weights equal, or an architecture that can untie them",
            got=f"different values for {listed(f'{name} and {skeleton.ties[name]}' for name in tied)}",
            remedy="use the adapter with PEFT, which keeps them apart",
        )
    usual = dtype or Counter(tensor.dtype for tensor in base.stored.values()).most_common(1)[0][0]
    shards: dict[Any, list[TensorToWrite]] = {tensor.origin: [] for tensor in base.stored.values()}
    for name, shape in skeleton.shapes.items():
        own = base.stored.get(base.ties.get(name, name))
        pieces = partial(_pieces, point, base, name, own)
        origin = own.origin if own is not None else next(reversed(shards))
        shards[origin].append(TensorToWrite(name, dtype or (own.dtype if own is not None else usual), shape, pieces))
    return MergedModel(config, [shard for shard in shards.values() if shard])


def _same(point: Adapter, name: str, other: str) -> bool:
    """Whether a point does the same to two names of a tied parameter."""
    one, two = (point.saved.get(key, point.updates.get(key)) for key in (name, other))
    if isinstance(one, torch.Tensor) and isinstance(two, torch.Tensor):
        return torch.equal(one, two)
    return one is two


def _config(point: Adapter, base: FullModel, *, apart: bool, dtype: torch.dtype | None) -> dict[str, Any]:
    """The base's config with what the point changes of it: the head's classes, the vocabulary, ties and dtype."""
    config = {key: value for key, value in base.raw.items() if key != "_name_or_path"}
    config["architectures"] = [base.skeleton.architecture]
    if apart:
        config["tie_word_embeddings"] = False
    if dtype is not None:
        config.pop("torch_dtype", None)
        config["dtype"] = str(dtype).removeprefix("torch.")
    for name in base.skeleton.tables & {*point.updates, *point.saved}:
        rows = _shape(point, name, base.skeleton)[0]
        if rows != base.skeleton.shapes[base.ties.get(name, name)][0] == config.get("vocab_size"):
            config["vocab_size"] = rows
    size = head_size([point], task_type=base.skeleton.task_type or "")
    if size is not None:
        known = [*dict(sorted((config.get("id2label") or {}).items(), key=lambda item: int(item[0]))).values()]
        known = known if len(known) == size else [f"LABEL_{number}" for number in range(size)]
        names = point.provenance.get("labels") or known
        config.pop("num_labels", None)
        config["id2label"] = {str(number): name for number, name in enumerate(names)}
        config["label2id"] = {name: number for number, name in enumerate(names)}
    return config


def _shape(point: Adapter, name: str, skeleton: Skeleton) -> tuple[int, ...]:
    """The shape of what a point has for a parameter, as the model stores it."""
    if name in point.saved:
        return tuple(point.saved[name].shape)
    return point.updates[name].stored_shape(transposed=name in skeleton.transposed)


def _check_fit(point: Adapter, skeleton: Skeleton, base: FullModel) -> None:
    """Raise unless the model has all parameters that the point changes, in shape, and none is left without a value."""
    shapes = {**skeleton.shapes, **{name: skeleton.shapes[first] for name, first in skeleton.ties.items()}}
    given = {*point.saved, *point.updates}
    odd = [f"{name}, which is not there" for name in given - shapes.keys()]
    odd += [
        f"{name} {list(found)} for {list(shapes[name])}"
        for name in given & shapes.keys()
        if not agree(found := _shape(point, name, skeleton), shapes[name])
    ]
    whole = {*point.saved, *(name for name, update in point.updates.items() if update.replaces)}
    lacking = [
        f"no value for {name}"
        for name in skeleton.shapes
        if base.ties.get(name, name) not in base.stored and name not in whole
    ]
    if odd or lacking:
        raise ModelError(
            f"{point.name} does not fit the base model {base.folder}",
            expected=f"changes of parameters of {skeleton.architecture}, in their shapes, and a value for each",
            got=listed(odd + lacking),
            remedy=f"give the base that it was trained on (it names {point.config.base_model!r})",
        )


def _pieces(point: Adapter, base: FullModel, name: str, own: StoredTensor | None) -> Iterator[torch.Tensor]:
    """The elements of one merged parameter, piece by piece where they do not depend on each other."""
    update = point.updates.get(name)
    if name in point.saved:
        yield point.saved[name]
    elif update is None:
        assert own is not None  # _check_fit has looked
        yield from (own.stretch(start, stop) for start, stop in _stretches(own.numel))
    elif update.replaces:
        yield from _blended(update)
    else:
        weight = base.weight(name)
        yield folded(
            weight.to(torch.promote_types(weight.dtype, torch.float32)), update, transposed=base.transposed(name)
        )


def _blended(update: Update) -> Iterator[torch.Tensor]:
    """`sum_k c_k W_k` of full fine-tunes, in pieces; one of them comes bit for bit."""
    values = [part.value for part in update.parts if isinstance(part, Replacement)]
    for start, stop in _stretches(values[0].numel):
        pieces = [value.stretch(start, stop) for value in values]
        precise = torch.promote_types(pieces[0].dtype, torch.float32)
        if len(pieces) == 1:
            yield pieces[0]
        else:
            total = update.coefficients[0] * pieces[0].to(precise)
            for weight, piece in zip(update.coefficients[1:], pieces[1:], strict=True):
                total.add_(piece.to(precise), alpha=weight)
            yield total


def _stretches(numel: int) -> Iterator[tuple[int, int]]:
    """From where to where each piece goes."""
    return ((start, min(start + _PIECE, numel)) for start in range(0, numel, _PIECE))

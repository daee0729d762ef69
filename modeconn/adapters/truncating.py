"""A point as a LoRA adapter of a given rank: the nearest one, and how near it is."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.adapters.full import FullModel
from modeconn.adapters.kinds.convolution import Convolution
from modeconn.adapters.kinds.fused import Fused
from modeconn.adapters.kinds.initial import SinceStart
from modeconn.adapters.kinds.lora import combined_config, lora_tensors
from modeconn.adapters.kinds.lora_files import one_convolution, one_fused
from modeconn.adapters.kinds.replaced import AddedBias, Replaced, ReplacedRows
from modeconn.adapters.nearest import Nearest, from_dense, from_factors, of_experts, of_kernel
from modeconn.adapters.other_rows import with_other_rows
from modeconn.adapters.part import LowRank
from modeconn.adapters.ties import with_ties
from modeconn.adapters.update import Update, agree, needs_base
from modeconn.errors import AdapterError, listed

_HELD = (AddedBias, Replaced, ReplacedRows)  # a LoRA file holds them as they are: they have no rank
_FORMS = (_HELD, Fused, Convolution)  # a file holds combinations of parts of one of these


def truncated(point: Adapter, rank: int, *, base: FullModel | None = None) -> tuple[Adapter, float]:
    """The LoRA adapter of a rank that is nearest to a point in the Frobenius norm (Eckart and Young 1936).

    From factors by two QR decompositions and the SVD of a small core, expert by expert where there are experts; other
    updates by the eigenvectors of `dW dW^T`, one parameter at a time. A kernel counts as a matrix `[out, in k]`. Norms
    and biases that changed are saved whole, beside the factors; so are the embedding and the head of a full fine-tune
    whose vocabulary has another size than the base's.

    Args:
        point: The point.
        rank: r of every module, and of every expert; less where the update has less.
        base: The base model, where updates are functions of its weights or lie as it stores them.

    Returns:
        The adapter, and `|dW - dW_r| / |dW|` over all matrices together that are not saved whole.

    Raises:
        AdapterError: If the rank is not positive, the point has no weight update, the base is needed and not given, or
            an update has no LoRA form.
    """
    if rank < 1:
        raise AdapterError(
            f"cannot truncate {point.name}", expected="a rank of at least 1", got=str(rank), remedy="give --rank 16"
        )
    _check_has_update(point)
    if base is not None:
        check_shapes(point, base)
        ties = base.skeleton.ties
        groups = [[first, *(name for name in ties if ties[name] == first)] for first in sorted(set(ties.values()))]
        point = with_ties(point.within(base), groups)
    whole = with_other_rows(point, base) if base is not None else frozenset()
    updates, saved, lost, total = {}, dict(point.saved), 0.0, 0.0
    for name, update in sorted(point.updates.items()):
        if name.rpartition(".")[0] in whole:
            saved[name] = update.replacement(torch.zeros(()))
        elif all(isinstance(part, _HELD) for part in update.parts):
            updates[name] = update
        elif len(update.shape) == 1:
            _keep_vector(name, update, base, updates, saved)
        elif (nearest := _nearest(name, update, rank, base)).total:
            updates[name] = Update.of(nearest.part)
            lost, total = lost + nearest.lost, total + nearest.total
    if not updates:
        raise AdapterError(
            f"cannot truncate {point.name}",
            expected="an update of a matrix",
            got="no matrix that changes",
            remedy="write a merged full model: export_merged(point, folder), on the command line --merged",
        )
    return _adapter(point, updates, saved, base), (lost / total) ** 0.5 if total else 0.0


def with_factors(point: Adapter, base: Callable[[], FullModel]) -> Adapter:
    """The point as an adapter file can hold it: with factors that only the base gives, as PiSSA's and VeRA's.

    Args:
        point: The point; an unchanged checkpoint, or one whose factors are known, is returned as it is.
        base: Opens the base, where it is needed.
    """
    if point.own is not None or point.replaces or not without_form(point):
        return point
    opened = base()
    point = replace(point, updates={name: _one_start(one, opened, name) for name, one in point.updates.items()})
    point = point.within(opened)
    updates = dict(point.updates)
    for name in without_form(point):
        made = updates[name].on(opened.weight(name), transposed=opened.transposed(name))
        updates[name] = made if made.low_rank else updates[name]
    return replace(point, updates=updates, config=replace(point.config, raw=combined_config(point.config, updates)))


def _one_start(update: Update, base: FullModel, name: str) -> Update:
    """Updates of what one start left of the base, `sum_k c_k s B_k A_k - (sum_k c_k) s B_0 A_0`: it counts once."""
    parts = [part for part in update.parts if isinstance(part, SinceStart)]
    starts = {(part.start, part.factors.scaling, len(part.factors.down)) for part in parts}
    if len(parts) != len(update.parts) or len(parts) < 2 or len(starts) != 1 or not base.has(name):
        return update
    weight = base.weight(name)
    weight = weight.T if base.transposed(name) else weight
    if tuple(weight.shape) != update.shape:
        return update  # told where the fit is checked
    both, rank = parts[0].on(weight), len(parts[0].factors.down)  # [B B_0] [A ; -A_0]
    start = LowRank(both.up[:, rank:], both.down[rank:], both.scaling)
    return Update((*update.coefficients, sum(update.coefficients)), (*(part.factors for part in parts), start))


def without_form(point: Adapter) -> list[str]:
    """The parameters whose updates have no form yet that a LoRA file can hold."""
    return [
        name
        for name, update in point.updates.items()
        if not update.low_rank and not any(all(isinstance(part, kinds) for part in update.parts) for kinds in _FORMS)
    ]


def _check_has_update(point: Adapter) -> None:
    """Raise if the point is of a kind without a weight update."""
    if not point.config.kind.has_update:
        raise AdapterError(
            f"cannot truncate {point.name}",
            expected="a point with a weight update",
            got=f"an adapter of the kind {point.config.kind.name}, which has none",
            remedy="write it as it is, without a rank: save_pretrained, on the command line --space factors without"
            " --rank",
        )


def check_shapes(point: Adapter, base: FullModel) -> None:
    """Raise unless the base has all parameters that the point changes, in their shapes.

    Biases that a point adds need none, and of full fine-tunes the vocabulary may have another size.
    """
    skeleton, resized = base.skeleton, with_other_rows(point, base)
    odd = []
    for name, update in point.within(base).updates.items():
        shape = skeleton.shapes.get(skeleton.ties.get(name, name))
        found = update.stored_shape(transposed=base.transposed(name))
        makes = shape is None and all(part.makes_parameter for part in update.parts)
        if not makes and name.rpartition(".")[0] not in resized and (shape is None or not agree(found, shape)):
            odd.append(f"{name} {list(found)} for {list(shape) if shape else 'none'}")
    if odd:
        raise AdapterError(
            f"{point.name} does not fit the base model {base.folder}",
            expected="updates in the shapes of the base's parameters",
            got=listed(odd),
            remedy="give the base that it was trained on",
        )


def _adapter(
    point: Adapter, updates: Mapping[str, Update], saved: Mapping[str, torch.Tensor], base: FullModel | None
) -> Adapter:
    """The adapter of low-rank updates and saved modules."""
    known = point.config.modules_to_save
    modules = {name.rpartition(".")[0] for name in saved.keys() - point.saved.keys()}
    raw = {**combined_config(point.config, updates), "modules_to_save": sorted({*known, *modules}) or None}
    raw["base_model_name_or_path"] = raw.get("base_model_name_or_path") or (str(base.folder) if base else None)
    config = AdapterConfig.parse(raw, f"{point.name} as LoRA")
    tensors = {name: value.contiguous() for name, value in lora_tensors(updates, saved, config).items()}
    return Adapter.from_tensors(tensors, config, name=point.name, provenance=point.provenance, sources=point.sources)


def _nearest(name: str, update: Update, rank: int, base: FullModel | None) -> Nearest:
    """One matrix, kernel or stack of experts, or an error that says why it has no LoRA form."""
    if all(isinstance(part, Fused) for part in update.parts):
        return of_experts(one_fused(update, unit=1.0), rank)
    if all(isinstance(part, Convolution) for part in update.parts):
        return of_kernel(one_convolution(update, unit=1.0), rank)
    if len(update.shape) != 2:
        raise AdapterError(
            f"the update of {name} has no form that a LoRA file can hold",
            expected="an update of a matrix",
            got=f"shape {list(update.shape)}, made of {_kinds(update)}",
            remedy="write a merged full model: export_merged(point, folder), on the command line --merged",
        )
    if update.low_rank:
        up, down = update.factors(dtype=torch.float64)
        return from_factors(up, down, rank, lookup=update.lookup)
    if base is None and (update.needs_base or update.stored):
        raise needs_base(f"{name} ({_kinds(update)})")
    weight = None if base is None else base.weight(name).float()
    turned = base is not None and base.transposed(name)
    change = update.dense(weight, transposed=turned)
    lookup = base is not None and name in base.skeleton.tables
    return from_dense((change.T if turned else change).double(), rank, lookup=lookup)


def _kinds(update: Update) -> str:
    """The names of an update's parts."""
    return ", ".join(sorted({type(part).__name__ for part in update.parts}))


def _keep_vector(
    name: str, update: Update, base: FullModel | None, updates: dict[str, Update], saved: dict[str, torch.Tensor]
) -> None:
    """A changed norm or bias: a bias beside factors is one that PEFT saves, any other module is saved whole."""
    if base is None:
        raise needs_base(name)
    weight = base.weight(name)
    value = update.replacement(weight.float()) if update.replaces else weight.float() + update.dense(weight.float())
    if torch.equal(value, weight.float()):
        return
    module, _, leaf = name.rpartition(".")
    if leaf == "bias" and len(base.skeleton.shapes.get(f"{module}.weight", ())) > 1:
        updates[name] = Update.of(Replaced(value))
    else:
        saved[name] = value

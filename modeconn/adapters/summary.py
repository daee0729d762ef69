"""What a point holds, as rows of a table: kind, rank, scale, dtype, shape and size of every change."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.adapters.full import FullModel
from modeconn.adapters.kinds.full import Replacement
from modeconn.adapters.kinds.fused import Fused
from modeconn.adapters.kinds.initial import start_of
from modeconn.adapters.kinds.kind import PREFIX, trained_biases
from modeconn.adapters.kinds.replaced import ReplacedRows
from modeconn.adapters.part import ANY
from modeconn.adapters.reading import PICKLE_FILE, WEIGHTS_FILE
from modeconn.adapters.shards import read_header, read_pickle
from modeconn.adapters.stored import StoredTensor
from modeconn.adapters.update import Update

_PIECE = 1 << 22  # elements that are read at once
_ALPHAS = ("lora_alpha", "alpha")
_VARIANTS = {
    "use_dora": "DoRA",
    "use_rslora": "rsLoRA",
    "lora_bias": "lora_bias",
    "trainable_token_indices": "trained tokens",
}
_STARTS = {"pissa": "PiSSA", "olora": "OLoRA", "corda": "CorDA", "lora_ga": "LoRA-GA"}
_BOUNDED = ("LORA", "ADALORA", "HRA", "MISS", "VERA", "WEGEFT")  # the setting r bounds the rank of dW
_NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


@dataclass(frozen=True, eq=False)
class MeasuredBase:
    """A base model on disk, and the norms of its parameters, each read once, in pieces.

    Attributes:
        model: The model.
    """

    model: FullModel
    _norms: dict[str, float] = field(default_factory=dict, init=False)

    def norm(self, parameter: str) -> float | None:
        """The Frobenius norm of a parameter; None where the base lacks it, as a bias that an update makes."""
        own = self.model.stored.get(self.model.ties.get(parameter, parameter))
        if own is not None and parameter not in self._norms:
            self._norms[parameter] = _distance(own)
        return self._norms.get(parameter)


@dataclass(frozen=True)
class Row:
    """One change, or several of one type and shape.

    Attributes:
        adapter: The point.
        parameter: What is changed; with * for the number of the layer where there are several.
        count: How many.
        kind: The kind of the adapter; "saved" for a tensor that takes the base's place.
        rank: Bound of the rank of the trained change, such as r, or r^2 of LoHa; None where the settings give none.
        alpha: The setting, before it is divided by the rank; None where the kind has none.
        dtype: In the file.
        shape: Of the change; `ANY` where only the base knows.
        norm: Frobenius norm of dW, over all `count`; None where it is a function of a base that is not at hand.
        base_norm: Frobenius norm of the base's parameters; None without a base.
    """

    adapter: str
    parameter: str
    count: int
    kind: str
    rank: int | None
    alpha: float | None
    dtype: str | None
    shape: tuple[int, ...]
    norm: float | None
    base_norm: float | None = None

    @property
    def relative_norm(self) -> float | None:
        """The norm over the base's; None where one is not known."""
        return self.norm / self.base_norm if self.norm is not None and self.base_norm else None

    @property
    def told_shape(self) -> str:
        """The shape as text."""
        return " x ".join("?" if size == ANY else str(size) for size in self.shape)


def rows_of(point: Adapter, base: MeasuredBase | None = None) -> list[Row]:
    """Every change of a point as a row, sorted by name; of a kind without a dW, every tensor.

    Norms come from the factors where there are factors; else one dense change is in memory at a time, and full
    fine-tunes are read in pieces.

    Args:
        point: The point.
        base: Its base, for norms relative to it, and for changes that are functions of it.
    """
    told = told_settings(point)
    kind, dtypes = kind_name(told), _dtypes(point)
    if not point.config.kind.has_update:
        shapes = dict(point.layout.shapes)
        heads = {name for name in shapes for saved in point.saved if name.endswith(saved)}
        return [
            Row(point.name, name, 1, "saved" if name in heads else kind, None, None, dtypes.get(name), shape, None)
            for name, shape in shapes.items()
        ]
    from_file, point = point, point if base is None else point.within(base.model)
    modules = {name.rpartition(".")[0] for name in point.updates}
    by_module = _by_module(dtypes, modules)
    rows = [
        Row(
            adapter=point.name,
            parameter=name,
            count=1,
            kind=kind,
            rank=_rank(from_file, name, told),  # bound to the base, PiSSA has twice the rank
            alpha=_alpha(told, name.rpartition(".")[0]),
            dtype=_dtype_of(update) or by_module.get(name.rpartition(".")[0]),
            shape=update.shape,
            norm=_norm(update, name, None if base is None else base.model),
            base_norm=None if base is None else base.norm(name),
        )
        for name, update in sorted(point.updates.items())
    ]
    return rows + [
        Row(point.name, name, 1, "saved", None, None, dtypes.get(PREFIX + name), tuple(one.shape), float(one.norm()))
        for name, one in sorted(point.saved.items())
    ]


def kind_name(config: AdapterConfig) -> str:
    """The kind of an adapter, with the variants that its settings switch on: "LORA (DoRA)"."""
    raw = config.raw
    variants = [name for key, name in _VARIANTS.items() if raw.get(key)]
    start = start_of(raw)
    variants += [_STARTS.get(start, start)] if start is not None else []
    variants += ["biases"] if trained_biases(raw) else []
    if targets := raw.get("target_parameters"):
        variants.append("experts" if all("experts" in name for name in targets) else "target_parameters")
    return config.kind.name + (f" ({', '.join(variants)})" if variants else "")


def by_type(rows: Iterable[Row]) -> list[Row]:
    """Rows of the same parameter in different layers as one: norms are those of all together."""
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in rows:
        parameter = _NUMBER.sub("*", row.parameter)
        groups[row.adapter, parameter, row.kind, row.rank, row.alpha, row.dtype, row.shape].append(row)
    return [
        Row(
            first.adapter,
            _NUMBER.sub("*", first.parameter) if len(group) > 1 else first.parameter,
            len(group),
            first.kind,
            first.rank,
            first.alpha,
            first.dtype,
            first.shape,
            total_norm(row.norm for row in group),
            total_norm(row.base_norm for row in group),
        )
        for group in groups.values()
        for first in group[:1]
    ]


def total_norm(norms: Iterable[float | None]) -> float | None:
    """The root of the sum of squares; None where a norm is not known, or there is none."""
    squares = [None if norm is None else norm**2 for norm in norms]
    known = [square for square in squares if square is not None]
    return sum(known) ** 0.5 if known and len(known) == len(squares) else None


def linear_weights(base: FullModel) -> frozenset[str]:
    """The matrices of a base model's linear layers, head and embedding tables left out."""
    skeleton = base.skeleton
    return frozenset(
        name
        for name, shape in skeleton.shapes.items()
        if len(shape) == 2 and name not in skeleton.tables and name.startswith(skeleton.prefix)
    )


def told_settings(point: Adapter) -> AdapterConfig:
    """The settings in the point's file: those of the training, also where the point's own were made from them."""
    return point.config if point.as_read is None else point.as_read.config


def _rank(point: Adapter, name: str, settings: AdapterConfig) -> int | None:
    """The bound of an update's rank: that of its factors, else of the settings where they give one.

    Of PiSSA and its like it is the trained rank, without the first factors.
    """
    update = point.updates[name]
    if update.low_rank and point.as_read is None:
        return update.rank
    if isinstance(update.parts[0], Fused):
        return update.parts[0].rank
    matrix = len(update.shape) > 1 and isinstance(settings.raw.get("r"), int)
    if not matrix or isinstance(update.parts[0], ReplacedRows):
        return None
    rank, kind = settings.rank(name.rpartition(".")[0]), settings.kind.name
    if kind == "LOHA":  # a product of two matrices, entry by entry
        return rank**2
    mixed = settings.raw.get("use_dora") or settings.raw.get("init_weights") == "bat"  # with all of the base's weight
    return rank if kind in _BOUNDED and not mixed else None


def _alpha(settings: AdapterConfig, module: str) -> float | None:
    """The setting that scales a module's update."""
    key = next((key for key in _ALPHAS if settings.raw.get(key) is not None), None)
    return None if key is None else float(settings.by_pattern("alpha_pattern", module, settings.raw[key]))


def _dtypes(point: Adapter) -> dict[str, str]:
    """The dtypes of the tensors in an adapter's file, by their names there; nothing of what is not a file."""
    folder = point.source or (point.as_read.folder if point.as_read is not None else Path())
    if (folder / WEIGHTS_FILE).is_file():
        found = read_header(folder / WEIGHTS_FILE)
    elif (folder / PICKLE_FILE).is_file():
        found = read_pickle(folder / PICKLE_FILE)
    else:
        return {}
    return {tensor.name: _short(tensor.dtype) for tensor in found}


def _by_module(dtypes: Mapping[str, str], modules: Iterable[str]) -> dict[str, str]:
    """The dtypes of the tensors that belong to each module, joined where they differ."""
    wanted, found = set(modules), defaultdict(set)
    for name, dtype in dtypes.items():
        module = name.removeprefix(PREFIX)
        while module and module not in wanted:
            module = module.rpartition(".")[0]
        found[module].add(dtype)
    return {module: " ".join(sorted(names)) for module, names in found.items()}


def _dtype_of(update: Update) -> str | None:
    """The dtype of a full fine-tune's weight on disk."""
    stored = _stored(update)
    return None if stored is None else _short(stored.dtype)


def _short(dtype: torch.dtype) -> str:
    """A dtype's name."""
    return str(dtype).removeprefix("torch.")


def _stored(update: Update) -> StoredTensor | None:
    """The weight of an unchanged full fine-tune."""
    part = update.parts[0]
    return part.value if len(update.parts) == 1 and isinstance(part, Replacement) else None


def _norm(update: Update, name: str, base: FullModel | None) -> float | None:
    """The Frobenius norm of a change; None where it needs a base that is not there."""
    stored = _stored(update)
    if stored is not None and base is None:
        _distance(stored)  # without a base the numbers are read all the same: NaN is told
        return None
    if stored is not None and base is not None:
        return _distance(stored, base.stored[base.ties.get(name, name)])
    if update.needs_base:
        if base is None:
            return None
        update = update.on(base.weight(name), transposed=base.transposed(name))
    if not update.low_rank:
        return max(update.inner(update), 0.0) ** 0.5
    up, down = update.factors(dtype=torch.float64)  # [rows, r], [r, columns]
    return max(float(((up.T @ up) * (down @ down.T)).sum()), 0.0) ** 0.5


def _distance(first: StoredTensor, second: StoredTensor | None = None) -> float:
    """The Frobenius norm of a difference, or of a tensor, read in pieces; rows that the second lacks count as 0."""
    total, shared = 0.0, 0 if second is None else min(first.numel, second.numel)
    for begin, end in ((0, shared), (shared, first.numel)):
        for start in range(begin, end, _PIECE):
            stop = min(start + _PIECE, end)
            piece = first.stretch(start, stop).double()
            if second is not None and start < shared:
                piece = piece - second.stretch(start, stop).double()
            total += float(piece.square().sum())
    return total**0.5

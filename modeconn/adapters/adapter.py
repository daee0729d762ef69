"""A checkpoint as a point: what it adds to the base model's parameters and what it puts in their place."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from modeconn.adapters.agreement import check_have_updates, check_same_base, check_same_shapes
from modeconn.adapters.binding import bound, within
from modeconn.adapters.config import AdapterConfig, AsRead
from modeconn.adapters.identity import fingerprint_of
from modeconn.adapters.initial import since_initial
from modeconn.adapters.kinds.lora import combined_config, lora_tensors
from modeconn.adapters.layout import Layout
from modeconn.adapters.reading import read_adapter_files, renamed
from modeconn.adapters.saving import check_savable, copy_name, is_of_base, settings_to_save
from modeconn.adapters.stored import StoredTensors
from modeconn.adapters.tokenizers import sources_of, tokenizer_folder
from modeconn.adapters.update import BaseWeights, Update
from modeconn.adapters.writing import write_adapter
from modeconn.errors import AdapterError


@dataclass(frozen=True, eq=False, repr=False)
class Adapter:
    """One point: a checkpoint, or a linear combination of checkpoints of one base model.

    `a + 0.5 * (b - a)` combines weight updates (`space="weights"`), so it equals `LinearPath(a, b)(0.5)` whatever
    the ranks and target modules. The tensors of an adapter file as one vector, `vector` of shape `[P]`, are the
    other coordinates (`space="factors"`).

    Attributes:
        config: The settings of the adapter, or of the first one of a combination.
        updates: Parameter name -> what is added to it.
        saved: Parameter name -> the tensor that replaces it (classification heads and other modules_to_save).
        base_copies: Parameter name -> a copy of the base's tensor that came with the file; must equal the base's.
        provenance: What modeconn's trainer noted: fingerprint of the base, labels of the head.
        name: How tables and messages call the point.
        weight_sum: The sum of the coefficients: 1 for a checkpoint, 0 for a difference.
        source: The folder it was read from, if it is one unchanged checkpoint.
        sources: The folders of the checkpoints that it was made from; a tokenizer beside one of them is saved with it.
        own: The adapter's own tensors under PEFT's names; None for a combination of weight updates.
        as_read: What its file says, where the point's own settings are others.
        allow_zero: Whether it may turn out to change nothing once it meets its base (see `untrained`).
    """

    config: AdapterConfig
    updates: Mapping[str, Update]
    saved: Mapping[str, torch.Tensor]
    base_copies: Mapping[str, torch.Tensor] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = "point"
    weight_sum: float = 1.0
    source: Path | None = None
    sources: tuple[Path, ...] = ()
    own: Mapping[str, torch.Tensor] | None = None
    as_read: AsRead | None = None
    allow_zero: bool = True

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        name: str | None = None,
        allow_zero: bool = False,
        initial: str | Path | None = None,
    ) -> "Adapter":
        """Read an adapter as PEFT saves it; every tensor of the file is used, or the load fails.

        Args:
            source: A folder, a weights file beside its adapter_config.json (`lora_<task>.pt`), or a hub id.
            revision: Branch, tag or commit on the hub.
            name: How tables call the point; the folder's last part by default.
            allow_zero: Accept an adapter that changes nothing, such as one saved before training. Of initialisations
                that take part of the base away, and of norms and biases that take its place, only the base can tell:
                there a model refuses it when it is checked.
            initial: The same adapter as it was before training, a folder or hub id: for initialisations that take part
                of the base away (CorDA, LoRA-GA, PiSSA by iteration) and were not recorded beside the adapter. The
                point is then plain LoRA of twice the rank.

        Raises:
            AdapterError: If a file is missing or broken, a tensor is left over, empty or not finite, or the
                update is zero everywhere.
        """
        found = read_adapter_files(source, revision=revision)
        known = renamed(found)
        files = since_initial(known, initial)
        config = AdapterConfig.parse(files.config, f"the adapter in {files.folder}")
        adapter = cls.from_tensors(
            files.tensors,
            config,
            name=name or Path(source).name or str(source),
            provenance=files.provenance,
            source=files.folder if files is found and files.folder.is_dir() else None,
            sources=(files.folder if files.folder.is_dir() else files.folder.parent,),
            as_read=None if files is found else AsRead(AdapterConfig(known.config, config.origin), files.folder),
            allow_zero=allow_zero,
        )
        if not allow_zero and adapter.is_zero:
            raise AdapterError(
                f"the adapter in {files.folder} changes nothing",
                expected="a weight update that is not zero",
                got=f"{len(adapter.updates)} updates, all zero, as they are before the first training step",
                remedy="give a trained checkpoint, or pass allow_zero=True for one saved before training",
            )
        return adapter

    @classmethod
    def from_tensors(
        cls,
        tensors: Mapping[str, torch.Tensor],
        config: AdapterConfig,
        **fields: Any,  # noqa: ANN401
    ) -> "Adapter":
        """An adapter from PEFT's tensors in memory.

        Args:
            tensors: PEFT's names (as in the file) -> float32 tensors.
            config: The adapter's settings.
            fields: Other fields of the adapter, such as `name`.
        """
        parts = config.kind.read(tensors, config)
        copies = {copy_name(name) for name in parts.base_copies}
        lazy = isinstance(tensors, StoredTensors)  # a full model is not read into a dict
        own = tensors if lazy else {name: one for name, one in tensors.items() if not is_of_base(name, copies)}
        return cls(config, parts.updates, parts.saved, parts.base_copies, own=own, **fields)

    def save_pretrained(self, folder: str | Path) -> Path:
        """Write the point as an adapter folder that plain PEFT loads; returns the folder.

        An unchanged checkpoint is written tensor for tensor; a combination as one exact pair of factors a module. A
        tokenizer beside a checkpoint that the point was made from comes along.

        Raises:
            AdapterError: If the point is a difference, or the folder cannot be written.
        """
        check_savable(self)
        copies = {copy_name(name): value for name, value in self.base_copies.items()}
        tensors, beside = {**self.tensors, **copies}, tokenizer_folder(self.sources)
        return write_adapter(Path(folder), tensors, settings_to_save(self), self.provenance, tokenizer=beside)

    @cached_property
    def tensors(self) -> Mapping[str, torch.Tensor]:
        """The point's tensors under PEFT's names, float32; those of a combination are one pair of factors a module.

        Raises:
            AdapterError: If an update of a combination has no factors.
        """
        return lora_tensors(self.updates, self.saved, self.config) if self.own is None else self.own

    @cached_property
    def layout(self) -> Layout:
        """Names, shapes and order of `tensors`."""
        if isinstance(self.own, StoredTensors):
            return self.own.layout
        return Layout.of(self.tensors, constants=self.config.kind.constants)

    @property
    def vector(self) -> torch.Tensor:
        """`tensors` as one vector, `[P]`."""
        return self.layout.pack(self.tensors)

    def with_vector(self, vector: torch.Tensor, *, name: str = "point") -> "Adapter":
        """An adapter of the same layout and scaling whose tensors are those of `vector`, `[P]`."""
        fields = {key: getattr(self, key) for key in ("provenance", "weight_sum", "sources")}
        constants = {key: self.tensors[key] for key, _ in self.layout.constants}
        return Adapter.from_tensors({**constants, **self.layout.unpack(vector)}, self.config, name=name, **fields)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 in hex of what the point does: of updates and saved modules, else of its tensors."""
        return fingerprint_of(self)

    @property
    def is_zero(self) -> bool:
        """Whether the update is zero everywhere."""
        if not self.config.kind.has_update:
            return self.config.kind.is_zero(self.tensors)
        return all(update.is_zero for update in self.updates.values())

    @property
    def needs_base(self) -> bool:
        """Whether an update is a function of the base's weights, as DoRA's is."""
        return any(update.needs_base for update in self.updates.values())

    def within(self, base: BaseWeights) -> "Adapter":
        """The same point for one base (see `on`): with sizes that only it knows, without updates of what it lacks."""
        return within(self, base)

    @property
    def replaces(self) -> bool:
        """Whether an update is that of a full fine-tune."""
        return any(part.replaces for update in self.updates.values() for part in update.parts)

    def on(self, base: BaseWeights) -> "Adapter":
        """The same point with updates that no longer need the base: norms and inner products can be taken.

        Args:
            base: Where the base's weights are, such as an `AdapterModel`.
        """
        return bound(self, base)

    def inner(self, other: "Adapter") -> float:
        """The inner product of two points in weights space, saved modules included, in float64.

        Raises:
            AdapterError: If an update needs the base's weights; bind the points with `on` first.
        """
        # Sorted: a set's order differs between processes, and with it the last bits of a sum.
        updates = sum(
            self.updates[name].inner(other.updates[name]) for name in sorted(self.updates.keys() & other.updates.keys())
        )
        saved = sum(
            float((self.saved[name].double() * other.saved[name].double()).sum())
            for name in sorted(self.saved.keys() & other.saved.keys())
        )
        return updates + saved

    def norm(self) -> float:
        """The L2 norm of the point in weights space, saved modules included."""
        return max(self.inner(self), 0.0) ** 0.5

    def __add__(self, other: "Adapter") -> "Adapter":
        return combine((1.0, 1.0), (self, other))

    def __sub__(self, other: "Adapter") -> "Adapter":
        return combine((1.0, -1.0), (self, other))

    def __mul__(self, factor: float) -> "Adapter":
        return combine((factor,), (self,))

    __rmul__ = __mul__

    def __repr__(self) -> str:
        ranks = sorted({update.rank for update in self.updates.values()})
        return (
            f"Adapter({self.name!r}, modules={len(self.updates)}, ranks={ranks}, "
            f"saved={len(self.saved)}, base_model={self.config.base_model!r})"
        )


def combine(
    coefficients: Sequence[float],
    points: Sequence[Adapter],
    *,
    by_parameter: Mapping[str, Sequence[float]] | None = None,
    name: str | None = None,
) -> Adapter:
    """The linear combination of points in weights space, `sum_k c_k dW_k`, exact and never formed densely.

    Ranks and target modules may differ; a module that a point lacks has `dW = 0` there. A combination that is
    one of the points is that point itself.

    Args:
        coefficients: K numbers.
        points: K adapters of one base model.
        by_parameter: Parameter name -> K numbers that hold for this parameter instead.
        name: How tables call the result.

    Raises:
        AdapterError: If the points are of different bases, a parameter has different shapes, a saved module is
            not in all points, or a point has no weight update.
    """
    pairs = [(c, p) for c, p in zip(coefficients, points, strict=True) if c != 0.0]
    if not by_parameter and len(pairs) == 1 and pairs[0][0] == 1.0:
        return pairs[0][1]
    check_have_updates(points)
    check_same_base(points)
    check_same_shapes(points)
    own = by_parameter or {}
    updates = {}
    for parameter in sorted({parameter for point in points for parameter in point.updates}):
        row = own.get(parameter, coefficients)
        present = [(c, p.updates[parameter]) for c, p in zip(row, points, strict=True) if parameter in p.updates]
        combined = Update.combine([c for c, _ in present], [update for _, update in present])
        if combined.parts:
            updates[parameter] = combined
    first = points[0]
    saved = {
        key: sum(c * p.saved[key] for c, p in zip(own.get(key, coefficients), points, strict=True))
        for key in first.saved
    }
    config = first.config
    if updates:
        named = next((p.config.base_model for p in points if p.config.base_model), None)
        config = replace(config, raw={**combined_config(config, updates), "base_model_name_or_path": named})
    return Adapter(
        config,
        updates,
        saved,  # type: ignore[arg-type]  # sum() of tensors is a tensor: the list is never empty
        provenance=first.provenance,
        name=name or "combination",
        weight_sum=sum(c * p.weight_sum for c, p in pairs),
        sources=sources_of(points if by_parameter else [p for _, p in pairs]),
    )

"""A base model as a function of a point: points and batches in, per-example sums out."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.agreement import check_same_base, check_same_shapes
from modeconn.adapters.untrained import check_changes
from modeconn.models.batch_room import BatchMemory
from modeconn.models.completeness import check_complete
from modeconn.models.device_maps import DeviceMap, MemoryLimit, as_device, map_options
from modeconn.models.encoded import Batch, EncodedTask, ExampleSums
from modeconn.models.families import family_for_task, family_of
from modeconn.models.family import Classifier, Family, padding_token, score_batch
from modeconn.models.fingerprint import check_same_base_model, fingerprint_of
from modeconn.models.full import check_whole, given_by_all
from modeconn.models.generating import example_sums
from modeconn.models.heads import base_labels, check_recorded, head_labels, head_size
from modeconn.models.loading import (
    as_dtype,
    guess_task_type,
    load_base,
    load_reader,
    local_folder,
    longest_input,
    named_base,
)
from modeconn.models.lower_layers import Sweep
from modeconn.models.matmul_precision import MatmulPrecision, check_matmul_precision
from modeconn.models.offloaded import first_device, sharing_copy
from modeconn.models.packable import with_own_positions, with_packing
from modeconn.models.placing import Weights, check_fits, placed
from modeconn.models.prompted import room_for_prompts
from modeconn.models.quantised import loading_options
from modeconn.models.reference import reference_of
from modeconn.models.scoring import score_split
from modeconn.models.several_points import check_points_per_batch
from modeconn.models.shares import RowScores, Share, alone
from modeconn.models.splits import encode_split
from modeconn.tasks.encoding import EncodingSettings
from modeconn.tasks.task import Task


@dataclass(frozen=True, eq=False, repr=False)
class AdapterModel:
    """One base model in memory, which any number of points take turns in.

    Attributes:
        module: The model of transformers, in `eval()`, without gradients.
        tokenizer: Its tokenizer; the `ImageReader` of a model that reads images.
        family: How tasks are read and scored: causal, encoder-decoder, or a classifier of texts or images.
        base_name: The folder or hub id it was loaded from.
        fingerprint: The hash of the base's weights.
        prompt_room: Positions that are kept free for the points' prompts.
        absent: Parameters that the base lacks and every point must bring along.
        memory: What is known of the memory for batches.
        matmul_precision: In what products of float32 matrices are made.
        points_per_batch: How many points a batch is read for together (see `evaluate_together`).
        classes_taken: Task -> its labels, which name the classes because nothing else does; one task, or none.
        sweep: What the points of a sweep share.
    """

    module: nn.Module
    tokenizer: Any
    family: Family
    base_name: str
    fingerprint: str
    prompt_room: int = 0
    absent: frozenset[str] = frozenset()
    memory: BatchMemory = field(default_factory=BatchMemory)
    matmul_precision: MatmulPrecision = "float32"
    points_per_batch: int = 1
    classes_taken: dict[str, tuple[str, ...]] = field(default_factory=dict, init=False)
    sweep: Sweep = field(default_factory=Sweep, init=False)

    @classmethod
    def from_pretrained(
        cls,
        base: str | Path | None = None,
        *,
        adapters: Sequence[Adapter] = (),
        task_type: str | None = None,
        labels: Sequence[str] | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = "float32",
        quantization: Any = None,  # noqa: ANN401
        packed: bool | None = None,
        device_map: DeviceMap | None = None,
        max_memory: MemoryLimit | None = None,
        matmul_precision: MatmulPrecision = "float32",
        points_per_batch: int = 1,
    ) -> "AdapterModel":
        """Load a base model for some adapters.

        Args:
            base: A folder or hub id; None takes the base that the adapters name.
            adapters: The points to be evaluated; they give task type and head, and are checked against the base.
            task_type: CAUSAL_LM, SEQ_2_SEQ_LM, SEQ_CLS or IMAGE_CLASSIFICATION, where the adapters do not say.
            labels: Names of a classifier's classes in the order of its head, where the adapters do not say.
            device: Where the model lives.
            dtype: The dtype of its weights.
            quantization: "torchao-int8", "bnb-8bit", "bnb-4bit" (needs torchao or bitsandbytes) or a quantisation
                config of transformers, to round the base's weights while it is loaded. Points run beside them,
                unrounded. A checkpoint that is quantised already needs none.
            packed: False pads rows; else they go without padding where the model gives the same logits (see `packing`).
            device_map: "auto", "balanced", "balanced_low_0", "sequential", or module -> device or "disk": spreads a
                base over devices, points run beside its weights. Instead of `device`.
            max_memory: What a device may hold, in GiB or as "12GiB": of the base with one of these maps (there also
                device -> limit), else of weights and batches (see `BatchMemory`).
            matmul_precision: "bfloat16" or "tf32" rounds large products (see `products`); `evaluate_path` measures how.
            points_per_batch: Points of a path that are evaluated together, for models that are small for their device.

        Raises:
            ModelError: If the base cannot be loaded or is not the adapters', a device cannot be used, or `labels` are
                not those that an adapter recorded.
            AdapterError: If the adapters cannot be combined.
        """
        device = as_device(device)
        check_matmul_precision(matmul_precision, dtype=as_dtype(dtype), device=device)
        check_same_base(adapters)
        check_same_shapes(adapters)
        source = base if base is not None else named_base(adapters)
        named = [adapter.config.task_type for adapter in adapters if adapter.config.task_type]
        task_type = task_type or (named[0] if named else guess_task_type(source))
        model_labels = head_labels(adapters, labels, task_type=task_type)
        load = partial(
            load_base,
            source,
            task_type=task_type,
            num_labels=head_size(adapters, task_type=task_type) or (len(model_labels) if model_labels else None),
            saved=given_by_all(adapters) if adapters else None,
            options=loading_options(
                quantization, dtype=as_dtype(dtype), device=device, saved=[n for a in adapters for n in a.saved]
            )
            | map_options(device_map, max_memory, device=device),
        )
        module, absent = load(dtype=as_dtype(dtype))
        fingerprint = fingerprint_of(module, lambda: local_folder(source), task_type)
        model_labels = model_labels or base_labels(getattr(module.config, "id2label", None))
        tokenizer = load_reader(source, module, adapters, task_type)
        if device_map is None and module.device != device:  # a quantised one may not be moved
            module = module.to(device)
        check_points_per_batch(points_per_batch, module)
        family = with_packing(with_own_positions(family_of(task_type, model_labels), module), module, wanted=packed)
        memory = BatchMemory() if device_map is not None else BatchMemory.of(module, max_memory)
        model = cls(
            module, tokenizer, family, str(source), fingerprint, room_for_prompts(adapters), absent, memory,
            matmul_precision, points_per_batch,
        )  # fmt: skip
        for adapter in adapters:
            model.check(adapter)
        return model

    def check(self, point: Adapter) -> None:
        """Raise unless the point was trained on this base and fits it.

        Raises:
            ModelError: If the recorded fingerprint, a parameter's name or shape, or the recorded classes differ.
            AdapterError: If it turns out to change nothing.
        """
        check_fits(self.module, point, self.base_name)
        check_complete(self.module, point, self.base_name)
        check_whole(self.module, point, self.absent, self.base_name)
        check_changes(point, self)
        check_same_base_model(point, self.fingerprint, self.base_name)
        if isinstance(self.family, Classifier):
            check_recorded(point, self.family.labels)

    @property
    def device(self) -> torch.device:
        """Where the model lives; where batches go, of one that is spread over devices."""
        return first_device(self.module)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the model's weights."""
        return next(one.dtype for one in self.module.parameters() if one.is_floating_point())

    @property
    def longest(self) -> int:
        """The number of tokens that a text may have, beside a prompt where the points have prompts."""
        return longest_input(self.module, self.tokenizer) - self.prompt_room

    @property
    def pad_id(self) -> int:
        """The token that fills batches; 0 for images."""
        return padding_token(self.module)

    def encode(self, task: Task, split: str = "test", settings: EncodingSettings | None = None) -> EncodedTask:
        """A split, tokenised once, in batches that serve every point.

        Args:
            task: The task.
            split: Which of its splits.
            settings: How; the defaults are those of evaluation.

        Raises:
            TaskError: If the split is missing, an example cannot be encoded, or a classifier is asked to write.
            ModelError: If a classifier's classes have no known names, or an earlier task gave them others.
        """
        settings = settings or EncodingSettings()
        return encode_split(
            family_for_task(self.family, task, self.module, self.classes_taken),
            task,
            split,
            self.tokenizer,
            max_length=min(settings.max_length or self.longest, self.longest),
            pad_id=self.pad_id,
            settings=settings,
        )

    def evaluate(self, point: Adapter, encoded: Sequence[EncodedTask], share: Share = alone) -> list[ExampleSums]:
        """Per-example sums of every split at a point; the model is afterwards what it was before.

        Args:
            point: Where on a path, or a checkpoint.
            encoded: Splits from `encode`; there is one result for each.
            share: Who scores which batches: all that take part call this, and get the same.

        Raises:
            ModelError: If the point does not fit.
        """
        with self.at(point) as module:
            return [example_sums(self, module, split, share=share) for split in encoded]

    @contextmanager
    def at(self, point: Adapter) -> Iterator[nn.Module]:
        """The model as the function of a point, for `score_rows`; afterwards it is what it was, also after an error.

        Raises:
            ModelError: If the point does not fit.
        """
        check_fits(self.module, point, self.base_name)
        if not point.config.kind.has_update:  # nothing to place: the point's tensors are modules of their own
            with self.reference(point) as module:
                yield module
            return
        with placed(self.module, self.sweep.rest(point)):
            yield self.module

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter of the base as the model stores it."""
        return Weights(self.module).weight(parameter)

    def transposed(self, parameter: str) -> bool:
        """Whether the model stores a parameter as `[in, out]`."""
        return Weights(self.module).transposed(parameter)

    def has(self, parameter: str) -> bool:
        """Whether the base has a parameter of this name."""
        return Weights(self.module).has(parameter)

    def score_rows(self, module: nn.Module, encoded: EncodedTask, share: Share = alone) -> RowScores:
        """Losses in nats and correctness of rows, `[R]` each, by any module of this architecture, see `score_split`.

        Raises:
            ModelError: If the memory is too small for a single row; batches that do not fit are taken in halves.
        """
        return score_split(self, module, encoded, share=share)

    def row_tokens(self, encoded: EncodedTask) -> np.ndarray:
        """Scored tokens of every row, `[R]`."""
        return np.array([len(row.targets) for row in encoded.rows.rows])

    def collate(self, rows: Sequence[tuple[EncodedTask, int]]) -> Batch:
        """Rows, each a split and a row's number, as one batch on the model's device."""
        return self.family.collate([split.rows.rows[row] for split, row in rows], self.pad_id).to(self.device)

    def batch_losses(self, batch: Batch) -> torch.Tensor:
        """Losses of a batch at the module's present weights, with gradients, `[B]` in nats, summed over tokens."""
        return score_batch(self.family, self.module, batch)[0]

    def twin(self, *, apart: Collection[str] = ()) -> nn.Module:
        """A second model object that shares its tensors with this one: PEFT may rebuild it, this one stays.

        Args:
            apart: Parameters that are copied instead, because PEFT is going to change them in place.
        """
        copied = {id(self.module.get_parameter(name)) for name in apart}
        tensors = (*self.module.parameters(), *self.module.buffers())
        return sharing_copy(self.module, {id(tensor): tensor for tensor in tensors if id(tensor) not in copied})

    def reference(self, point: Adapter) -> AbstractContextManager[nn.Module]:
        """The model with a point loaded by PEFT itself, beside this one, see `reference_of`."""
        return reference_of(self, point)

    def __repr__(self) -> str:
        return (
            f"AdapterModel({self.base_name!r}, {self.family.task_type}, dtype={self.dtype}, "
            f"device={str(self.device)!r}, fingerprint={self.fingerprint[:12]!r})"
        )

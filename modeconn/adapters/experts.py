"""Experts that lie one by one in a model's files, as the stacked tensors that the model holds in memory."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

import torch

from modeconn.adapters.stored import StoredTensor

_ONE_EXPERT = re.compile(r"\.experts\.(\d+)\.")
_STACKING = (["MergeModulelist"], ["MergeModulelist", "Concatenate"])


@dataclass(frozen=True, eq=False)
class Stacked(StoredTensor):
    """Tensors that follow one another in memory: those of the first expert, of the second, and so on.

    Attributes:
        parts: The tensors, in this order, of one dtype.
    """

    parts: tuple[StoredTensor, ...]

    def _stretch(self, start: int, stop: int) -> torch.Tensor:
        """The elements, from as many parts as they lie in."""
        ends = accumulate((part.numel for part in self.parts), initial=0)
        found = [
            part.stretch(max(start, begin) - begin, min(stop, end) - begin)
            for part, (begin, end) in zip(self.parts, pairwise(ends), strict=True)
            if begin < stop and end > start
        ]
        return torch.cat(found) if len(found) != 1 else found[0]


def are_single(names: Sequence[str]) -> bool:
    """Whether some names are those of experts that lie one by one."""
    return any(_ONE_EXPERT.search(name) for name in names)


def conversions_of(model: Any) -> tuple[Any, ...]:  # noqa: ANN401  (a model of transformers)
    """How transformers renames and stacks a model's tensors while it loads; nothing where it does not tell."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping

        return tuple(get_model_conversion_mapping(model))
    except (ImportError, AttributeError, TypeError):  # no public function: it moves between versions
        return ()


def stacked(tensors: Mapping[str, StoredTensor], conversions: Sequence[Any]) -> Mapping[str, StoredTensor]:
    """The tensors of a file under the names of the model's parameters, experts stacked.

    Nothing is read. Experts of which some are missing, or that do not fit each other, stay as they are.

    Args:
        tensors: The file's names -> tensors.
        conversions: What transformers does with them (see `conversions_of`).
    """
    converters = [one for one in conversions if hasattr(one, "operations")]
    renamings = [one for one in conversions if not hasattr(one, "operations")]
    groups: dict[str, dict[str, list[StoredTensor]]] = defaultdict(lambda: defaultdict(list))
    patterns, found = {}, {}
    for name, tensor in tensors.items():
        plain = name
        for renaming in renamings:
            plain, _ = renaming.rename_source_key(plain)
        target, converter, pattern = _converted(plain, converters)
        if converter is None:
            found[plain] = tensor
        else:
            groups[target][pattern].append(tensor)
            patterns[target] = converter.source_patterns
    for target, group in groups.items():
        whole = _whole(target, [group[pattern] for pattern in patterns[target]])
        found |= {target: whole} if whole else {one.name: one for part in group.values() for one in part}
    return found


def _converted(name: str, converters: Sequence[Any]) -> tuple[str, Any, str]:
    """The stacked tensor that one expert's belongs to, what makes it, and the expert's place in that."""
    for converter in converters:
        target, pattern = converter.rename_source_key(name)
        kinds = [type(operation).__name__ for operation in converter.operations]
        if pattern is not None and kinds in _STACKING and _ONE_EXPERT.search(name):
            return target, converter, pattern
    return name, None, ""


def _whole(name: str, columns: Sequence[Sequence[StoredTensor]]) -> Stacked | None:
    """The tensors of all experts as one, `[E, rows, columns]`; nothing where some are missing or differ.

    Args:
        name: Of the stacked tensor.
        columns: For each matrix of an expert, such as gate and up, those of all experts; rows are put one under the
            other.
    """
    experts = [sorted(column, key=_number) for column in columns]
    numbers = [[_number(one) for one in column] for column in experts]
    parts = [part for expert in zip(*experts, strict=False) for part in expert]
    if not parts or any(found != list(range(len(numbers[0]))) for found in numbers):
        return None
    kinds = {(part.dtype, part.shape[1:]) for part in parts}
    sizes = {tuple(part.shape for part in expert) for expert in zip(*experts, strict=True)}
    if len(kinds) != 1 or len(sizes) != 1 or len(parts[0].shape) != 2:
        return None
    rows = sum(column[0].shape[0] for column in experts)
    shape = (len(numbers[0]), rows, parts[0].shape[1])
    return Stacked(name, parts[0].dtype, shape, parts[0].origin, tuple(parts))


def _number(tensor: StoredTensor) -> int:
    """The number of a tensor's expert."""
    found = _ONE_EXPERT.search(tensor.name)
    return int(found[1]) if found else -1

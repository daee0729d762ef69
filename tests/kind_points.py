"""Adapters of any kind in memory, and how the broken ones are refused."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.errors import AdapterError

PREFIX = "base_model.model."


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal numbers that depend on shape and seed only."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def kind_point(peft_type: str, tensors: Mapping[str, torch.Tensor], **settings: Any) -> Adapter:
    """An adapter of a kind; names without a prefix get PEFT's."""
    named = {name if name.startswith("base_model.") else PREFIX + name: value for name, value in tensors.items()}
    return Adapter.from_tensors(named, AdapterConfig.parse({"peft_type": peft_type, **settings}, "the adapter"))


def fails(peft_type: str, tensors: Mapping[str, torch.Tensor], *parts: str, **settings: Any) -> None:
    """The adapter must be refused in four parts, and the message hold these texts in this order."""
    with pytest.raises(AdapterError, match="(?s)" + ".*".join(map(re.escape, parts))) as caught:
        kind_point(peft_type, tensors, **settings)
    told = str(caught.value)
    assert [part in told for part in ("\n  expected: ", "\n  got: ", "\n  remedy: ")] == [True] * 3


class Base:
    """Parameters in memory, as the base of a point."""

    def __init__(self, weights: Mapping[str, torch.Tensor], transposed: bool = False) -> None:
        self.weights, self.stored_as_in_out = weights, transposed

    def weight(self, parameter: str) -> torch.Tensor:
        """A parameter."""
        return self.weights[parameter]

    def transposed(self, parameter: str) -> bool:
        """Whether all of them lie as `[in, out]`."""
        return self.stored_as_in_out and self.weights[parameter].ndim == 2

    def has(self, parameter: str) -> bool:
        """Whether there is such a parameter."""
        return parameter in self.weights

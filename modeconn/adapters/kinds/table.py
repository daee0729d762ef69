"""The kinds of adapters that can be read, by `peft_type`."""

from collections.abc import Mapping
from typing import Any

from modeconn.adapters.kinds.kind import Kind
from modeconn.adapters.kinds.lora import LORA
from modeconn.errors import AdapterError, listed

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (LORA,)}


def kind_of(raw: Mapping[str, Any], origin: str) -> Kind:
    """The kind that an adapter_config.json names.

    Raises:
        AdapterError: If it is not one of `KINDS`.
    """
    named = raw.get("peft_type")
    kind = KINDS.get(str(named).upper())
    if kind is None:
        raise AdapterError(
            f"{origin} is an adapter of a kind that cannot be read",
            expected=f'"peft_type" in adapter_config.json to be one of {listed(KINDS)}',
            got=f'"peft_type": {named!r}',
            remedy="merge it into its base and give the full model, or leave it out",
        )
    return kind

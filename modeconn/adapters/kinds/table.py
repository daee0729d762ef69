"""The kinds of adapters that can be read, by `peft_type`."""

from collections.abc import Mapping
from typing import Any

from modeconn.adapters.kinds.adalora import ADALORA
from modeconn.adapters.kinds.boft import BOFT
from modeconn.adapters.kinds.fourier import FOURIERFT
from modeconn.adapters.kinds.full import FULL
from modeconn.adapters.kinds.ia3 import IA3
from modeconn.adapters.kinds.kind import Kind
from modeconn.adapters.kinds.layernorm import LN_TUNING
from modeconn.adapters.kinds.lora import LORA
from modeconn.adapters.kinds.loretta import LORETTA_ADP, LORETTA_REP
from modeconn.adapters.kinds.lycoris import LOHA, LOKR
from modeconn.adapters.kinds.module import MODULE
from modeconn.adapters.kinds.oft import OFT
from modeconn.adapters.kinds.prompts import PROMPT_KINDS
from modeconn.adapters.kinds.vera import VERA
from modeconn.adapters.kinds.wegeft import WEGEFT
from modeconn.errors import AdapterError, listed

_EVERY = (
    ADALORA,
    BOFT,
    FOURIERFT,
    FULL,
    IA3,
    LN_TUNING,
    LOHA,
    LOKR,
    LORA,
    LORETTA_ADP,
    LORETTA_REP,
    OFT,
    VERA,
    WEGEFT,
    *PROMPT_KINDS,
    MODULE,
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _EVERY}


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

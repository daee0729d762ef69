"""The kinds of adapters that can be read, by `peft_type`."""

from collections.abc import Mapping
from typing import Any

from modeconn.adapters.kinds.adalora import ADALORA
from modeconn.adapters.kinds.boft import BOFT
from modeconn.adapters.kinds.c3a import C3A
from modeconn.adapters.kinds.delora import DELORA
from modeconn.adapters.kinds.fourier import FOURIERFT
from modeconn.adapters.kinds.full import FULL
from modeconn.adapters.kinds.gralora import GRALORA
from modeconn.adapters.kinds.hra import HRA
from modeconn.adapters.kinds.ia3 import IA3
from modeconn.adapters.kinds.kind import Kind
from modeconn.adapters.kinds.layernorm import LN_TUNING
from modeconn.adapters.kinds.lora import LORA
from modeconn.adapters.kinds.loretta import LORETTA_ADP, LORETTA_REP
from modeconn.adapters.kinds.lycoris import LOHA, LOKR
from modeconn.adapters.kinds.miss import MISS
from modeconn.adapters.kinds.module import MODULE
from modeconn.adapters.kinds.oft import OFT
from modeconn.adapters.kinds.prompt_pool import L2P
from modeconn.adapters.kinds.prompts import PROMPT_KINDS
from modeconn.adapters.kinds.randlora import RANDLORA
from modeconn.adapters.kinds.road import ROAD
from modeconn.adapters.kinds.shira import SHIRA
from modeconn.adapters.kinds.tokens import TOKENS
from modeconn.adapters.kinds.vblora import VBLORA
from modeconn.adapters.kinds.vera import VERA
from modeconn.adapters.kinds.wegeft import WEGEFT
from modeconn.errors import AdapterError, listed

_EVERY = (
    ADALORA,
    BOFT,
    C3A,
    DELORA,
    FOURIERFT,
    FULL,
    GRALORA,
    HRA,
    IA3,
    L2P,
    LN_TUNING,
    LOHA,
    LOKR,
    LORA,
    LORETTA_ADP,
    LORETTA_REP,
    MISS,
    OFT,
    RANDLORA,
    ROAD,
    SHIRA,
    TOKENS,
    VBLORA,
    VERA,
    WEGEFT,
    *PROMPT_KINDS,
    MODULE,
)
KINDS: Mapping[str, Kind] = {kind.name: kind for kind in _EVERY}
_NAMES = sorted({"BONE", *KINDS} - {FULL.name, MODULE.name})  # what a file may call itself
# Kinds of PEFT that are no one change of the weights, and why.
_REASONS = {
    "POLY": "it mixes adapters by the task of each text",
    "XLORA": "it mixes adapters token by token",
}


def kind_of(raw: Mapping[str, Any], origin: str) -> Kind:
    """The kind that an adapter_config.json names.

    Raises:
        AdapterError: If it is not one of `KINDS`.
    """
    named = raw.get("peft_type")
    kind = KINDS.get(str(named).upper())
    if kind is None:
        reason = _REASONS.get(str(named).upper())
        raise AdapterError(
            f"{origin} is an adapter of a kind that cannot be read",
            expected=f'"peft_type" in adapter_config.json to be one of {listed(_NAMES, limit=99)}',
            got=f'"peft_type": {named!r}' + (f" ({reason})" if reason else ""),
            remedy="leave it out: it cannot be merged into its base"
            if reason
            else "merge it into its base and give the full model, or leave it out",
        )
    return kind

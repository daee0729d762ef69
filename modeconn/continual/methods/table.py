"""The methods by name."""

import math
from collections.abc import Mapping
from dataclasses import fields
from numbers import Integral, Real
from typing import Any, get_args

from modeconn.continual.methods.averaged import MovingAverage, Soup
from modeconn.continual.methods.derpp import DERpp
from modeconn.continual.methods.ewc import EWC, OnlineEWC
from modeconn.continual.methods.gem import AGEM, GEM
from modeconn.continual.methods.ilora import ILoRA
from modeconn.continual.methods.l2p import L2P
from modeconn.continual.methods.lwf import LwF
from modeconn.continual.methods.mcsgd import MCSGD
from modeconn.continual.methods.method import Sequential
from modeconn.continual.methods.multi_task import MultiTask
from modeconn.continual.methods.olora import OLoRA
from modeconn.continual.methods.path_merge import PathMerge
from modeconn.continual.methods.per_task import OneAdapterPerTask
from modeconn.continual.methods.progressive_prompts import ProgressivePrompts
from modeconn.continual.methods.replay import Replay
from modeconn.errors import RunError

METHODS: Mapping[str, type[Sequential]] = {
    kind.name: kind
    for kind in (
        Sequential,
        Replay,
        ILoRA,
        DERpp,
        EWC,
        OnlineEWC,
        LwF,
        GEM,
        AGEM,
        OneAdapterPerTask,
        MultiTask,
        MovingAverage,
        Soup,
        PathMerge,
        OLoRA,
        MCSGD,
        ProgressivePrompts,
        L2P,
    )
}


def make_method(name: str, options: Mapping[str, Any]) -> Sequential:
    """A method from its name and settings.

    Raises:
        RunError: If there is no such method, a setting is not the method's, or its value is of another type.
    """
    if name not in METHODS:
        raise RunError(
            f"there is no training method {name}",
            expected=f"one of {', '.join(METHODS)}",
            got=repr(name),
            remedy="give another --method",
        )
    known = METHODS[name].setting_names()
    unknown = sorted(options.keys() - set(known))
    if unknown:
        raise RunError(
            f"the training method {name} has no such setting",
            expected=f"among {', '.join(known)}" if known else "none: it has no settings",
            got=", ".join(unknown),
            remedy="leave it out of method_options (--method-options)",
        )
    method = METHODS[name](**options)
    for one in fields(method):
        kinds = get_args(one.type) or (one.type,)
        if one.name in options and (int in kinds or float in kinds):
            _check_number(method, one.name, options[one.name], kinds)
        elif one.name in options and bool in kinds:
            method.check(one.name, "true or false", holds=isinstance(options[one.name], bool))
    return method


def _check_number(method: Sequential, name: str, value: Any, kinds: tuple[Any, ...]) -> None:  # noqa: ANN401
    """Raises RunError unless a setting that holds a number holds one, a whole one where only these are known."""
    number, words = (Real, "a number") if float in kinds else (Integral, "a whole number")
    none = type(None) in kinds
    holds = isinstance(value, number) and not isinstance(value, bool) and math.isfinite(value)
    holds = holds or (value is None and none)
    method.check(name, f"{words}, or none" if none else words, holds=holds)

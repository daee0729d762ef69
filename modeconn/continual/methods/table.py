"""The methods by name."""

from collections.abc import Mapping
from typing import Any

from modeconn.continual.methods.averaged import MovingAverage, Soup
from modeconn.continual.methods.derpp import DERpp
from modeconn.continual.methods.ewc import EWC, OnlineEWC
from modeconn.continual.methods.gem import AGEM, GEM
from modeconn.continual.methods.ilora import ILoRA
from modeconn.continual.methods.lwf import LwF
from modeconn.continual.methods.mcsgd import MCSGD
from modeconn.continual.methods.method import Sequential
from modeconn.continual.methods.multi_task import MultiTask
from modeconn.continual.methods.olora import OLoRA
from modeconn.continual.methods.path_merge import PathMerge
from modeconn.continual.methods.per_task import OneAdapterPerTask
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
    )
}


def make_method(name: str, options: Mapping[str, Any]) -> Sequential:
    """A method from its name and settings.

    Raises:
        RunError: If there is no such method, or a setting is not the method's.
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
    return METHODS[name](**options)

"""The methods by name."""

from collections.abc import Mapping
from typing import Any

from modeconn.continual.methods.ilora import ILoRA
from modeconn.continual.methods.method import Sequential
from modeconn.continual.methods.replay import Replay
from modeconn.errors import RunError

METHODS: Mapping[str, type[Sequential]] = {kind.name: kind for kind in (Sequential, Replay, ILoRA)}


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

"""What can be measured: which points, with which settings."""

from collections import Counter
from collections.abc import Sequence

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.part import BaseWeights
from modeconn.errors import AdapterError, EvaluationError, listed
from modeconn.geometry.intruders import LOOKED_AT, check_intruder_settings


def check_points(points: Sequence[Adapter], *, base: BaseWeights | None) -> None:
    """Raise unless there are points with names of their own that change weights, known without a base or with it.

    Raises:
        AdapterError: If not.
    """
    if not points:
        raise AdapterError(
            "there is nothing whose geometry could be measured",
            expected="one checkpoint or more",
            got="none",
            remedy="give adapters or full fine-tunes",
        )
    twice = [name for name, count in Counter(point.name for point in points).items() if count > 1]
    if twice:
        raise AdapterError(
            "the points cannot be told apart",
            expected="a name of its own for every point",
            got=f"more than once: {listed(twice)}",
            remedy="name them: Adapter.from_pretrained(folder, name=...)",
        )
    without = [f"{point.name} ({point.config.kind.name})" for point in points if not point.updates]
    if without:
        raise AdapterError(
            "there is no weight update whose geometry could be measured",
            expected="checkpoints that add something to the base's weights",
            got=listed(without),
            remedy="leave out prompts, bottleneck adapters and bare modules: nothing of them is a dW",
        )
    unknown = [f"{point.name} ({point.config.kind.name})" for point in points if point.needs_base]
    if unknown and base is None:
        raise AdapterError(
            "updates are not known without the base model",
            expected="the base's weights, of which some updates are functions",
            got=f"no base, and {listed(unknown)}",
            remedy="pass base=FullModel.open(folder), on the command line --base-model",
        )


def check_settings(directions: int, principal: int, threshold: float, *, base: BaseWeights | None) -> None:
    """Raise unless the settings mean something.

    Raises:
        EvaluationError: If not.
    """
    check_intruder_settings(LOOKED_AT, threshold)
    if directions < 1 or principal < 0:
        raise EvaluationError(
            "subspaces of no directions cannot be compared",
            expected="directions of 1 or more, principal of 0 or more",
            got=f"directions={directions}, principal={principal}",
            remedy="take the default, directions=32",
        )
    if principal and base is None:
        raise EvaluationError(
            "updates cannot be held against the base's singular directions",
            expected="the base's weights",
            got=f"principal={principal} and no base",
            remedy="pass base=FullModel.open(folder), on the command line --base-model; or principal=0",
        )

"""Results that combine the learner's checkpoints: `(1 - t) former result + t newest checkpoint`, task after task."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch

from modeconn.adapters.adapter import Adapter, combine
from modeconn.adapters.kinds.table import KINDS
from modeconn.adapters.truncating import with_factors, without_form
from modeconn.continual.methods.method import Result, Sequential, State
from modeconn.continual.starting import FULL, RECIPES
from modeconn.errors import RunError, listed

if TYPE_CHECKING:
    from modeconn.continual.run import Run

Space = Literal["weights", "factors"]


class Merged(Protocol):
    """A point that moves towards each newest checkpoint."""

    @property
    def result(self) -> Result:
        """Where it is; None before the first checkpoint."""
        ...

    def line(self) -> Callable[[float], Result]:
        """The line from the result to the learner as it is now, `t -> (1 - t) result + t learner`.

        The learner itself everywhere where there is no result yet.
        """
        ...

    def take(self, t: float) -> None:
        """The point at t is the result from now on."""
        ...

    def state(self) -> State:
        """All that is needed to be here again."""
        ...

    def restore(self, state: State) -> None:
        """Take up what `state` gave."""
        ...


def merged(method: Sequential, run: "Run", space: Space) -> Merged:
    """Nothing yet, to be merged in a space; of full fine-tunes both spaces are one.

    Raises:
        RunError: If the space is unknown, or the learner's updates have no exact combination.
    """
    method.check("space", "weights or factors", holds=space in Space.__args__)
    if space == "factors" or run.settings.adapter == FULL:
        return MergedTensors(run)
    check_combinable(method, run)
    return MergedUpdates(run)


class MergedTensors:
    """The learner's tensors combined one by one.

    Args:
        run: The run.
    """

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._tensors: dict[str, torch.Tensor] = {}

    @property
    def result(self) -> Result:
        """The tensors."""
        return self._tensors or None

    def line(self) -> "Callable[[float], dict[str, torch.Tensor]]":
        """The tensors between."""
        newest = self._run.weights()
        former = self._tensors or newest
        return lambda t: {name: torch.lerp(value, newest[name], t) for name, value in former.items()}

    def take(self, t: float) -> None:
        """Keep them."""
        self._tensors = self.line()(t)

    def state(self) -> State:
        """The tensors."""
        return {"tensors": self._tensors}

    def restore(self, state: State) -> None:
        """Take them up."""
        self._tensors = {name: value.to(self._run.model.device) for name, value in state["tensors"].items()}


@dataclass(frozen=True)
class _Member:
    """A checkpoint in a combination: its coefficient, the learner's weights then, and the point that they are."""

    coefficient: float
    weights: dict[str, torch.Tensor]
    point: Adapter


class MergedUpdates:
    """The checkpoints' updates combined, exactly and never formed densely: `sum_k c_k dW_k`.

    Args:
        run: The run.
    """

    def __init__(self, run: "Run") -> None:
        self._run = run
        self._members: list[_Member] = []

    @property
    def result(self) -> Result:
        """The combination."""
        return _combined(self._members) if self._members else None

    def line(self) -> Callable[[float], Result]:
        """The points of `LinearPath(result, learner)`."""
        newest = self._newest()
        return lambda t: _combined(self._joined(newest, t))

    def take(self, t: float) -> None:
        """Keep its members."""
        self._members = self._joined(self._newest(), t)

    def state(self) -> State:
        """Coefficients and weights."""
        return {"members": [{"coefficient": one.coefficient, "weights": one.weights} for one in self._members]}

    def restore(self, state: State) -> None:
        """Take them up."""
        self._members = [
            self._member(one["coefficient"], {name: value.cpu() for name, value in one["weights"].items()})
            for one in state["members"]
        ]

    def _newest(self) -> _Member:
        """The learner as it is now."""
        return self._member(1.0, {name: value.cpu() for name, value in self._run.weights().items()})

    def _joined(self, newest: _Member, t: float) -> list[_Member]:
        """The members of the point at t, without those that count nothing."""
        t = t if self._members else 1.0
        former = [replace(one, coefficient=(1 - t) * one.coefficient) for one in self._members]
        return [one for one in (*former, replace(newest, coefficient=t)) if one.coefficient]

    def _member(self, coefficient: float, weights: dict[str, torch.Tensor]) -> _Member:
        """A checkpoint from the learner's weights."""
        placed = {name: value.to(self._run.model.device) for name, value in weights.items()}
        return _Member(coefficient, weights, self._run.point(placed))


def _combined(members: list[_Member]) -> Adapter:
    """The point that members make."""
    return combine([one.coefficient for one in members], [one.point for one in members], name="merged")


def check_combinable(method: Sequential, run: "Run") -> None:
    """Raise unless combinations of the learner's checkpoints are adapters that plain PEFT loads.

    Raises:
        RunError: If the adapter has no weight update, or one without exact factors.
    """
    kind = FULL if run.settings.adapter == FULL else RECIPES[run.settings.adapter].peft_type
    if kind != FULL and KINDS[kind].has_update:
        half = combine((0.5, 0.5), (run.point(), run.point()))
        lacking = without_form(with_factors(half, lambda: run.model))  # type: ignore[arg-type, return-value]
        if not lacking:
            return
        got = f"{run.settings.adapter}, whose updates have none: {listed(lacking)}"
    else:
        got = f"{run.settings.adapter}, which has no low-rank weight update"
    raise RunError(
        f"the training method {method.name} cannot combine checkpoints of this adapter in weights space",
        expected="an adapter whose updates have exact low-rank factors, such as lora, pissa or wegeft",
        got=got,
        remedy='train another adapter; or give space="factors" in method_options (--method-options), where the method'
        " has it",
    )

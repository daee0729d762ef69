"""One command in several processes, as `torchrun` and `accelerate launch` start them: who does what, how all end."""

import os
import pickle
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from modeconn.errors import RunError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Item = TypeVar("Item")
# A process that still lives but has not come for so long is given up; one that has died is noticed at once.
_PATIENCE = timedelta(hours=6)


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several that a launcher started."""
    return "RANK" in environment and int(environment.get("WORLD_SIZE") or 1) > 1


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a process made of its part: a value, or an error in a form that travels."""

    value: T | None = None
    failure: "_Failure | None" = None

    def result(self) -> T:
        """The value; raises the error, if that is what came."""
        if self.failure is not None:
            raise self.failure.error()
        return self.value  # type: ignore[return-value]


class Processes:
    """The processes of one command; made directly, the one process of a command that nobody launched.

    All run the same program. They meet where they exchange results, always in the same order; what each does between
    is its own. An error of one is raised in all at their next meeting, which is then the last. The main process, number
    0, alone writes and prints.

    Attributes:
        index: The number of this process.
        count: How many there are; 1 once this process is on its own.

    Example:
        >>> Processes().share([1, 2, 3], lambda number: number**2)
        [1, 4, 9]
    """

    def __init__(self) -> None:
        self.index, self.count, self._local_index = 0, 1, 0

    @classmethod
    def joined(cls, *, patience: timedelta = _PATIENCE) -> Self:
        """Those that the launcher started, found through accelerate; they talk over the CPU (gloo).

        Args:
            patience: How long a process waits for another that lives.
        """
        from accelerate import PartialState

        self = cls()
        with warnings.catch_warnings():  # how many threads a process has is the launcher's affair
            warnings.filterwarnings("ignore", "OMP_NUM_THREADS/MKL_NUM_THREADS unset")
            state = PartialState(cpu=True, timeout=patience)
        self.index, self.count, self._local_index = state.process_index, state.num_processes, state.local_process_index
        return self

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.index == 0

    def outcomes(self, work: Callable[[], T]) -> list[Outcome[T]]:
        """What every process makes of its own work, in the order of the processes, the same in all.

        Raises:
            RunError: If a process has gone.
        """
        if self.count == 1:
            return [Outcome(work())]
        try:
            own = Outcome(work())
        except Exception as error:
            own = Outcome(failure=_Failure.of(error, self.index))
        return self._exchanged(own)

    def gathered(self, work: Callable[[], T]) -> list[T]:
        """The values of `outcomes`; the first error of any process is raised in all."""
        return [outcome.result() for outcome in self.outcomes(work)]

    def share(self, items: Sequence[Item], work: Callable[[Item], T]) -> list[T]:
        """The results of work on every item, each done by one process, `[N] -> [N]`."""
        own = slice(self.index, None, self.count)
        lists = self.gathered(lambda: [work(item) for item in items[own]])
        return [lists[number % self.count][number // self.count] for number in range(len(items))]

    def from_main(self, work: Callable[[], T]) -> T:
        """What the main process makes of work that is its own, known to all."""
        return self.gathered(lambda: work() if self.is_main else None)[0]  # type: ignore[return-value]

    def summed(self, tensors: "Sequence[torch.Tensor]") -> "list[torch.Tensor]":
        """The sums of float32 tensors over all processes, with the same bits in each; shapes are equal in all.

        All must know by then that none has failed: call it right after `gathered`.
        """
        if self.count == 1 or not tensors:
            return list(tensors)
        import torch

        flat = torch.cat([one.detach().flatten().float().cpu() for one in tensors])
        try:
            torch.distributed.all_reduce(flat)
        except RuntimeError as error:
            count, self.count = self.count, 1
            raise _lost(count, error) from error
        return [part.view_as(one) for part, one in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]

    def part(self) -> None:
        """Ends what is done together: all wait for one another, then the main process goes on alone."""
        self.gathered(lambda: None)
        self.count = 1

    def device(self, asked: str) -> str:
        """The device of this process: of several GPUs each process has its own, `cuda` becomes `cuda:1`."""
        if self.count == 1 or asked not in ("cuda", "xpu"):
            return asked
        import torch

        available = torch.get_device_module(asked).device_count()
        return f"{asked}:{self._local_index % available}" if available else asked

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error between two meetings: the others learn of it where they next exchange results.
        if self.count > 1 and isinstance(error, Exception):
            with suppress(RunError):  # they have gone: this process has its own error to tell
                self._exchanged(Outcome(failure=_Failure.of(error, self.index)))

    def _exchanged(self, own: Outcome[T]) -> list[Outcome[T]]:
        """The outcomes of all; after an error of any there is no further meeting."""
        from accelerate.utils import gather_object

        try:
            found = gather_object([own])
        except RuntimeError as error:  # the transport's: a connection is closed, or nobody came in time
            count, self.count = self.count, 1
            raise _lost(count, error) from error
        if any(outcome.failure for outcome in found):
            self.count = 1
        return found


@dataclass(frozen=True)
class _Failure:
    """An error on its way to other processes; errors with arguments of their own kind do not survive pickling."""

    kind: type[Exception]
    arguments: tuple[Any, ...]
    state: dict[str, Any]
    trace: str
    index: int

    @classmethod
    def of(cls, error: Exception, index: int) -> Self:
        """The failure of a process."""
        trace = "".join(traceback.format_exception(error))
        try:
            pickle.loads(pickle.dumps((type(error), error.args, vars(error))))
        except Exception:  # anything may be in an error of another library
            return cls(RuntimeError, (f"{type(error).__name__}: {error}",), {}, trace, index)
        return cls(type(error), error.args, dict(vars(error)), trace, index)

    def error(self) -> Exception:
        """The error as it was, with a note of where it was raised."""
        made = self.kind.__new__(self.kind, *self.arguments)
        vars(made).update(self.state)
        made.add_note(f"raised in process {self.index}:\n{self.trace}")
        return made


def _lost(count: int, error: Exception) -> RunError:
    """The error of a process whose fellows have gone."""
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RunError(
        "a process of this launch has gone",
        expected=f"{count} processes that end together",
        got=first_line[:200],
        remedy="see what ended it (killed, out of memory); the same command goes on from what is finished",
    )

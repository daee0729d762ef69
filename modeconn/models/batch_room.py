"""How many tokens a batch may have: what a limit of the memory leaves, and what was too much before."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import nn

from modeconn.errors import ModelError
from modeconn.models.live_bytes import LiveBytes
from modeconn.models.memory_limits import MemoryLimit, memory_bytes
from modeconn.models.quantised import packed


@dataclass
class Learned:
    """The sizes of batches that were too large for the memory; they are not tried again.

    Attributes:
        most: Tokens of a batch that may fit; None where none has failed.
    """

    most: int | None = None

    def takes(self, tokens: int) -> bool:
        """Whether a batch of some tokens may fit."""
        return self.most is None or tokens <= self.most

    def refused(self, tokens: int) -> None:
        """Remember that a batch did not fit."""
        self.most = tokens - 1 if self.most is None else min(self.most, tokens - 1)


@dataclass(frozen=True)
class Room:
    """The room for batches of one kind.

    Attributes:
        learned: What was too large before.
        most: The tokens that a limit leaves room for; None without one.
        limit: The limit in words.
    """

    learned: Learned = field(default_factory=Learned)
    most: int | None = None
    limit: str = ""

    def takes(self, tokens: int) -> bool:
        """Whether a batch of some tokens may fit."""
        return self.learned.takes(tokens) and (self.most is None or tokens <= self.most)

    def check_row(self, tokens: int) -> None:
        """Raise if a row alone is too large for the limit.

        Args:
            tokens: Those of the row.

        Raises:
            ModelError: If it is.
        """
        if self.most is not None and tokens > self.most:
            raise ModelError(
                f"a row of {tokens} tokens does not fit into max_memory (--max-memory)",
                expected=f"rows of at most {self.most} tokens, for which there is room beside the weights",
                got=f"a limit of {self.limit} for weights and batch",
                remedy=f"give more memory, or a max_length below {tokens} (--max-length)",
            )


@dataclass
class BatchMemory:
    """What one model knows of the memory for its batches; kept for as long as the model is.

    A limit is for the tensors: the base's weights, the point's, and all that a batch makes on its way, which is counted
    for the longest row of a split and taken to grow with the tokens. The libraries' own memory comes on top.

    Attributes:
        limit: Bytes of weights and batch together; None without a limit.
        scoring: What was too large to be scored.
        writing: What was too large to be written.
    """

    limit: int | None = None
    scoring: Learned = field(default_factory=Learned)
    writing: Learned = field(default_factory=Learned)
    _base: dict[int, int] = field(default_factory=dict)  # the base's tensors: place -> bytes
    _bytes_a_token: dict[tuple[str, str], float] = field(default_factory=dict)  # task and split -> bytes

    @classmethod
    def of(cls, model: nn.Module, max_memory: MemoryLimit | None) -> "BatchMemory":
        """The room beside a base.

        Args:
            model: The base.
            max_memory: GiB, or a number with its unit.

        Raises:
            ModelError: If it is no amount of memory, or too little for the base.
        """
        if max_memory is None:
            return cls()
        if not isinstance(max_memory, float | int | str):
            raise ModelError(
                "max_memory (--max-memory) names devices, but the base is on one",
                expected='one amount, as "12GiB"',
                got=repr(max_memory),
                remedy='give one amount, or device_map="auto" (--device-map auto)',
            )
        room = cls(memory_bytes(max_memory), _base=dict(_tensors(model)))
        if room.limit is not None and room.held(model) >= room.limit:
            raise ModelError(
                "the base model does not fit into max_memory (--max-memory)",
                expected=f"more than the {_told(room.held(model))} of its weights",
                got=_told(room.limit),
                remedy='give more, a narrower dtype (--dtype bfloat16), or device_map="auto" (--device-map auto), which'
                " leaves the rest on the disk",
            )
        return room

    def held(self, module: nn.Module) -> int:
        """Bytes of the weights in memory: the base's, and those that a module has beside them or in their place."""
        return sum({**self._base, **dict(_tensors(module))}.values())

    def most_tokens(self, module: nn.Module) -> int | None:
        """The tokens that the limit leaves room for in any split that was scored; None without a limit or a split.

        Args:
            module: The module that is at a point.
        """
        if self.limit is None or not self._bytes_a_token:
            return None
        return int(max(0, self.limit - self.held(module)) / max(self._bytes_a_token.values()))

    def room(self, key: tuple[str, str], module: nn.Module, probe: Callable[[], int]) -> Room:
        """The room for the batches of a split that are scored.

        Args:
            key: Task and split.
            module: The module that is at a point.
            probe: Scores a row of the split, and says how many tokens it has; called once a split, under a limit.
        """
        if self.limit is None:
            return Room(self.scoring)
        if key not in self._bytes_a_token:
            with LiveBytes() as counted:
                tokens = probe()
            self._bytes_a_token[key] = counted.most / tokens
        left = max(0, self.limit - self.held(module))
        return Room(self.scoring, int(left / self._bytes_a_token[key]), _told(self.limit))


def _tensors(model: nn.Module) -> Iterator[tuple[int, int]]:
    """Place and bytes of a model's tensors."""
    for one in (*model.parameters(), *model.buffers()):
        for part in packed(one).values():
            yield part.data_ptr(), part.nbytes


def _told(size: int) -> str:
    """Bytes in words."""
    return f"{size / 2**30:.3g} GiB" if size >= 2**30 / 10 else f"{size / 2**20:.3g} MiB"

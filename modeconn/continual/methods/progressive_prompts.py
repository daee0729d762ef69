"""Progressive prompts: a new soft prompt for every task, in front of the earlier ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, get_args

import torch
from torch import nn

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.config import AdapterConfig
from modeconn.continual.methods.method import Result, Sequential, State
from modeconn.errors import RunError
from modeconn.models.loading import position_limit

if TYPE_CHECKING:
    from modeconn.continual.run import Run

AnsweredBy = Literal["own", "newest"]
_WEIGHT, _SAVED, _ADAPTER = "prompt_encoder.default.embedding.weight", "prompt_embeddings", "prompt-tuning"


@dataclass
class ProgressivePrompts(Sequential):
    """Progressive prompts (Razdaibiedina 2023, arXiv 2301.12314), on PEFT's prompt tuning.

    For task t the model reads `[P_t, P_{t-1}, ..., P_1, text]`, of which only `P_t`, and a head, is trained; it begins
    with the embeddings of tokens drawn from the vocabulary. The checkpoint is one prompt of `t V` vectors. The
    published reparametrisation of `P_t` by a network of its own is not here.

    Attributes:
        answered_by: Which checkpoint answers a task's questions: its "own", with the prompts up to `P_t`, as public
            code measures it, which must be told the task and forgets nothing; or the "newest".
    """

    answered_by: AnsweredBy = "own"

    name: ClassVar[str] = "progressive-prompts"
    _num_vectors: int = field(init=False, repr=False, compare=False)
    _frozen: torch.Tensor = field(init=False, repr=False, compare=False)
    _apart: bool = field(init=False, repr=False, compare=False)

    def start(self, run: "Run") -> Self:
        """With no earlier prompts."""
        mine = super().start(run)
        mine.check("answered_by", "own or newest", holds=mine.answered_by in get_args(AnsweredBy))
        if run.settings.adapter != _ADAPTER:
            raise RunError(
                f"the training method {mine.name} trains prompts",
                expected=f"--adapter {_ADAPTER}",
                got=run.settings.adapter,
                remedy=f"train with --adapter {_ADAPTER}, or with another --method",
            )
        mine._num_vectors = int(mine._config.num_virtual_tokens)
        mine._check_room()
        mine._frozen = mine._prompt.detach()[:0].clone()
        mine._apart = False
        mine._peft_model.prompt_encoder["default"].register_forward_hook(mine._append)
        return mine

    def start_task(self, number: int) -> None:
        """The last task's prompt joins the frozen ones, and a new one begins."""
        if number > 1:
            self._frozen = self._all()
            self._config.num_virtual_tokens = self._num_vectors + len(self._frozen)
        table: Any = self.run.model.module.get_input_embeddings()  # type: ignore[operator]
        generator = torch.Generator().manual_seed(self.run.settings.seed * 1_000_003 + number)
        tokens = torch.randint(len(table.weight), (len(self._prompt),), generator=generator)
        self._prompt.data.copy_(table.weight[tokens.to(table.weight.device)].detach())

    def result(self) -> Result:
        """All prompts as one, with the head as it is."""
        with self._newest_alone():
            point = self.run.point(name="prompts")
        every = self._all().cpu()
        raw = {**point.config.raw, "num_virtual_tokens": len(every)}
        unread = (raw.get("num_transformer_submodules") or 1) - 1  # PEFT makes room for a decoder's, and reads it not
        rows = torch.cat([every, every.new_zeros(unread * len(every), every.shape[1])])
        return Adapter.from_tensors(
            {**point.tensors, _SAVED: rows},
            AdapterConfig.parse(raw, "the prompts"),
            name="prompts",
            provenance=point.provenance,
        )

    def checkpoint_for(self, task: int, newest: int) -> int:
        """The task's own, where it has one and is asked for."""
        return min(task, newest) if self.answered_by == "own" else newest

    def state(self) -> State:
        """The frozen prompts."""
        return {"frozen": self._frozen}

    def restore(self, state: State) -> None:
        """Take them up."""
        self._frozen = state["frozen"].to(self._prompt.device)
        self._config.num_virtual_tokens = self._num_vectors + len(self._frozen)

    @property
    def _peft_model(self) -> Any:  # noqa: ANN401
        """PEFT's model."""
        return self.run.learner.module.peft_model

    @property
    def _config(self) -> Any:  # noqa: ANN401
        """Its settings, from which it takes the length of the prompt."""
        return self._peft_model.active_peft_config

    @property
    def _prompt(self) -> nn.Parameter:
        """What is trained, `[V, D]`, or `[2 V, D]` with a part that is not read."""
        return self.run.learner.weights[_WEIGHT]

    def _all(self) -> torch.Tensor:
        """All prompts, the newest first, `[t V, D]`."""
        return torch.cat([self._prompt.detach()[: self._num_vectors], self._frozen])

    @contextmanager
    def _newest_alone(self) -> Iterator[None]:
        """The learner without the frozen prompts."""
        length, self._apart = self._config.num_virtual_tokens, True
        self._config.num_virtual_tokens = self._num_vectors
        try:
            yield
        finally:
            self._config.num_virtual_tokens, self._apart = length, False

    def _append(self, encoder: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        """A forward hook: the frozen prompts behind the new one, `[B, t V, D]`."""
        del encoder, inputs
        if self._apart or not len(self._frozen):
            return output
        frozen = self._frozen.to(output.dtype).expand(len(output), -1, -1)
        return torch.cat([output[:, : self._num_vectors], frozen], dim=1)

    def _check_room(self) -> None:
        """Raise unless all prompts fit before the longest text."""
        run, limit = self.run, position_limit(self.run.model.module)
        needed = self._num_vectors * len(run.train_sets)
        rows = [row for split in (*run.train_sets, *run.eval_sets) for row in split.rows.rows]
        longest = max(run.model.family.length(row) for row in rows)
        if limit is not None and longest + needed > limit:
            raise RunError(
                f"the prompts of {len(run.train_sets)} tasks leave too little room for the texts",
                expected=f"at most {limit} positions",
                got=f"{needed} vectors before {longest} tokens",
                remedy=f"give max_length={max(limit - needed, 1)} (--max-length), or fewer num_virtual_tokens",
            )

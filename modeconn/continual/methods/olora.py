"""O-LoRA: a new adapter for every task, in directions that the earlier ones do not read."""

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import nn
from torch.nn import functional

from modeconn.adapters.part import LowRank
from modeconn.adapters.update import Update
from modeconn.continual.methods.lora_pairs import Pair, lora_pairs, with_updates
from modeconn.continual.methods.method import Result, Sequential, State

if TYPE_CHECKING:
    from modeconn.continual.run import Run

Frozen = dict[str, tuple[torch.Tensor, torch.Tensor]]  # module -> B and A of all earlier tasks, side by side


@dataclass
class OLoRA(Sequential):
    """Orthogonal subspace learning (Wang 2023, arXiv 2310.14152).

    For task t the model is `W + s sum_{i < t} B_i A_i + s B_t A_t`; only the last pair is trained, and a head if any:

        L = cross-entropy + orthogonality_weight * mean over modules of mean_{i < t, j, k} |cos(A_i[j], A_t[k])|

    The penalty of public code is the sum of `|A_i A_t^T|` over all entries and modules (the paper writes squares): it
    grows with their number and with the size of A, and `published_sum` has it. The checkpoint is the sum of all
    adapters as one of rank `t r`.

    Attributes:
        orthogonality_weight: Weight of the penalty; 0.5 is that of most published runs, for the published sum.
        published_sum: Whether the penalty is the published sum in place of the mean cosine.
    """

    orthogonality_weight: float = 0.5
    published_sum: bool = False

    name: ClassVar[str] = "o-lora"
    _pairs: tuple[Pair, ...] = field(init=False, repr=False, compare=False)
    _frozen: Frozen = field(init=False, repr=False, compare=False)

    def start(self, run: "Run") -> Self:
        """With no earlier adapters."""
        mine = super().start(run)
        mine.check("orthogonality_weight", "0 or more", holds=mine.orthogonality_weight >= 0)
        mine._pairs = lora_pairs(mine, run)
        mine._frozen = {}
        for pair in mine._pairs:
            layer = run.learner.module.get_submodule(pair.module)
            layer.register_forward_hook(partial(mine._add_frozen, pair))
        return mine

    def start_task(self, number: int) -> None:
        """The last task's pair joins the frozen ones, and a new one begins."""
        if number > 1:
            self._frozen = self._joined()
            self._begin_anew(self.run.settings.seed * 1_000_003 + number)

    def weight_penalty(self) -> torch.Tensor | None:
        """How far the new rows of A are from orthogonal to the earlier ones."""
        if not (self._frozen and self.orthogonality_weight):
            return None
        weights = self.run.learner.weights
        measure = _published if self.published_sum else _mean_cosine
        values = [measure(self._frozen[pair.module][1], weights[pair.down]) for pair in self._pairs]
        total = torch.stack(values).sum() if self.published_sum else torch.stack(values).mean()
        return self.orthogonality_weight * total

    def result(self) -> Result:
        """The sum of all adapters, with the head as it is."""
        joined = {module: (up.cpu(), down.cpu()) for module, (up, down) in self._joined().items()}
        updates = {pair.parameter: Update.of(LowRank(*joined[pair.module], pair.scaling)) for pair in self._pairs}
        return with_updates(self.run.point(name="sum"), updates)

    def state(self) -> State:
        """The frozen pairs."""
        return {"frozen": {module: list(pair) for module, pair in self._frozen.items()}}

    def restore(self, state: State) -> None:
        """Take them up."""
        device = self.run.model.device
        self._frozen = {module: (up.to(device), down.to(device)) for module, (up, down) in state["frozen"].items()}

    def _joined(self) -> Frozen:
        """The frozen pairs with the learner's beside them."""
        found: Frozen = {}
        for pair in self._pairs:
            up, down = (self.run.learner.weights[name].detach() for name in (pair.up, pair.down))
            if pair.module in self._frozen:
                before_up, before_down = self._frozen[pair.module]
                up, down = torch.cat([before_up, up], dim=1), torch.cat([before_down, down])  # [out, t r], [t r, in]
            found[pair.module] = (up.clone(), down.clone())
        return found

    @torch.no_grad()
    def _begin_anew(self, seed: int) -> None:
        """LoRA's usual start, drawn with a seed of its own: A Kaiming uniform (a = sqrt 5), B zero."""
        generator = torch.Generator().manual_seed(seed)
        for pair in self._pairs:
            down = self.run.learner.weights[pair.down]
            drawn = torch.empty(down.shape)
            nn.init.kaiming_uniform_(drawn, a=5**0.5, generator=generator)
            down.copy_(drawn)
            self.run.learner.weights[pair.up].zero_()

    def _add_frozen(self, pair: Pair, layer: nn.Module, inputs: Any, output: torch.Tensor) -> torch.Tensor:  # noqa: ANN401
        """A forward hook: what the earlier adapters of a module add."""
        del layer
        if pair.module not in self._frozen:
            return output
        up, down = self._frozen[pair.module]
        read = inputs[0].to(down.dtype)
        added = functional.linear(functional.linear(read, down), up)
        return output + (pair.scaling * added).to(output.dtype)


def _mean_cosine(earlier: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The mean absolute cosine of rows, of `[R, in]` and `[r, in]`."""
    return (functional.normalize(earlier, dim=1) @ functional.normalize(new, dim=1).T).abs().mean()


def _published(earlier: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    """The sum of absolute inner products of rows."""
    return (earlier @ new.T).abs().sum()

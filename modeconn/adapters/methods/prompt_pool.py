"""A pool of prompts with a key each, of which every text gets those whose keys are nearest to it."""

from typing import Any, NamedTuple

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn import functional

from modeconn.errors import AdapterError


class Choice(NamedTuple):
    """The prompts that a pool put before texts; N prompts a text, V vectors a prompt.

    Attributes:
        places: Their numbers in the pool, the nearest first, `[B, N]`.
        distances: `1 - cos(query, key)` of each, `[B, N]`; gradients reach the keys.
        vectors: The prompts one after the other, `[B, N V, E]`.
    """

    places: torch.Tensor
    distances: torch.Tensor
    vectors: torch.Tensor


class PromptPool(nn.Module, BaseTunerLayer):
    """Pools of prompts, one an adapter.

    Attributes:
        l2p_prompts: Adapter -> M prompts of V vectors, `[M, V, E]` with E the width of the embeddings.
        l2p_keys: Adapter -> their keys, `[M, D]` with D the width of the hidden states.
        top_n: Adapter -> N, the prompts that a text gets.
        penalty: What distances are multiplied with before the nearest are taken, `[M]`; in training only.
    """

    adapter_layer_names = ("l2p_prompts", "l2p_keys")
    other_param_names = ("top_n",)

    def __init__(self) -> None:
        super().__init__()
        self.l2p_prompts, self.l2p_keys = nn.ParameterDict(), nn.ParameterDict()
        self.top_n: dict[str, int] = {}
        self.penalty: torch.Tensor | None = None
        self.merged_adapters: list[str] = []

    def add(self, adapter: str, config: Any, table: torch.Tensor, width: int) -> None:  # noqa: ANN401
        """Give the model one more pool: prompts of tokens that are drawn from the vocabulary, keys uniform in [-1, 1].

        Args:
            adapter: Its name.
            config: Its settings.
            table: The embeddings of the vocabulary, `[C, E]`.
            width: D.
        """
        tokens = torch.randint(len(table), (config.pool_size, config.prompt_length))
        prompts = table.detach()[tokens.to(table.device)].float()  # [M, V, E]; a new tensor
        keys = torch.empty(config.pool_size, width, device=table.device).uniform_(-1, 1)
        self.l2p_prompts[adapter], self.l2p_keys[adapter] = nn.Parameter(prompts), nn.Parameter(keys)
        self.top_n[adapter] = config.top_n

    def forward(self, query: torch.Tensor) -> Choice:
        """The prompts with the nearest keys.

        Args:
            query: What texts are looked up by, `[B, D]`.

        Raises:
            AdapterError: If several pools are active.
        """
        if len(self.active_adapters) != 1:
            raise AdapterError(
                "prompts cannot be chosen from several pools at once",
                expected="one active adapter",
                got=", ".join(self.active_adapters) or "none",
                remedy="activate one with set_adapter",
            )
        (adapter,) = self.active_adapters
        keys, prompts = self.l2p_keys[adapter], self.l2p_prompts[adapter]
        cosines = functional.normalize(query.to(keys)) @ functional.normalize(keys).T  # [B, M]
        distances = 1 - cosines
        places = self._ranked(distances.detach())[:, : self.top_n[adapter]]  # [B, N]
        vectors = prompts[places].flatten(1, 2)  # [B, N, V, E] -> [B, N V, E]
        return Choice(places, distances.gather(1, places), vectors)

    def _ranked(self, distances: torch.Tensor) -> torch.Tensor:
        """All prompts in the order in which they are taken, `[B, M]`; equal penalties leave the nearer one first."""
        order = distances.argsort(dim=1, stable=True)
        if not self.training or self.penalty is None:
            return order
        penalised = (distances * self.penalty.to(distances)).gather(1, order)
        return order.gather(1, penalised.argsort(dim=1, stable=True))

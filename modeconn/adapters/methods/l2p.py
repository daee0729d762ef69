"""Learning to prompt as a PEFT method: prompts that every text chooses from a pool."""

import inspect
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft import PeftConfig, PeftType
from peft.tuners.tuners_utils import BaseTuner
from torch import nn
from torch.nn import functional

from modeconn.adapters.kinds.values import is_rank
from modeconn.adapters.methods.prompt_pool import PromptPool
from modeconn.adapters.methods.registration import register
from modeconn.errors import AdapterError

POOL = "prompt_pool"  # the module's name in the model
_UNSCORED = -100  # transformers' label of what is not learnt
_NOT_READ = ("inputs_embeds", "position_ids", "past_key_values")


@dataclass
class L2PConfig(PeftConfig):
    """Settings of learning to prompt, L2P (Wang 2022, arXiv 2112.08654).

    A text is looked up by its query, the mean of the base model's last hidden states over its tokens (of an
    encoder-decoder the encoder's), without prompts and without dropout. The `top_n` prompts whose keys have the highest
    cosine with it stand before the text, the nearest first. An answer that follows the text is no part of the query.

    PEFT writes and reads the fields; it needs a dataclass that is not frozen.

    Attributes:
        pool_size: M, prompts in the pool.
        prompt_length: Vectors of a prompt.
        top_n: N, prompts that a text gets.
        num_virtual_tokens: `top_n * prompt_length`, the vectors before a text; it follows from these and is written
            beside them.
        modules_to_save: Modules that are trained and saved whole, such as a classification head.

    Raises:
        AdapterError: If a setting cannot be used.
    """

    pool_size: int = 10
    prompt_length: int = 5
    top_n: int = 5
    num_virtual_tokens: int | None = None
    modules_to_save: list[str] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        self.peft_type = PeftType("L2P")
        wrong = {
            name: "a whole number above 0"
            for name in ("pool_size", "prompt_length", "top_n")
            if not is_rank(getattr(self, name))
        }
        if not wrong and self.top_n > self.pool_size:
            wrong["top_n"] = f"at most the {self.pool_size} prompts of the pool"
        if not wrong and self.num_virtual_tokens not in (None, self.top_n * self.prompt_length):
            wrong["num_virtual_tokens"] = f"left out, or {self.top_n * self.prompt_length}: top_n * prompt_length"
        if wrong:
            raise AdapterError(
                "L2PConfig has settings that cannot be used",
                expected="; ".join(f"{name}: {expected}" for name, expected in wrong.items()),
                got=", ".join(f"{name}={getattr(self, name)!r}" for name in wrong),
                remedy=f"change {', '.join(wrong)} of L2PConfig",
            )
        self.num_virtual_tokens = self.top_n * self.prompt_length


class L2PModel(BaseTuner):
    """A model that reads every text behind the prompts that the text chooses; made by `get_peft_model`.

    As with PEFT's own prompts, the logits of a decoder begin with those of the prompts.
    """

    prefix = "l2p_"
    tuner_layer_cls = PromptPool
    target_module_mapping: ClassVar[dict[str, list[str]]] = {}  # type: ignore[misc]  # PEFT's has it on the instance

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG002
        """Add a pool; no module of the model is replaced."""
        config, base = self.peft_config[adapter_name], _reading_tokens(model)
        if not hasattr(model, POOL):
            setattr(model, POOL, PromptPool())
        table = base.get_input_embeddings().weight
        self._pool.add(adapter_name, config, table, base.config.get_text_config().hidden_size)
        self._mark_only_adapters_as_trainable(model)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        *,
        labels: torch.Tensor | None = None,
        answer_lengths: torch.Tensor | None = None,
        **rest: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """What the model says of texts behind their prompts.

        Args:
            input_ids: `[B, L]`.
            attention_mask: `[B, L]`, 0 at padding.
            labels: As the model takes them; of a decoder that writes `[B, L]`, of which only what is not learnt (-100)
                chooses prompts.
            answer_lengths: `[B]`, how many of a row's last tokens are the answer, where labels do not say.
            **rest: What else the model takes; no caches, positions or embeddings.

        Raises:
            AdapterError: If the model is given something else than tokens, or answers without a text.
        """
        if self._pool.disable_adapters:
            return self.model(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **rest)
        input_ids, rest = _readable(input_ids, rest)
        text = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        asked = text.bool()
        if answer_lengths is not None:
            asked = asked & (text.flip(1).cumsum(1).flip(1) > answer_lengths[:, None])
        if labels is not None and labels.shape == input_ids.shape and not self.model.config.is_encoder_decoder:
            asked = asked & (labels == _UNSCORED)
            labels = functional.pad(labels, (self._num_virtual, 0), value=_UNSCORED)
        inputs = self._behind_prompts(input_ids, attention_mask, asked)
        inputs |= self._positions(self.model, inputs.get("attention_mask"))
        if rest.get("token_type_ids") is not None:
            rest["token_type_ids"] = functional.pad(rest["token_type_ids"], (self._num_virtual, 0))
        if labels is not None:
            rest["labels"] = labels
        return self.model(**inputs, **rest)

    def generate(
        self,
        input_ids: torch.Tensor | None = None,
        *,
        attention_mask: torch.Tensor | None = None,
        **rest: Any,  # noqa: ANN401
    ) -> torch.Tensor:
        """What the model writes behind texts and their prompts, as transformers gives it: a decoder's texts included.

        Raises:
            AdapterError: If the model is given something else than tokens.
        """
        if self._pool.disable_adapters:
            return self.model.generate(input_ids=input_ids, attention_mask=attention_mask, **rest)
        input_ids, rest = _readable(input_ids, rest)
        asked = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        inputs = self._behind_prompts(input_ids, asked, asked.bool())
        written = self.model.generate(**inputs, **rest)
        return written if self.model.config.is_encoder_decoder else torch.cat([input_ids, written], dim=1)

    @torch.no_grad()
    def query(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
        """What texts are looked up by, `[B, D]`: the mean of last hidden states where `asked` is true, `[B, L]`."""
        apart = self.model.config.is_encoder_decoder
        trunk = self.model.get_encoder() if apart else self.model.base_model
        options: dict[str, Any] = self._positions(trunk, attention_mask)
        if "use_cache" in inspect.signature(trunk.forward).parameters:
            options["use_cache"] = False
        with _undisturbed(trunk):
            found = trunk(input_ids=input_ids, attention_mask=attention_mask, **options)
        states, counted = found.last_hidden_state.float(), asked[..., None].to(found.last_hidden_state.device)
        return states.masked_fill(~counted, 0.0).sum(1) / counted.sum(1)

    def _behind_prompts(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None, asked: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Embeddings and mask of texts with their prompts before them."""
        if not asked.any(1).all():
            raise AdapterError(
                "a text cannot choose its prompts",
                expected="tokens before the answer in every row",
                got=f"{int((~asked.any(1)).sum())} rows of {len(asked)} with none",
                remedy="give the prompt's tokens, with -100 as their labels",
            )
        read = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        vectors = self._pool(self.query(input_ids, read, asked)).vectors  # [B, N V, E]
        texts = self.model.get_input_embeddings()(input_ids)  # [B, L, E]
        inputs = {"inputs_embeds": torch.cat([vectors.to(texts), texts], dim=1)}
        if attention_mask is not None:
            inputs["attention_mask"] = functional.pad(attention_mask, (self._num_virtual, 0), value=1)
        return inputs

    def _positions(self, module: nn.Module, mask: torch.Tensor | None) -> dict[str, torch.Tensor]:
        """The positions of a decoder's rows `[B, L]`, which padding on the left does not move."""
        causal = self.peft_config[self.active_adapters[0]].task_type == "CAUSAL_LM"
        if mask is None or not causal or "position_ids" not in inspect.signature(module.forward).parameters:
            return {}
        return {"position_ids": (mask.cumsum(1) - 1).clamp(min=0)}

    @property
    def _pool(self) -> PromptPool:
        """The pools."""
        return self.model.get_submodule(POOL)  # type: ignore[return-value]

    @property
    def _num_virtual(self) -> int:
        """Vectors before a text."""
        config: Any = self.peft_config[self.active_adapters[0]]
        return config.num_virtual_tokens

    def _check_merge_allowed(self) -> None:
        """Raise: a pool adds nothing to a weight."""
        raise AdapterError(
            "a pool of prompts cannot be merged",
            expected="an adapter that adds a dW to a weight",
            got="prompts that every text chooses for itself",
            remedy="keep it beside the base model",
        )

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Nothing: no module is replaced."""


def _reading_tokens(model: nn.Module) -> Any:  # noqa: ANN401
    """The model, after checking that it reads tokens.

    Raises:
        AdapterError: If it does not.
    """
    base: Any = model
    try:
        base.get_input_embeddings().weight[:0, 0]
    except (AttributeError, NotImplementedError, IndexError) as error:
        raise AdapterError(
            "a pool of prompts cannot stand before this model's input",
            expected="a model of transformers with embeddings of tokens",
            got=type(model).__name__,
            remedy="take a model of texts, or another adapter",
        ) from error
    return base


def _readable(input_ids: torch.Tensor | None, rest: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """Tokens and further arguments, after checking that texts come as tokens, whole."""
    given = [name for name in _NOT_READ if rest.get(name) is not None]
    if input_ids is None or given:
        raise AdapterError(
            "a model with a pool of prompts cannot read this",
            expected="input_ids and attention_mask: texts choose their prompts by their tokens",
            got=", ".join(given) or "no input_ids",
            remedy="give whole texts as tokens, padded; to write, call generate of the PeftModel",
        )
    return input_ids, {name: value for name, value in rest.items() if name not in _NOT_READ}


@contextmanager
def _undisturbed(trunk: nn.Module) -> Iterator[None]:
    """Modules as in evaluation and without hooks, which look for the pass with prompts; afterwards all is as it was."""
    names = ("training", "_forward_pre_hooks", "_forward_hooks")
    former = [(part, [getattr(part, name) for name in names]) for part in trunk.modules()]
    for part, _ in former:
        part.training, part._forward_pre_hooks, part._forward_hooks = False, OrderedDict(), OrderedDict()
    try:
        yield
    finally:
        for part, values in former:
            for name, value in zip(names, values, strict=True):
                setattr(part, name, value)


register("l2p", L2PConfig, L2PModel)

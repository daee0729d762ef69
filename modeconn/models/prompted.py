"""Adapters that PEFT itself evaluates: prompts before the text, prefixes in the cache, gates inside attention."""

import inspect
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from modeconn.adapters.adapter import Adapter
from modeconn.errors import ModeconnError, ModelError, listed
from modeconn.models.image_reader import input_shape
from modeconn.models.loading import position_limit, quiet_peft


class Prompted(nn.Module):
    """PEFT's model with a prompt, called as the model itself is.

    PEFT counts positions from the prompt's first vector and takes padding for text: after padding on the left the text
    stands elsewhere, and a decoder that classifies reads the padding. So rows of one length go through PEFT together,
    without any padding.

    Args:
        peft_model: The model that PEFT made.

    Attributes:
        needs_padding: True: rows that stand one after the other are padded for it.
    """

    needs_padding = True

    def __init__(self, peft_model: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.peft_model, self.config = peft_model, peft_model.config
        settings = peft_model.active_peft_config
        self._num_virtual = settings.num_virtual_tokens
        self._tasks = settings.peft_type == "MULTITASK_PROMPT_TUNING"
        self._chooses = settings.peft_type == "L2P"
        self._keeps = "logits_to_keep" in inspect.signature(peft_model.get_base_model().forward).parameters

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        *,
        decoder_input_ids: torch.Tensor | None = None,
        logits_to_keep: int = 0,
        use_cache: bool | None = None,
        answer_lengths: torch.Tensor | None = None,
    ) -> SimpleNamespace:
        """The logits of padded rows.

        Args:
            input_ids: `[B, L]`, padded on either side.
            attention_mask: `[B, L]`, 0 at the padding.
            decoder_input_ids: `[B, A]` of an encoder-decoder, padded on the right.
            logits_to_keep: How many of a decoder's last positions; 0 keeps all.
            use_cache: Passed on where the model takes it.
            answer_lengths: `[B]`, how many of a decoder's last tokens are the answer: no prompt is chosen by these.

        Returns:
            `logits`: `[B, C]` of a classifier, `[B, A, C]` of an encoder-decoder, else `[B, logits_to_keep, C]`, in
            which positions before a row's beginning are 0.
        """
        options: dict[str, Any] = {} if use_cache is None else {"use_cache": use_cache}
        width = logits_to_keep or input_ids.shape[1]
        if self._keeps:
            options["logits_to_keep"] = logits_to_keep
        lengths = attention_mask.sum(1)  # [B]
        rows, found = [], []
        for length in lengths.unique().tolist():
            group = (lengths == length).nonzero()[:, 0]  # [G]
            tokens = input_ids[group][attention_mask[group].bool()].view(len(group), length)  # [G, length]
            _check_room(self.peft_model.get_base_model(), length, self._num_virtual)
            if decoder_input_ids is not None:
                options["decoder_input_ids"] = decoder_input_ids[group]
            if self._chooses and answer_lengths is not None:
                options["answer_lengths"] = answer_lengths[group]
            if self._tasks:  # the one that there is
                options["task_ids"] = torch.zeros(len(group), dtype=torch.long, device=group.device)
            logits = self.peft_model(input_ids=tokens, **options).logits
            if logits.ndim == 3 and decoder_input_ids is None:
                logits = functional.pad(logits[:, -min(length, width) :], (0, 0, max(0, width - length), 0))
            rows.append(group)
            found.append(logits)
        back = torch.cat(rows).argsort()
        return SimpleNamespace(logits=torch.cat(found)[back])


def stands_before(config: Any) -> bool:  # noqa: ANN401
    """Whether an adapter with these settings of PEFT puts vectors before the text, so that `Prompted` calls it."""
    return hasattr(config, "num_virtual_tokens")


@contextmanager
def loaded_from_folder(model: nn.Module, point: Adapter) -> Iterator[nn.Module]:
    """A point as PEFT loads it from its folder; one that is no unchanged checkpoint is written to a temporary one.

    Args:
        model: The base, which PEFT rebuilds.
        point: The point.
    """
    point.config.kind.register()
    with TemporaryDirectory() as temporary, quiet_peft():
        folder = point.source or point.save_pretrained(Path(temporary) / "adapter")
        with loaded_by_peft(model, folder, point) as module:
            yield module


@contextmanager
def loaded_by_peft(model: nn.Module, folder: Path, point: Adapter) -> Iterator[nn.Module]:
    """A model with an adapter that PEFT has loaded from its folder, to be called as the model itself is.

    Args:
        model: The base, which PEFT may rebuild.
        folder: Where the adapter lies.
        point: The same adapter, for what must have been loaded.

    Raises:
        ModelError: If PEFT cannot load the adapter beside this model, misses tensors of it, or leaves one out.
    """
    from peft import PeftModel

    if point.config.kind.has_update:
        with _nothing_missing(point), _loadable(point):
            whole: Any = PeftModel.from_pretrained(model, str(folder))
        reference: Any = whole.base_model.model.eval()
        reference.needs_padding = True  # so that what packing might get wrong shows, too
        yield reference
        return
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Found missing adapter keys")  # said below, as an error
            peft_model: Any = PeftModel.from_pretrained(model, str(folder))
    except (RuntimeError, ValueError, KeyError) as error:  # other sizes than the model's, or an unfit architecture
        raise _unfit(point, _told(error)) from error
    _check_loaded(peft_model, point)
    prompted = stands_before(peft_model.active_peft_config)
    module: Any = (Prompted(peft_model) if prompted else peft_model.base_model.model).eval()
    module.needs_padding = True  # its attention may be PEFT's own
    try:
        _probe(module, peft_model.device)
    except Exception as error:  # whatever happens deep inside of a model that is given vectors of other sizes
        raise _unfit(point, f"PEFT cannot run the model with it: {_told(error)}") from error
    yield module


@contextmanager
def _nothing_missing(point: Adapter) -> Iterator[None]:
    """PEFT's warning that it fills modules with nothing as an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")
        try:
            yield
        except UserWarning as warning:
            told = " ".join(str(warning).split())
            raise ModelError(
                f"PEFT finds {point.name} incomplete",
                expected="tensors for all modules that its settings target in the base",
                got=told if len(told) <= 400 else f"{told[:400]}...",
                remedy="copy or save the adapter again, and give the base that it was trained on",
            ) from warning


@contextmanager
def _loadable(point: Adapter) -> Iterator[None]:
    """Whatever PEFT raises as one error: not every kind can be loaded beside every base, such as a quantised one."""
    try:
        yield
    except (ModeconnError, Warning):
        raise
    except Exception as error:
        raise ModelError(
            f"PEFT cannot load {point.name} beside this base",
            expected="an adapter that PEFT can load, to compare the end of the path with",
            got=_told(error),
            remedy="load the base in full precision if it is quantised; or, in Python, leave out the comparison:"
            " evaluate_path(..., check=False)",
        ) from error


def room_for_prompts(points: Sequence[Adapter]) -> int:
    """Positions that the points' prompts take from the text: as many as the longest has vectors."""
    return max((int(point.config.raw.get("num_virtual_tokens") or 0) for point in points), default=0)


def _check_loaded(peft_model: Any, point: Adapter) -> None:  # noqa: ANN401
    """Raise unless PEFT holds the point's tensors and no others."""
    from peft import get_peft_model_state_dict

    loaded = get_peft_model_state_dict(peft_model)
    different = {
        name
        for name in loaded.keys() | point.tensors.keys()
        if name not in loaded
        or name not in point.tensors
        or not torch.equal(loaded[name].cpu(), point.tensors[name].to(loaded[name].dtype))
    }
    if different:
        raise _unfit(point, f"missing, left over or other than in the file: {listed(different)}")
    if point.config.kind.name == "PREFIX_TUNING":
        _check_prefix(peft_model, point)


def _check_prefix(peft_model: Any, point: Adapter) -> None:  # noqa: ANN401
    """Raise if PEFT would cut a prefix otherwise than in training, or would leave out layers."""
    raw, model, settings = point.config.raw, peft_model.config, peft_model.active_peft_config
    layers = {getattr(model, key, None) for key in ("num_hidden_layers", "num_decoder_layers", "decoder_layers")}
    if raw.get("num_layers") not in {None, *layers}:
        raise _unfit(point, f"a prefix of {raw['num_layers']} layers for {model.num_hidden_layers}")
    recut = [key for key in ("token_dim", "num_attention_heads") if raw.get(key) not in (None, getattr(settings, key))]
    if recut:  # PEFT takes these from the model
        raise _unfit(point, ", ".join(f"{key} of {getattr(settings, key)} instead of {raw[key]}" for key in recut))


@torch.inference_mode()
def _probe(module: Any, device: torch.device) -> None:  # noqa: ANN401
    """Run a text of one token, or a blank image."""
    if getattr(module, "main_input_name", "") == "pixel_values":
        module(pixel_values=torch.zeros(1, *input_shape(module.config), device=device))
        return
    token = torch.zeros(1, 1, dtype=torch.long, device=device)
    decoder = {"decoder_input_ids": token} if module.config.is_encoder_decoder else {}
    module(input_ids=token, attention_mask=torch.ones_like(token), **decoder)


def _told(error: BaseException) -> str:
    """An error's kind and the beginning of its text."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _unfit(point: Adapter, got: str) -> ModelError:
    """The error for a point of a kind without `dW` that PEFT cannot put into a base."""
    return ModelError(
        f"{point.name} does not fit the base model",
        expected="a base into which PEFT loads every tensor of the adapter",
        got=got,
        remedy=f"give the base that it was trained on (it names {point.config.base_model!r})",
    )


def _check_room(model: nn.Module, length: int, num_virtual: int) -> None:
    """Raise if prompt and text are longer than the model's table of positions."""
    limit = position_limit(model)
    if limit is not None and length + num_virtual > limit:
        raise ModelError(
            "a text is too long beside the prompt",
            expected=f"at most {limit} positions, of which the prompt takes {num_virtual}",
            got=f"a text of {length} tokens",
            remedy=f"give max_length={limit - num_virtual} (--max-length), or load the model with adapters=[...]",
        )

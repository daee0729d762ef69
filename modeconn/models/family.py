"""The kinds of models of text: how each reads a task, and how it scores a batch."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn import functional

from modeconn.models.encoded import Batch, pad
from modeconn.models.likelihood import in_pieces, likelihoods, most_positions
from modeconn.models.packed_rows import continued, ended, unpack
from modeconn.models.packing import packed_classes, packed_logits, scored_logits
from modeconn.tasks.encoding import (
    EncodingSettings,
    Tokenizer,
    encode_continuations,
    encode_sources,
    encode_texts,
)
from modeconn.tasks.rows import EncodedRows, Row
from modeconn.tasks.task import Task

IGNORED = -100


class Family(Protocol):
    """What differs between causal models, encoder-decoders and classifiers."""

    @property
    def task_type(self) -> str:
        """PEFT's name of the kind."""
        ...

    def encode(
        self, task: Task, split: str, tokenizer: Tokenizer, max_length: int, settings: EncodingSettings
    ) -> EncodedRows:
        """The rows of a split."""
        ...

    def length(self, row: Row) -> int:
        """Tokens that a row costs."""
        ...

    def collate(self, rows: list[Row], pad_id: int) -> Batch:
        """Rows as one padded batch."""
        ...

    def logits(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Logits at the scored positions, `[B, A, C]`, in the model's dtype."""
        ...


@dataclass(frozen=True)
class Causal:
    """Decoders: the answer follows the prompt; padding is on the left, so that all answers end together.

    Attributes:
        packed: Whether rows stand one after the other instead, without padding.
        lean: Whether packed rows go through the last layer at scored positions only, and through the head in pieces.
        counts: Whether the model counts positions itself, from another number than 0, as RoBERTa does.
    """

    task_type: str = "CAUSAL_LM"
    packed: bool = False
    lean: bool = False
    counts: bool = False

    def encode(
        self, task: Task, split: str, tokenizer: Tokenizer, max_length: int, settings: EncodingSettings
    ) -> EncodedRows:
        """Prompt and answer as one text."""
        return encode_continuations(task, split, tokenizer, max_length=max_length, settings=settings)

    def length(self, row: Row) -> int:
        """Prompt and answer; the last token is never read."""
        return len(row.context) + len(row.targets) - 1

    def collate(self, rows: list[Row], pad_id: int) -> Batch:
        """Inputs `[B, L]` padded on the left, or packed, and targets `[B, A]` that belong to the last A positions."""
        targets = pad([row.targets for row in rows], IGNORED, left=True)
        if self.packed:
            inputs, packed = continued(rows)
            return Batch(inputs, targets, packed)
        read = [(row.context + row.targets)[:-1] for row in rows]
        mask = pad([[1] * len(tokens) for tokens in read], 0, left=True)  # [B, L]
        inputs = {
            "input_ids": pad(read, pad_id, left=True),
            "attention_mask": mask,
            "position_ids": (mask.cumsum(1) - 1).clamp(min=0),
        }
        return Batch(inputs, targets)

    def logits(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The head at the last A positions only, where the model offers it."""
        if batch.packed is not None and reads_packed(model):
            found = torch.cat(list(self.pieces(model, batch)))[batch.packed.places]  # [S, C] -> [B, A, C]
            return found.masked_fill((batch.targets == IGNORED)[..., None], 0.0)
        accepted = inspect.signature(model.forward).parameters.keys() - ({"position_ids"} if self.counts else set())
        inputs = {name: value for name, value in padded(batch, model, left=True).inputs.items() if name in accepted}
        if "answer_lengths" in accepted:
            inputs["answer_lengths"] = _read_answers(batch)
        width = batch.targets.shape[1]
        if "logits_to_keep" in accepted:
            return model(**inputs, use_cache=False, logits_to_keep=width).logits
        return model(**inputs, use_cache=False).logits[:, -width:]

    def pieces(self, model: torch.nn.Module, batch: Batch) -> Iterable[torch.Tensor]:
        """Logits of a packed batch at its scored positions, `[s, C]` at a time."""
        assert batch.packed is not None
        if not self.lean:
            return in_pieces(packed_logits(model, batch.inputs, batch.packed))
        most = most_positions(int(model.config.get_text_config().vocab_size))  # type: ignore[union-attr, operator]
        return scored_logits(model, batch.inputs, batch.packed, most=most)


@dataclass(frozen=True)
class Seq2Seq:
    """Encoder-decoders: the encoder reads the prompt, the decoder writes the answer."""

    task_type: str = "SEQ_2_SEQ_LM"

    def encode(
        self, task: Task, split: str, tokenizer: Tokenizer, max_length: int, settings: EncodingSettings
    ) -> EncodedRows:
        """Prompt and answer apart."""
        return encode_sources(task, split, tokenizer, max_length=max_length, settings=settings)

    def length(self, row: Row) -> int:
        """Both sides."""
        return len(row.context) + len(row.lead) + len(row.targets)

    def collate(self, rows: list[Row], pad_id: int) -> Batch:
        """Encoder inputs `[B, L]`, decoder inputs without the start token, targets `[B, A]`; padded on the right."""
        contexts = [row.context for row in rows]
        inputs = {
            "input_ids": pad(contexts, pad_id, left=False),
            "attention_mask": pad([[1] * len(context) for context in contexts], 0, left=False),
            # Causal: what pads the end is never looked at.
            "decoder_input_ids": pad([(row.lead + row.targets)[:-1] for row in rows], pad_id, left=False),
        }
        return Batch(inputs, pad([row.targets for row in rows], IGNORED, left=False))

    def logits(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """Decoder logits at the answer; the decoder reads the start token, what leads every text, and the answer."""
        config: Any = model.config
        read = batch.inputs["decoder_input_ids"]
        read = functional.pad(read, (1, 0), value=config.decoder_start_token_id)  # [B, lead + A]
        logits = model(**(batch.inputs | {"decoder_input_ids": read}), use_cache=False).logits
        return logits[:, -batch.targets.shape[1] :]


@dataclass(frozen=True)
class Classifier:
    """Sequence classifiers: one class a text.

    Attributes:
        labels: Names of the classes, in the order of the head.
        packed: Whether texts stand one after the other instead of being padded.
        lean: Whether packed texts go through the last layer at the position only that the head reads.
    """

    labels: tuple[str, ...]
    task_type: str = field(default="SEQ_CLS")
    packed: bool = False
    lean: bool = False

    def encode(
        self, task: Task, split: str, tokenizer: Tokenizer, max_length: int, settings: EncodingSettings
    ) -> EncodedRows:
        """The prompt as the text, the answer as the class."""
        del settings
        return encode_texts(task, split, tokenizer, max_length=max_length, labels=self.labels)

    def length(self, row: Row) -> int:
        """The text."""
        return len(row.context)

    def collate(self, rows: list[Row], pad_id: int) -> Batch:
        """Texts `[B, L]` padded on the right, or packed, and classes `[B, 1]`."""
        contexts = [row.context for row in rows]
        targets = torch.tensor([row.targets for row in rows])
        if self.packed:
            inputs, packed = ended(contexts, pad_id)
            return Batch(inputs, targets, packed)
        inputs = {
            "input_ids": pad(contexts, pad_id, left=False),
            "attention_mask": pad([[1] * len(context) for context in contexts], 0, left=False),
        }
        return Batch(inputs, targets)

    def logits(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """One row of logits a text."""
        if batch.packed is not None and reads_packed(model):
            return packed_classes(model, batch.inputs, batch.packed, lean=self.lean)[:, None, :]
        batch = padded(batch, model, left=False)
        return model(**batch.inputs).logits[:, None, :]  # [B, C] -> [B, 1, C]


def _read_answers(batch: Batch) -> torch.Tensor:
    """How many of a decoder's last input tokens are the answer, `[B]`: all targets but the last, or what is said."""
    read = (batch.targets != IGNORED).sum(1) - 1
    return batch.inputs.get("answer_lengths", read.clamp(min=0))


def reads_packed(model: torch.nn.Module) -> bool:
    """Whether rows may stand one after the other: not where a point is modules of its own, such as a prompt."""
    return not getattr(model, "needs_padding", False)


def padded(batch: Batch, model: torch.nn.Module, *, left: bool) -> Batch:
    """A batch whose rows are padded, with the token that the model knows as padding; the same one if they are."""
    if batch.packed is None:
        return batch
    inputs = unpack(batch.inputs, batch.packed, left=left, pad_id=padding_token(model))
    if left:
        inputs["position_ids"] = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    return Batch(inputs, batch.targets)


def padding_token(model: Any) -> int:  # noqa: ANN401
    """The token that fills batches: the config's, by which some models find the end of a text; 0 without one."""
    return int(getattr(getattr(model, "config", None), "pad_token_id", None) or 0)


def score_batch(
    family: Family,
    model: torch.nn.Module,
    batch: Batch,
    *,
    allowed: torch.Tensor | None = None,
    choices: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Per-row sums of one batch.

    Args:
        family: How the model is called.
        model: The model, with a point in place.
        batch: Rows on the model's device.
        allowed: Classes that may be answered, or None for all; the others get no probability.
        choices: Tokens that may be the answer, or None for all; the loss is that of the whole vocabulary.

    Returns:
        The negative log-likelihood of each row's targets in nats, `[B]` float32 (float64 for a float64 model), and
        whether all of them are the likeliest, `[B]` bool.
    """
    pieces, places = _scored(family, model, batch)
    ignored = batch.targets == IGNORED
    loss, right = likelihoods(pieces, places, batch.targets.masked_fill(ignored, 0), allowed=allowed, choices=choices)
    return loss.masked_fill(ignored, 0.0).sum(1), (right | ignored).all(1)


def _scored(family: Family, model: torch.nn.Module, batch: Batch) -> tuple[Iterable[torch.Tensor], torch.Tensor]:
    """Logits in pieces, and for every target `[B, A]` the position among them that tells its likelihood."""
    if isinstance(family, Causal) and batch.packed is not None and reads_packed(model):
        return family.pieces(model, batch), batch.packed.places
    logits = family.logits(model, batch)  # [B, A, C]
    places = torch.arange(batch.targets.numel(), device=batch.targets.device).view_as(batch.targets)
    return in_pieces(logits.flatten(0, 1)), places

"""Prompts on their way through a model: in batches, without padding where it can be, and where their tokens stand."""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from modeconn.models.encoded import Batch
from modeconn.models.family import Causal, Classifier, reads_packed
from modeconn.models.image_classifier import ImageClassifier
from modeconn.models.packable import without_packing
from modeconn.models.packed_attention import packed_attention
from modeconn.models.packed_rows import Packed, ended
from modeconn.tasks.batching import token_budget_batches
from modeconn.tasks.rows import Row

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel


@dataclass(frozen=True)
class Layout:
    """Where the tokens of a batch stand in what a module puts out.

    Attributes:
        packed: Whether texts stand one after the other in one row.
        mask: `[B, L]`, true at tokens; of packed texts `[1, T]`.
        lengths: `[B]`, tokens of each text.
        prompted: Whether a point's own prompts may stand before the texts.
    """

    packed: bool
    mask: torch.Tensor
    lengths: torch.Tensor
    prompted: bool = False
    expected: ClassVar[str] = "a module that is run once and puts out one vector for each token"

    @cached_property
    def owners(self) -> torch.Tensor:
        """The number of each token's text, `[T]`."""
        texts = torch.arange(len(self.lengths), device=self.lengths.device)
        return texts.repeat_interleave(self.lengths)

    @cached_property
    def ends(self) -> torch.Tensor:
        """Where each text ends among the tokens, `[B]`."""
        return self.lengths.cumsum(0)

    def tokens(self, output: torch.Tensor) -> torch.Tensor | None:
        """The tokens' vectors `[T, D]`, text after text and without padding; None where it does not hold them."""
        batch, length = self.mask.shape
        if output.ndim == 2 and len(output) == batch * length:  # as in the routers of experts
            output = output.view(batch, length, -1)
        longer = output.ndim == 3 and output.shape[1] > length
        if output.ndim != 3 or output.shape[0] != batch or output.shape[1] < length or (longer and not self.prompted):
            return None
        output = output[:, -length:]
        return output[0] if self.packed else output[self.mask.to(output.device)]  # the base may be spread

    def pooled(self, tokens: torch.Tensor, pooling: str) -> torch.Tensor | None:
        """One vector a text, `[B, D]`; all of them for "all-tokens". In float32, float64 of float64. None: has none."""
        if pooling == "last-token":
            tokens = tokens[self.ends.to(tokens.device) - 1]
        elif pooling == "cls":
            tokens = tokens[(self.ends - self.lengths).to(tokens.device)]
        wide = tokens if tokens.dtype == torch.float64 else tokens.float()
        if pooling != "mean":
            return wide.clone()
        sums = wide.new_zeros(len(self.lengths), wide.shape[1]).index_add_(0, self.owners.to(wide.device), wide)
        return sums / self.lengths.to(wide.device)[:, None]


@dataclass(frozen=True)
class ImageLayout(Layout):
    """Where the positions of images stand: all of an output's, of which a stage may have more than the next."""

    def tokens(self, output: torch.Tensor) -> torch.Tensor | None:
        """Vectors `[B L, D]` of `[B, L, D]`, or of `[B, D, H, W]`; None where it does not hold them."""
        if len(output) != len(self.mask) or output.ndim not in (3, 4):
            return None
        positions = output if output.ndim == 3 else output.flatten(2).transpose(1, 2)
        return positions.flatten(0, 1)

    def pooled(self, tokens: torch.Tensor, pooling: str) -> torch.Tensor | None:
        """One vector an image, `[B, D]`, or all of them."""
        each = len(tokens) // len(self.mask)
        return Layout(False, self.mask, torch.full_like(self.lengths, each)).pooled(tokens, pooling)


@dataclass(frozen=True)
class PromptBatch:
    """Prompts that go through the model together.

    Attributes:
        whole: Padded rows; None where the texts are packed.
        packed: The model's inputs and how the texts stand in them, where they are packed.
        layouts: Where the texts' tokens stand, and where those of a decoder of its own.
    """

    whole: Batch | None
    packed: tuple[dict[str, torch.Tensor], Packed] | None
    layouts: tuple[Layout, Layout]


def batches_for(model: "AdapterModel", module: nn.Module, rows: Sequence[Row], token_budget: int) -> list[list[int]]:
    """Row numbers of batches; of one length each where a point's own prompts take rows of one length only.

    Args:
        model: The model.
        module: The same at a point.
        rows: Prompts.
        token_budget: Tokens a batch.
    """
    lengths = [model.family.length(row) for row in rows]
    if reads_packed(module):
        return token_budget_batches(lengths, token_budget)
    found = []
    for length in sorted({len(row.context) for row in rows}, reverse=True):
        alike = [number for number, row in enumerate(rows) if len(row.context) == length]
        groups = token_budget_batches([lengths[number] for number in alike], token_budget)
        found += [[alike[place] for place in group] for group in groups]
    return found


def batch_for(model: "AdapterModel", module: nn.Module, rows: Sequence[Row]) -> PromptBatch:
    """Prompts as one batch on the model's device, packed where the model can read them so."""
    device, family = model.device, model.family
    if isinstance(family, Causal | Classifier) and family.packed and reads_packed(module):
        inputs, packed = ended([row.context for row in rows])
        lengths = torch.tensor([len(row.context) for row in rows], device=device)
        mask = torch.ones(1, int(lengths.sum()), dtype=torch.bool, device=device)
        text = Layout(True, mask, lengths)
        return PromptBatch(None, ({k: v.to(device) for k, v in inputs.items()}, packed.to(device)), (text, text))
    batch = without_packing(family).collate(list(rows), model.pad_id).to(device)
    mask = batch.inputs["attention_mask"].bool()
    if isinstance(family, ImageClassifier):
        image = ImageLayout(False, mask, mask.sum(1))
        return PromptBatch(batch, None, (image, image))
    prompted = not reads_packed(module)
    text = other = Layout(False, mask, mask.sum(1), prompted)
    if "decoder_input_ids" in batch.inputs:
        width = batch.inputs["decoder_input_ids"].shape[1] + 1  # the start token is added
        read = torch.ones(len(rows), width, dtype=torch.bool, device=device)
        other = Layout(False, read, read.sum(1), prompted)
    return PromptBatch(batch, None, (text, other))


def run_through(model: "AdapterModel", module: nn.Module, batch: PromptBatch) -> None:
    """One forward pass, for what hooks see of it; packed texts go through all but the head."""
    if batch.packed is None:
        assert batch.whole is not None
        without_packing(model.family).logits(module, batch.whole)
        return
    inputs, packed = batch.packed
    trunk: Any = module.base_model
    options = {"use_cache": False} if "use_cache" in inspect.signature(trunk.forward).parameters else {}
    with packed_attention(module, packed.texts):
        trunk(**inputs, **options)

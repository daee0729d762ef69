"""Whether a row's loss is its own: the same alone as in a batch with longer rows."""

from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.errors import EvaluationError
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.encoded import EncodedTask
from modeconn.models.matmul_precision import exact_products
from modeconn.models.point_model import Encoded, PointModel
from modeconn.models.quantised import quantization_of

# Largest |difference| / (1 + loss) of a row's loss in nats. Products of other shapes round otherwise, so that narrow
# dtypes differ by more here than between two ways to compute one batch; padding that is read as text moves tenths.
_ALLOWED = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 5e-2}
_ALLOWED_QUANTISED = 5e-2  # bitsandbytes multiplies in float16, and rounds what a batch as a whole decides


def check_rows_alone(model: PointModel, point: Adapter, encoded: Sequence[Encoded]) -> float:
    """Compare the shortest row of a batch with the same row by itself.

    The comparison with PEFT does not show this, as both read the same batches. Recurrent models carry the padding
    before a text along, some models count positions from the row's beginning, others mix all positions of a row or set
    their rotations by the longest: losses would depend on the token budget.

    Args:
        model: The model; one whose batches are not made of rows of tokens is not looked at.
        point: Where to evaluate.
        encoded: The splits; of each, the batch whose rows differ most in length is looked at.

    Returns:
        The largest difference, relative to 1 + loss; 0 where every batch holds rows of one length.

    Raises:
        EvaluationError: If one is above the tolerance of the dtype, or of a quantised base.
    """
    if not isinstance(model, AdapterModel):
        return 0.0
    found, model = 0.0, cast(AdapterModel, exact_products(model))
    allowed = _ALLOWED_QUANTISED if quantization_of(model.module) else _ALLOWED[model.dtype]
    with model.at(point) as module:
        for split in cast(Sequence[EncodedTask], encoded):
            rows = _most_unlike(model, split)
            if not rows:
                continue
            together, alone = (
                float(model.score_rows(module, _batch_of(model, split, some))[0][rows[-1]])
                for some in (rows, rows[-1:])
            )
            moved = abs(together - alone) / (1 + abs(alone))
            if not moved <= allowed:  # also if NaN
                raise _depends(model, split, moved, allowed)
            found = max(found, moved)
    return found


def _most_unlike(model: AdapterModel, split: EncodedTask) -> list[int]:
    """The longest and the shortest row of the batch in which they differ most; none where nothing differs."""
    lengths = [model.family.length(row) for row in split.rows.rows]
    found: list[int] = []
    largest, begin = 0, 0
    for batch in split.batches:
        rows = split.order[begin : (begin := begin + len(batch.targets))]
        longest, shortest = max(rows, key=lengths.__getitem__), min(rows, key=lengths.__getitem__)
        if lengths[longest] - lengths[shortest] > largest:
            largest, found = lengths[longest] - lengths[shortest], [longest, shortest]
    return found


def _batch_of(model: AdapterModel, split: EncodedTask, rows: Sequence[int]) -> EncodedTask:
    """A split of one batch with these rows."""
    batch = model.collate([(split, row) for row in rows])
    return replace(split, batches=(batch,), order=tuple(rows))


def _depends(model: AdapterModel, split: EncodedTask, moved: float, allowed: float) -> EvaluationError:
    """The error of a model whose losses depend on the rows that stand beside them."""
    return EvaluationError(
        f"{type(model.module).__name__} gives rows of {split.task}/{split.split} other losses in a batch than alone",
        expected=f"losses that longer rows of the batch do not move, within {allowed:g} in {model.dtype}",
        got=f"a difference of {moved:.3g} (relative to 1 + loss)",
        remedy="evaluate row by row, with a token budget of 1 (--token-budget 1)",
    )

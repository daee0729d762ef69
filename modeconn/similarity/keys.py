"""Names for comparisons, made from everything that decides their numbers."""

import hashlib
from typing import TYPE_CHECKING

from modeconn.adapters.adapter import Adapter
from modeconn.models.quantised import quantization_of
from modeconn.similarity.settings import CKASettings

if TYPE_CHECKING:
    from modeconn.similarity.engine import Side

_FORM = 2  # of the tables and of what their numbers mean: tokens are compared with those of other examples only


def comparison_key(
    point: Adapter | None,
    reference: Adapter | None,
    sides: "tuple[Side, Side]",
    *,
    matched: bool,
    settings: CKASettings,
    token_budget: int,
) -> str:
    """One name for one comparison; two are equal only if their tables are, names of points and splits left out.

    Args:
        point: The point; None is the base itself.
        reference: What it is compared with.
        sides: The points' model, and the reference's, with what they read.
        matched: Whether only pairs of sites in the same place are compared.
        settings: How they are compared.
        token_budget: Tokens a batch, which may move last digits.

    Returns:
        64 hexadecimal digits.
    """
    points = [one and one.fingerprint for one in (point, reference)]
    read = [
        (
            side.model.fingerprint,
            str(side.model.dtype),
            side.model.device.type,
            quantization_of(side.model.module) or "",
            side.inputs.texts,
            side.inputs.tokens,
            [row.example for row in side.inputs.rows],
        )
        for side in sides
    ]
    facts = ("cka", _FORM, points, read, matched, settings, token_budget)
    return hashlib.sha256(repr(facts).encode()).hexdigest()

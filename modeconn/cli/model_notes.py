"""Remarks on how a base model was loaded: what makes a run slower than it could be."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel


def on_model(model: "AdapterModel") -> list[str]:
    """One remark where the base is spread over devices, and one where rows must be padded.

    Args:
        model: The model.
    """
    return [*_on_places(model), *_on_padding(model)]


def _on_places(model: "AdapterModel") -> list[str]:
    """Where the base is, if not on one device."""
    from modeconn.models.offloaded import is_spread, places

    if not is_spread(model.module):
        return []
    shares = places(model.module)
    parts = ", ".join(f"{share:.0%} {place}" for place, share in shares.items())
    read = "; what is offloaded is read again for every batch" if "offloaded" in shares else ""
    return [f"where the base is: {parts}{read}"]


def _on_padding(model: "AdapterModel") -> list[str]:
    """That rows are padded, though models of this kind usually need none."""
    from modeconn.models.family import Causal, Classifier
    from modeconn.models.image_classifier import ImageClassifier

    family = model.family
    if isinstance(family, ImageClassifier) or not isinstance(family, Causal | Classifier) or family.packed:
        return []
    return [f"rows are padded: {type(model.module).__name__} gives other numbers, or none, where they are not"]

"""What points must have in common before they are combined."""

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

from modeconn.adapters.update import agree
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter
    from modeconn.adapters.update import Update


def check_have_updates(points: "Sequence[Adapter]") -> None:
    """Raise if a point is of a kind that has no weight update."""
    without = [f"{point.name} ({point.config.kind.name})" for point in points if not point.config.kind.has_update]
    if without:
        raise AdapterError(
            "points without a weight update cannot be combined in weights space",
            expected="adapters that change the base's weights",
            got=listed(without),
            remedy='join them in space="factors", the only coordinates that they have',
        )


def check_same_base(points: "Sequence[Adapter]") -> None:
    """Raise if the points were trained on bases whose fingerprints differ."""
    bases = {p.provenance["base_fingerprint"]: p for p in points if "base_fingerprint" in p.provenance}
    if len(bases) > 1:
        raise AdapterError(
            "the points belong to different base models",
            expected="checkpoints of one base model",
            got=listed(f"{p.name} of {p.config.base_model} ({key[:12]})" for key, p in bases.items()),
            remedy="join checkpoints that were trained from the same base",
        )


def check_same_shapes(points: "Sequence[Adapter]") -> None:
    """Raise if a parameter's shape, the saved modules, or the recorded classes of a head differ between two points."""
    for first, other in combinations(points, 2):
        differences = [
            f"{name} {list(first.updates[name].shape)} and {list(other.updates[name].shape)}"
            for name in first.updates.keys() & other.updates.keys()
            if not _same_shape(first.updates[name], other.updates[name])
        ]
        differences += [
            f"{name} {list(first.saved[name].shape)} and {list(other.saved[name].shape)}"
            for name in first.saved.keys() & other.saved.keys()
            if first.saved[name].shape != other.saved[name].shape
        ]
        differences += [f"{name} saved in one only" for name in first.saved.keys() ^ other.saved.keys()]
        if differences:
            raise AdapterError(
                f"{first.name} and {other.name} cannot be combined",
                expected="the same shape of every parameter, and the same saved modules",
                got=listed(differences),
                remedy="train the adapters on one base with one head over the union of the labels, or say whose head"
                ' counts: heads="shared", "own" or "skip" (--heads)',
            )
        _check_same_classes(first, other)


def _same_shape(first: "Update", other: "Update") -> bool:
    """Whether two updates can be of one parameter; one that lies as the model stores it may be turned."""
    turned = first.stored != other.stored and agree(first.shape, other.shape[::-1])
    return turned or agree(first.shape, other.shape)


def _check_same_classes(first: "Adapter", other: "Adapter") -> None:
    """Raise if two points recorded other classes, or another order: rows of their heads would be mixed."""
    classes = [[label.strip() for label in point.provenance.get("labels") or ()] for point in (first, other)]
    if all(classes) and classes[0] != classes[1]:
        raise AdapterError(
            f"the heads of {first.name} and {other.name} have different classes",
            expected="the same classes in the same order",
            got=f"{first.provenance['labels']} and {other.provenance['labels']}",
            remedy="train them in one run, which makes one head over the union of the labels, or say whose head counts:"
            ' heads="shared", "own" or "skip" (--heads)',
        )

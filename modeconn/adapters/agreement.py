"""What points must have in common before they are combined."""

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from modeconn.adapters.base_folders import Sameness, compared
from modeconn.adapters.full_agreement import check_same_models
from modeconn.adapters.skeleton import LANGUAGE_MODELS
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
    """Raise if the points are known to be of different bases.

    That is where recorded fingerprints differ, or where two adapters name folders that are both there and hold other
    weights, in whatever files and precision. Names alone decide nothing here: bases are moved and copied, and `base=`
    (`--base-model`) overrides names. See `check_same_names`.
    """
    bases = {p.provenance["base_fingerprint"]: p for p in points if "base_fingerprint" in p.provenance}
    if len(bases) > 1:
        raise AdapterError(
            "the points belong to different base models",
            expected="checkpoints of one base model",
            got=listed(f"{p.name} of {p.config.base_model} ({key[:12]})" for key, p in bases.items()),
            remedy="join checkpoints that were trained from the same base",
        )
    for first, other in _named_apart(points):
        here, there = (Path(str(point.config.base_model)).expanduser() for point in (first, other))
        if compared(here, there) is Sameness.DIFFERENT:
            raise AdapterError(
                "the points belong to different base models",
                expected="checkpoints of one base model",
                got=f"{first.name} of {here} and {other.name} of {there}, whose weights differ",
                remedy="join checkpoints that were trained from the same base; where the name is wrong, correct"
                " base_model_name_or_path in adapter_config.json",
            )


def check_same_names(points: "Sequence[Adapter]") -> None:
    """Raise if two points name different bases, and nobody has said which base is used.

    A name in another folder or of another owner is the same one, `old/place/llama` and `owner/llama`, and so are two
    folders that hold the same numbers.
    """
    for first, other in _named_apart(points):
        names = [str(point.config.base_model) for point in (first, other)]
        same = compared(*(Path(name) for name in names))
        got = f"{names[0]} by {first.name} and {names[1]} by {other.name}"
        if same is Sameness.ROUNDED:
            raise AdapterError(
                "the points name one base model in two precisions",
                expected="one base model, named by every point",
                got=f"{got}, one of them a rounded copy of the other",
                remedy="give the one that is to be used with --base-model (in Python: base=...); an adapter that was"
                " trained on the other is then slightly off",
            )
        known = same is Sameness.ONE or Path(names[0]).name.casefold() == Path(names[1]).name.casefold()
        if not known:
            raise AdapterError(
                "the points name different base models",
                expected="one base model, named by every point",
                got=got,
                remedy="join checkpoints of one base; if it is one under two names, give it with --base-model",
            )


def _named_apart(points: "Sequence[Adapter]") -> "list[tuple[Adapter, Adapter]]":
    """Pairs that name different bases and have no fingerprints that tell; full fine-tunes hold their own weights."""
    points = [point for point in points if point.config.base_model and not point.replaces]
    if len({point.config.base_model for point in points}) < 2:
        return []
    return [
        (first, other)
        for first, other in combinations(points, 2)
        if _absolute(first) != _absolute(other)
        and not all("base_fingerprint" in point.provenance for point in (first, other))
    ]


def _absolute(point: "Adapter") -> Path:
    """Where a point's base would lie if its name is that of a folder."""
    return Path(str(point.config.base_model)).expanduser().resolve()


def _policies(*points: "Adapter") -> str:
    """What can be said about heads, in words: language models have none of their own."""
    language = any(point.config.task_type in LANGUAGE_MODELS for point in points)
    own = "" if language else ', "own" (of classifiers only)'
    return f'heads="shared"{own} or "skip" (--heads)'


def check_same_shapes(points: "Sequence[Adapter]") -> None:
    """Raise if a parameter's shape, the saved modules, or the recorded classes of a head differ between two points.

    Of two full fine-tunes the settings that decide the function must agree as well.
    """
    for first, other in combinations(points, 2):
        check_same_models(first, other)
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
                f" counts: {_policies(first, other)}",
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
            f" {_policies(first, other)}",
        )

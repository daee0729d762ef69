"""Full fine-tunes as points: one arranged like another, so that a path can join them."""

import torch

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import config_of
from modeconn.adapters.full_agreement import check_same_models
from modeconn.adapters.kinds.full import MODEL_SETTINGS
from modeconn.adapters.stored import LoadedTensor, StoredTensors
from modeconn.adapters.symmetry.architectures import symmetry_of
from modeconn.adapters.symmetry.matching import Matching, match
from modeconn.adapters.symmetry.spec import SymmetrySpec
from modeconn.errors import AdapterError, listed


def matched(point: Adapter, *, to: Adapter, spec: SymmetrySpec | None = None) -> tuple[Adapter, Matching]:
    """A full fine-tune with its units in the order of another's: the same function, nearer weights (see `match`).

    `LinearPath(matched(a, to=b)[0], b)` has the barrier that is left once the order of units has no part in it
    (Ainsworth 2022, arXiv 2209.04836). Both models are read into memory, in the dtypes of their files.

    Args:
        point: The full fine-tune that is moved.
        to: The one that it is brought near to.
        spec: The symmetries of both; by default those of the architecture, from `symmetry_of`.

    Returns:
        The moved point, in memory, with the name and provenance of `point`; and what the matching gained.

    Raises:
        AdapterError: If a point is not a full fine-tune, the two are different functions of their weights, or no
            symmetries of the architecture are known.
    """
    _check_full(point, to)
    check_same_models(point, to)
    target = _state(to)
    spec = spec or symmetry_of(config_of(to.config.raw[MODEL_SETTINGS]), target)
    found = match(_state(point), to=target, spec=spec)
    tensors = StoredTensors({name: LoadedTensor.of(name, value) for name, value in found.state.items()})
    kept = {key: getattr(point, key) for key in ("name", "provenance", "sources")}
    moved = Adapter.from_tensors(tensors, point.config, **kept)
    return moved, found


def _check_full(*points: Adapter) -> None:
    """Raise unless all points are unchanged full fine-tunes."""
    others = [
        f"{point.name} ({'a combination' if point.own is None else point.config.kind.name})"
        for point in points
        if point.own is None or MODEL_SETTINGS not in point.config.raw
    ]
    if others:
        raise AdapterError(
            "only full fine-tunes can be matched over the order of their units",
            expected="two checkpoints that hold every weight, as save_pretrained of transformers writes them",
            got=listed(others),
            remedy="adapters of one base share its order already: join them as they are, or align their factors,"
            " align(a, to=b); of a combination match the checkpoints first",
        )


def _state(point: Adapter) -> dict[str, torch.Tensor]:
    """A full fine-tune's tensors by name, in the dtypes of its file."""
    own = point.own
    return {name: one.read() for name, one in own.stored.items()} if isinstance(own, StoredTensors) else dict(own or {})

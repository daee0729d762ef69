"""Whether a point fits a base model that stays on disk."""

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import FullModel
from modeconn.adapters.update import Update, agree
from modeconn.errors import ModelError, listed
from modeconn.models.fingerprint import stored_fingerprint
from modeconn.models.placing import check_copies


def check_fits_stored(base: FullModel, point: Adapter) -> None:
    """Raise unless every parameter that a point changes is one of the base's, and the base is the one it knows.

    Args:
        base: The base; a few of its numbers are read.
        point: The point.

    Raises:
        ModelError: If parameters are missing or of other shapes, or the recorded fingerprint or a copy of a base
            weight differs.
    """
    point = point.within(base)
    shapes = {**base.skeleton.shapes, **{name: base.skeleton.shapes[one] for name, one in base.skeleton.ties.items()}}
    made = {name for name, update in point.updates.items() if all(part.makes_parameter for part in update.parts)}
    heads = {name for name in point.saved if not name.startswith(base.skeleton.prefix)}  # of any size, or of their own
    given = {name: _shape(base, name, update) for name, update in point.updates.items() if name not in made}
    given |= {name: tuple(value.shape) for name, value in point.saved.items() if name not in heads}
    odd = [f"{name}, which is not there" for name in given.keys() - shapes.keys()]
    odd += [
        f"{name} {list(shape)} for {list(shapes[name])}"
        for name, shape in given.items()
        if name in shapes and not agree(shape, shapes[name])
    ]
    if odd:
        raise ModelError(
            f"{point.name} does not fit the base model {base.folder}",
            expected="a base that has the parameters that the adapter changes, in their shapes",
            got=listed(odd),
            remedy=f"give the base that it was trained on (it names {point.config.base_model!r})",
        )
    check_copies({name: base.weight(name) for name in point.base_copies}, point, str(base.folder))
    recorded, own = point.provenance.get("base_fingerprint"), stored_fingerprint(base)
    if recorded not in (None, own):
        raise ModelError(
            f"{point.name} was trained on another base model than {base.folder}",
            expected=f"the base with fingerprint {recorded[:12]} ({point.config.base_model})",
            got=f"fingerprint {own[:12]}",
            remedy="give the base that it was trained on with --base-model",
        )


def _shape(base: FullModel, name: str, update: Update) -> tuple[int, ...]:
    """The shape of an update in the order in which the base stores the parameter."""
    turned = base.transposed(name) and not update.stored
    return (*update.shape[:-2], update.shape[-1], update.shape[-2]) if turned else update.shape

"""Base models that stay on disk, and whether points fit them."""

import json
from contextlib import suppress
from pathlib import Path

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.full import CONFIG_FILE, FullModel
from modeconn.adapters.update import Update, agree
from modeconn.errors import ModelError, listed
from modeconn.models.fingerprint import stored_fingerprint
from modeconn.models.loading import local_folder
from modeconn.models.placing import check_copies
from modeconn.models.vocabulary import resized


def open_base(source: str | Path, *, task_type: str | None) -> FullModel:
    """A base model's folder, looked at and not loaded.

    Args:
        source: A folder or hub id.
        task_type: What the model is used for; by default what its architecture says.

    Raises:
        ModelError: If it is not to be had, or its weights are quantised.
        AdapterError: If a file is broken.
    """
    folder = local_folder(source)
    with suppress(OSError, ValueError, AttributeError):  # told better when the model is opened
        if json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8")).get("quantization_config"):
            raise ModelError(
                f"the weights of the base model {source} cannot be measured",
                expected="a base in full precision",
                got="packed numbers: its config.json has a quantization_config",
                remedy="give the base in full precision, or leave --base-model out",
            )
    return FullModel.open(folder, task_type=task_type, strict=False)


def check_fits_stored(base: FullModel, point: Adapter) -> None:
    """Raise unless every parameter that a point changes is one of the base's, and the base is the one it knows.

    A vocabulary of another size than the base's fits: the base gets as many rows when it is loaded.

    Args:
        base: The base; a few of its numbers are read.
        point: The point.

    Raises:
        ModelError: If parameters are missing or of other shapes, or the recorded fingerprint or a copy of a base
            weight differs.
    """
    point = point.within(base)
    shapes = {**base.skeleton.shapes, **{name: base.skeleton.shapes[one] for name, one in base.skeleton.ties.items()}}
    fitting = resized(shapes, base, point)
    made = {name for name, update in point.updates.items() if all(part.makes_parameter for part in update.parts)}
    heads = {name for name in point.saved if not name.startswith(base.skeleton.prefix)}  # of any size, or of their own
    given = {name: _shape(base, name, update) for name, update in point.updates.items() if name not in made}
    given |= {name: tuple(value.shape) for name, value in point.saved.items() if name not in heads}
    odd = [f"{name}, which is not there" for name in given.keys() - shapes.keys()]
    odd += [
        f"{name} {list(shape)} for {list(shapes[name])}"
        for name, shape in given.items()
        if name in shapes and not agree(shape, fitting[name])
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

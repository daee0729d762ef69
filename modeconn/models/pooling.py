"""How what stands for one example is made of its many vectors, and which models have what it takes."""

from typing import TYPE_CHECKING, Literal, get_args

from modeconn.errors import EvaluationError
from modeconn.models.image_classifier import ImageClassifier
from modeconn.models.module_model import ModuleModel

if TYPE_CHECKING:
    from modeconn.models.adapter_model import AdapterModel

Pooling = Literal["last-token", "mean", "all-tokens", "cls", "flatten"]


def check_pooling(pooling: str) -> None:
    """Raise unless the pooling is known.

    Raises:
        EvaluationError: If it is not.
    """
    if pooling not in get_args(Pooling):
        raise EvaluationError(
            f"unknown pooling {pooling!r}",
            expected=" or ".join(get_args(Pooling)),
            got=repr(pooling),
            remedy='use pooling="last-token" for decoders, "mean" or "cls" for encoders',
        )


def check_pooling_fits(model: "AdapterModel | ModuleModel", pooling: str) -> None:
    """Raise if a model has nothing that the pooling means.

    Raises:
        EvaluationError: If single tokens, or the last one, are asked of a module; if texts are to be laid out flat; if
            the last position is asked of an image classifier, or the first of one without a token for the class.
    """
    if isinstance(model, ModuleModel):
        _check_of_modules(pooling)
    elif pooling == "flatten":
        raise EvaluationError(
            "texts and images are not laid out flat",
            expected='"last-token", "mean", "cls" or "all-tokens"',
            got="'flatten', which is for the outputs of a ModuleModel: they are of one shape",
            remedy='use pooling="mean"',
        )
    elif isinstance(model.family, ImageClassifier):
        _check_of_images(model, pooling)


def _check_of_modules(pooling: str) -> None:
    """Raise unless a pooling needs to know nothing of a module's outputs but their shape."""
    if pooling in ("mean", "flatten", "cls"):
        return
    raise EvaluationError(
        f"the outputs of a module are not pooled by {pooling!r}",
        expected='"mean" over the positions, "flatten" (all of an output is one vector), or "cls" (the first position)',
        got=f"{pooling!r}: whether a module's inputs are padded is not known here",
        remedy='use CKASettings(pooling="mean"), or pool in a submodule and name it as the site',
    )


def _check_of_images(model: "AdapterModel", pooling: str) -> None:
    """Raise if an image classifier has nothing that the pooling means."""
    if pooling in ("mean", "all-tokens"):
        return
    classes = any("cls_token" in name for name, _ in model.module.named_parameters())
    if pooling == "last-token" or not classes:
        raise EvaluationError(
            f"images are not pooled by {pooling!r}",
            expected='"cls", "mean" or "all-tokens"' if classes else '"mean" or "all-tokens": no token for the class',
            got=f"{pooling!r}, which is {'a corner' if pooling == 'cls' else 'the last corner'} of the image",
            remedy=f'use pooling="{"cls" if classes else "mean"}"',
        )

"""Image classifiers in training: PEFT has no task type for them, so their head and targets are named here."""

from collections.abc import Iterable, Sequence
from typing import Any

from modeconn.adapters.skeleton import IMAGES
from modeconn.errors import ModelError, RunError
from modeconn.models.norm_statistics import running_norms

_QUERY_AND_VALUE = (("q_proj", "v_proj"), ("query", "value"))  # what attention calls them


def head_modules(module: Any) -> list[str]:  # noqa: ANN401  (a model of transformers)
    """The outermost modules that have weights and are not the backbone: those that training begins anew.

    Args:
        module: An image classifier with a backbone of its own.
    """
    parts = [(name, part) for name, part in module.named_children() if name != module.base_model_prefix]
    return [name for name, part in parts if next(part.parameters(), None) is not None]


def image_options(module: Any, known: Iterable[str], options: dict[str, Any], kind: str) -> dict[str, Any]:  # noqa: ANN401
    """The settings of an adapter of an image classifier, completed: no task type, the head saved whole, its targets.

    Args:
        module: The base model.
        known: The settings that PEFT has for the kind.
        options: Those that are given.
        kind: The kind of adapter, for the message.

    Raises:
        RunError: If the kind saves no head: prompts, which models of images do not read, and some others.
    """
    known = set(known)
    if "modules_to_save" not in known or "num_virtual_tokens" in known:
        raise RunError(
            f"an adapter of the kind {kind} cannot be trained for images",
            expected="a kind that changes weights and saves the new head beside them, as lora does",
            got=kind,
            remedy="give another --adapter, or full",
        )
    complete = {**options, "task_type": None}
    complete["modules_to_save"] = options.get("modules_to_save") or head_modules(module)
    targets = _usual_targets(module)
    if "target_modules" in known and not options.get("target_modules") and targets:
        complete["target_modules"] = list(targets)
    return complete


def check_trainable(module: Any, task_type: str) -> None:  # noqa: ANN401
    """Raise if training would change more of an image model than its weights.

    Raises:
        ModelError: If norms keep running statistics, which no checkpoint of a point holds.
    """
    norms = running_norms(module) if task_type == IMAGES else []
    if norms:
        raise ModelError(
            f"{type(module).__name__} cannot be trained here",
            expected="a model whose norms keep no running statistics, as vision transformers and ConvNeXt",
            got=f"{len(norms)} norms with running statistics, which are no weights",
            remedy="take another base model; points of such modules can be measured in Python with ModuleModel",
        )


def _usual_targets(module: Any) -> Sequence[str]:  # noqa: ANN401
    """What the attention of a model calls query and value; none where it has neither."""
    names = {name.rpartition(".")[2] for name, _ in module.named_modules()}
    return next((pair for pair in _QUERY_AND_VALUE if names.issuperset(pair)), ())

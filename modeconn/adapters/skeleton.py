"""What a full model is made of, from its config alone: names and shapes of the parameters, and which are one."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from modeconn.adapters.experts import conversions_of
from modeconn.errors import AdapterError, listed

IMAGES = "IMAGE_CLASSIFICATION"  # PEFT has no name for it: adapters of such models name no task type
AUTO_CLASSES = {
    "CAUSAL_LM": "AutoModelForCausalLM",
    "SEQ_2_SEQ_LM": "AutoModelForSeq2SeqLM",
    "SEQ_CLS": "AutoModelForSequenceClassification",
    IMAGES: "AutoModelForImageClassification",
}
LANGUAGE_MODELS = ("CAUSAL_LM", "SEQ_2_SEQ_LM")
CLASSIFIERS = ("SEQ_CLS", IMAGES)
# Buffers that old versions of transformers wrote, and renamings that it still reads.
_OLD_BUFFERS = (r"rotary_emb\.inv_freq$", r"\.masked_bias$", r"\.attn\.bias$", r"position_ids$")
_OLD_ENDINGS = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
_COUNTS = re.compile(r"n_layers?|(num|n|encoder|decoder)_(.*_)?(layers|experts|blocks|groups)|layers|depth")
_MOST_LAYERS = 1000  # that a model may have without a tensor for each: some use one layer several times
_MOST_LABELS = 10**6


@dataclass(frozen=True)
class Skeleton:
    """A model of transformers without its numbers.

    Attributes:
        shapes: Parameter name -> shape; of tied parameters, the first name only.
        ties: The other names of tied parameters -> the first.
        transposed: Parameters that are stored as `[in, out]`, or `[E, in, out]`.
        tables: Parameters of embeddings.
        heads: The outermost modules that are not the backbone and no language model's output.
        prefix: "model." or what the backbone is called; empty if all is backbone.
        task_type: PEFT's name of what the model is for; None if it is for something else.
        architecture: The model's class.
        ignored: Patterns of names that files may hold beside the parameters.
        conversions: How transformers stacks experts and renames what has another name in files while it loads, which it
            undoes in the files that it writes.
    """

    shapes: Mapping[str, tuple[int, ...]]
    ties: Mapping[str, str]
    transposed: frozenset[str]
    tables: frozenset[str]
    heads: tuple[str, ...]
    prefix: str
    task_type: str | None
    architecture: str
    ignored: tuple[str, ...]
    conversions: tuple[Any, ...] = ()

    @classmethod
    def of(cls, raw: Mapping[str, Any], origin: str, *, task_type: str | None = None) -> "Skeleton":
        """The skeleton of the model that a config.json describes.

        Args:
            raw: The content of config.json.
            origin: Where it was read, for messages.
            task_type: What the model is used for; by default what its architecture says.

        Raises:
            AdapterError: If transformers has no such model.
        """
        from transformers.pytorch_utils import Conv1D

        model, task_type = _empty_model(raw, origin, task_type)
        shapes, ties, first = {}, {}, {}
        for name, parameter in model.named_parameters(remove_duplicate=False):
            if (known := first.setdefault(id(parameter), name)) == name:
                shapes[name] = tuple(parameter.shape)
            else:
                ties[name] = known
        prefix = model.base_model_prefix
        prefix = f"{prefix}." if prefix and hasattr(model, prefix) else ""
        heads = () if task_type in LANGUAGE_MODELS or not prefix else _outermost(shapes, outside=prefix)
        buffers = tuple(f"^{re.escape(name)}$" for name, _ in model.named_buffers())
        return cls(
            shapes,
            ties,
            _weights_of(model, Conv1D) | _turned_experts(model),
            _weights_of(model, torch.nn.Embedding),
            heads,
            prefix,
            task_type,
            type(model).__name__,
            (*buffers, *_OLD_BUFFERS, *(model._keys_to_ignore_on_load_unexpected or ())),
            conversions_of(model),
        )

    def name_of(self, stored: str, *, prefixed: bool) -> str | None:
        """The parameter that a name in a file means, or None for what is no parameter.

        Args:
            stored: The name in the file.
            prefixed: Whether the file's names carry the backbone's prefix.
        """
        for old, new in _OLD_ENDINGS.items():
            stored = stored.removesuffix(old) + new if stored.endswith(old) else stored
        known = stored in self.shapes or stored in self.ties
        name = stored if known or prefixed else self.prefix + stored
        is_parameter = name in self.shapes or name in self.ties
        return None if not is_parameter and any(re.search(pattern, name) for pattern in self.ignored) else name


def task_type_of(config: Any) -> str:  # noqa: ANN401  (a config of transformers)
    """What a model is for: SEQ_2_SEQ_LM, SEQ_CLS (encoders), IMAGE_CLASSIFICATION (models of images), or CAUSAL_LM."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES

    if _reads_images(config):
        return IMAGES
    classifier = any(name.endswith("ForSequenceClassification") for name in config.architectures or ())
    if config.is_encoder_decoder:
        return "SEQ_CLS" if classifier else "SEQ_2_SEQ_LM"
    encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not getattr(config, "is_decoder", False)
    return "SEQ_CLS" if classifier or encoder else "CAUSAL_LM"


def _reads_images(config: Any) -> bool:  # noqa: ANN401
    """Whether a model is an image classifier, or of a kind that is one and writes no text."""
    from transformers.models.auto import modeling_auto as auto

    if any("ForImageClassification" in name for name in config.architectures or ()):
        return True
    kind = config.model_type
    of_text = kind in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES or kind in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return kind in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES and not of_text


def _empty_model(raw: Mapping[str, Any], origin: str, task_type: str | None) -> tuple[Any, str | None]:
    """The model on the meta device, which has shapes and no memory, and its task type."""
    import transformers

    try:
        config = transformers.CONFIG_MAPPING[raw["model_type"]].from_dict(dict(raw))
        own = getattr(transformers, (config.architectures or [""])[0], None)
        task_type = task_type or task_type_of(config)
        auto = getattr(transformers, AUTO_CLASSES[task_type])
        with torch.device("meta"):
            if type(config) in auto._model_mapping:
                return auto.from_config(config), task_type
            return own(config), None  # type: ignore[misc]  # None is no class: a TypeError
    except Exception as error:  # transformers and what checks its settings raise many kinds
        raise AdapterError(
            f"cannot tell what model {origin} is",
            expected="a config.json with a model_type and architecture that transformers has (code that comes with a"
            " model is not run), and settings of the sorts that it reads",
            got=f"model_type {raw.get('model_type')!r}, architectures {raw.get('architectures')!r}: {_told(error)}",
            remedy="take a model that this version of transformers has, or update transformers; correct a setting that"
            " the message names",
        ) from error


def _told(error: Exception) -> str:
    """An error in one line; those of settings name the setting, and the reason below."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:2]])


def check_counts(raw: Mapping[str, Any], names: Iterable[str], origin: str) -> None:
    """Raise if a config speaks of far more layers, experts or classes than there can be: building them never ends.

    Args:
        raw: The content of config.json.
        names: Those of the tensors; their numbers say what there is.
        origin: Where it was read, for messages.
    """
    there = max((int(number[:9]) for name in names for number in re.findall(r"\d+", name)), default=0) + 1
    odd = [
        f"{key}={value}"
        for key, value in _numbers(raw)
        if (_COUNTS.fullmatch(key) and value > max(there, _MOST_LAYERS))
        or (key == "num_labels" and value > _MOST_LABELS)
    ]
    if odd:
        raise AdapterError(
            f"cannot tell what model {origin} is",
            expected=f"as many layers and experts as the tensors have, whose numbers end at {there - 1}, and"
            f" {_MOST_LABELS} classes at most",
            got=listed(odd),
            remedy="use the config.json that was saved with these weights",
        )


def _numbers(raw: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """The settings that are numbers, those of the models within a model included."""
    for key, value in raw.items():
        if isinstance(value, Mapping):
            yield from _numbers(value)
        elif isinstance(value, int | float):
            yield str(key), value


def _outermost(names: Mapping[str, Any], *, outside: str) -> tuple[str, ...]:
    """The first parts of the names that do not begin with a prefix, each once."""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in names if not name.startswith(outside)))


def _turned_experts(model: torch.nn.Module) -> frozenset[str]:
    """The fused weights of experts that are stored as `[E, in, out]`."""
    turned = [(name, module) for name, module in model.named_modules() if getattr(module, "is_transposed", False)]
    return frozenset(
        f"{name}.{leaf}"
        for name, module in turned
        for leaf, one in module.named_parameters(recurse=False)
        if one.ndim == 3
    )


def _weights_of(model: torch.nn.Module, kind: type[torch.nn.Module]) -> frozenset[str]:
    """The weights of all modules of one kind."""
    return frozenset(f"{name}.weight" for name, module in model.named_modules() if isinstance(module, kind))

"""What full fine-tunes must have in common: between two that use their weights differently there is no model."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from modeconn.adapters.kinds.full import MODEL_SETTINGS
from modeconn.errors import AdapterError, listed

if TYPE_CHECKING:
    from modeconn.adapters.adapter import Adapter

# Names, dtypes, versions, labels and tokens; and what acts in training only, or changes how, not what, is computed.
_UNDECIDING = re.compile(
    r"_name_or_path|architectures|auto_map|_commit_hash|(torch_)?dtype|transformers_version|id2label|label2id"
    r"|use_cache|\w+_token_ids?|task_specific_params|finetuning_task|problem_type|return_dict|output_(attentions|hidden_states|scores)"
    r"|\w*dropout\w*|\w+_pdrop|initializer_\w+|_?attn_implementation|\w+_implementation|gradient_checkpointing"
    r"|chunk_size_feed_forward|pretraining_tp"
)
_VOCABULARY = re.compile(r"(.*\.)?vocab_size")


def check_same_models(first: "Adapter", other: "Adapter") -> None:
    """Raise if two full fine-tunes are different functions of their weights; other points pass.

    Raises:
        AdapterError: If their vocabularies have different sizes, or a setting that decides the function differs.
    """
    here, there = (point.config.raw.get(MODEL_SETTINGS) for point in (first, other))
    if here is None or there is None or here == there:
        return
    one, two = dict(_deciding(here)), dict(_deciding(there))
    differing = [key for key in one | two if one.get(key) != two.get(key)]
    told = {key: f"{key} {one.get(key)!r} and {two.get(key)!r}" for key in sorted(differing)}
    if "model_type" not in told and any(_VOCABULARY.fullmatch(key) for key in told):
        raise AdapterError(
            f"the full fine-tunes {first.name} and {other.name} have vocabularies of different sizes",
            expected="one vocabulary: the same row of the embeddings stands for the same token in both",
            got=listed(text for key, text in told.items() if _VOCABULARY.fullmatch(key)),
            remedy="resize both to one vocabulary before they are fine-tuned, with resize_token_embeddings of"
            " transformers; these two cannot be joined",
        )
    if told:
        raise AdapterError(
            f"the full fine-tunes {first.name} and {other.name} are different functions of their weights",
            expected="settings in config.json that agree, but for names, dtypes, labels, tokens and dropout",
            got=listed(told.values()),
            remedy="join fine-tunes of one base; where a config.json is wrong, put the one that was saved with the"
            " weights in its place",
        )


def _deciding(settings: Mapping[str, Any], within: str = "") -> list[tuple[str, Any]]:
    """The settings that decide a model's function, those of its parts under dotted names."""
    found = []
    for key, value in settings.items():
        if _UNDECIDING.fullmatch(key):
            continue
        found += _deciding(value, f"{within}{key}.") if isinstance(value, dict) else [(within + key, value)]
    return found

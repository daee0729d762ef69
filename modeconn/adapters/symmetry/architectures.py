"""The symmetries of a model, by its config's `model_type`."""

from collections.abc import Callable, Mapping

from modeconn.adapters.symmetry.decoders import gpt2, llama
from modeconn.adapters.symmetry.encoders import bert, vit
from modeconn.adapters.symmetry.pieces import Config
from modeconn.adapters.symmetry.spec import SymmetrySpec
from modeconn.adapters.symmetry.t5 import t5
from modeconn.adapters.symmetry.views import State, check_state
from modeconn.errors import AdapterError, listed

ARCHITECTURES: Mapping[str, Callable[[Config, State], SymmetrySpec]] = {
    "llama": llama,
    "mistral": llama,
    "qwen2": llama,
    "qwen3": llama,
    "gpt2": gpt2,
    "bert": bert,
    "t5": t5,
    "vit": vit,
}


def symmetry_of(config: Config, state: State) -> SymmetrySpec:
    """The permutations of units that leave the function of a model as it is.

    MLP units, attention heads with their inner dimensions, and the residual stream. A model without a head is
    refused: its output is the residual stream itself, in which a permutation shows. (A T5 without `lm_head.weight`
    counts as one with a tied head: its file looks the same.)

    Args:
        config: The model's config from transformers.
        state: The model's tensors by name, as in its file or its `state_dict()`. Names and shapes tell which head
            it has, and values whether that is tied.

    Returns:
        The symmetries, which hold for every checkpoint of the model with the same head and ties.

    Raises:
        AdapterError: If the architecture is not known, or the state has other parameters than it.
    """
    kind = str(getattr(config, "model_type", None))
    if kind not in ARCHITECTURES:
        raise AdapterError(
            f"no symmetries are known of a model of type {kind!r}",
            expected=f"one of {listed(ARCHITECTURES)}",
            got=repr(kind),
            remedy="write a SymmetrySpec: the groups of units, and the blocks in which they lie",
        )
    spec = ARCHITECTURES[kind](config, state)
    check_state(state, spec, "the state")
    return spec

"""Pools of prompts of which every text gets some: there is no dW, and points are combined tensor by tensor."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modeconn.adapters import methods
from modeconn.adapters.kinds.kind import PREFIX, Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.values import is_rank
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_MODULE, _PROMPTS, _KEYS = "prompt_pool", ".l2p_prompts", ".l2p_keys"
_SIZES = {"pool_size": 10, "prompt_length": 5, "top_n": 5}  # and what is meant where a file does not say


def read_pool(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort the file of a pool of M prompts `[M, V, E]` and their keys `[M, D]`.

    L2P (Wang 2022, arXiv 2112.08654).

    Raises:
        AdapterError: If a tensor is missing, left over, or not of the shape in the config.
    """
    sizes, unread = _sizes(config), Unread(tensors, config)
    prompts, keys = unread.take(_MODULE, _PROMPTS), unread.take(_MODULE, _KEYS)
    size, length = sizes["pool_size"], sizes["prompt_length"]
    if prompts.ndim != 3 or keys.ndim != 2 or (*prompts.shape[:2], len(keys)) != (size, length, size):
        raise AdapterError(
            f"the tensors of {config.origin} are not those of its settings",
            expected=f"l2p_prompts [{size}, {length}, any], l2p_keys [{size}, any]",
            got=f"l2p_prompts {list(prompts.shape)}, l2p_keys {list(keys.shape)}",
            remedy="use the adapter_config.json that was saved with these weights",
        )
    _check_agree(config, sizes)
    names = f"{PREFIX}{_MODULE}{_PROMPTS}, {PREFIX}{_MODULE}{_KEYS}, and the modules_to_save"
    return unread.finish_without_updates(unread.take_saved(), names)


def _sizes(config: "AdapterConfig") -> dict[str, int]:
    """The pool's sizes."""
    return {name: int(config.raw.get(name, default)) for name, default in _SIZES.items()}


def _check_agree(config: "AdapterConfig", sizes: Mapping[str, int]) -> None:
    """Raise unless a text can choose as many prompts as it should, and they take the room that the file says."""
    chosen, room = sizes["top_n"], sizes["top_n"] * sizes["prompt_length"]
    if chosen > sizes["pool_size"] or config.raw.get("num_virtual_tokens") not in (None, room):
        raise AdapterError(
            f"the settings of {config.origin} do not agree",
            expected=f"top_n of at most {sizes['pool_size']}, and num_virtual_tokens = top_n * prompt_length",
            got=f"top_n={chosen}, num_virtual_tokens={config.raw.get('num_virtual_tokens')}",
            remedy="use the adapter_config.json that was saved with these weights",
        )


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:  # noqa: ARG001
    """What else than the tensors decides the function."""
    return {"top_n": _sizes(config)["top_n"]}


L2P = Kind(
    name="L2P",
    read=read_pool,
    settings=frozenset({*_SIZES, "num_virtual_tokens"}),
    fits={**dict.fromkeys(_SIZES, is_rank), "num_virtual_tokens": lambda value: value is None or is_rank(value)},
    scalings=_scalings,
    has_update=False,
    register=lambda: methods.register_methods(),
    remedy="use the adapter_config.json that PEFT's save_pretrained wrote",
)

"""LoRA: tensors as PEFT names them to weight updates."""

import re
from typing import TYPE_CHECKING

import torch

from modeconn.adapters.kinds.biases import drop_head_copies, take_biases, take_tokens
from modeconn.adapters.kinds.convolution import Convolution
from modeconn.adapters.kinds.dora import Dora
from modeconn.adapters.kinds.fused import Fused, fused_parameters
from modeconn.adapters.kinds.initial import SinceStart, check_start, start_of
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.lora_files import combined_config, lora_tensors
from modeconn.adapters.kinds.lora_settings import FITS, KNOWN, factor_settings, overwritten, refused
from modeconn.adapters.kinds.replaced import AddedBias
from modeconn.adapters.part import LowRank, Part
from modeconn.adapters.update import Update
from modeconn.errors import AdapterError

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

__all__ = ["LORA", "combined_config", "lora_tensors", "plain_names", "read_lora"]

_DOWN, _UP, _BIAS = ".lora_A.weight", ".lora_B.weight", ".lora_B.bias"
_TABLE_DOWN, _TABLE_UP = ".lora_embedding_A", ".lora_embedding_B"
_LENGTHS = ".lora_magnitude_vector"
_VELORA = ".lora_velora_embed"  # compresses what the backward pass keeps; the function is that of plain LoRA
_BASE_COPIES = (".base_layer.weight", ".base_layer.bias")
# State dicts that were saved by hand keep the name that PEFT gives to the only adapter of a model.
_NAMED = re.compile(r"\.(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector)\.default(?=\.|$)")


def plain_names(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Tensors under the names that PEFT's save_pretrained writes; of two with one such name both keep their own."""
    found = {}
    for name, value in tensors.items():
        plain = _NAMED.sub(r".\1", name).replace(f"{_LENGTHS}.weight", _LENGTHS)
        found[name if plain in found or (plain != name and plain in tensors) else plain] = value
    return found


def read_lora(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort a LoRA file's tensors; every one is used.

    Raises:
        AdapterError: If a name is unknown, a factor lacks its partner, a rank is not that of the config, or the update
            against the original base cannot be known.
    """
    check_start(config)
    unread = Unread(plain_names(tensors), config)
    updates = take_tokens(unread)
    pairs = [module for module in unread.modules(_DOWN) if unread.has(module, _UP)]  # a lone factor is left over
    fused = fused_parameters(pairs, config)
    for module in pairs:
        if module in fused:
            updates[fused[module]] = Update.of(_fused(unread, module, fused[module]))
        else:
            updates |= _module(unread, module)
    for module in unread.modules(_TABLE_DOWN):
        if unread.has(module, _TABLE_UP):
            updates[f"{module}.weight"] = Update.of(_table(unread, module))
    drop_head_copies(unread)
    saved = unread.take_saved()
    updates = _with_biases(updates, take_biases(unread))
    return unread.finish(updates, saved, "pairs of lora_A and lora_B", _base_copies(unread, updates))


def _with_biases(updates: dict[str, Update], trained: dict[str, Update]) -> dict[str, Update]:
    """Updates and trained biases, sorted; to a trained bias `lora_bias` adds its own, so both parts count."""
    for name in updates.keys() & trained.keys():
        trained[name] = Update.of(*trained[name].parts, *updates[name].parts)
    return dict(sorted((updates | trained).items()))


def _base_copies(unread: Unread, updates: dict[str, Update]) -> dict[str, torch.Tensor]:
    """Use the copies of base parameters that PEFT saves beside embeddings and output layers.

    One from which the first factors were taken out (PiSSA, OLoRA) is used up and left out: it is not the base's.
    """
    found = {
        f"{module}.{suffix.rpartition('.')[2]}": unread.take(module, suffix)
        for suffix in _BASE_COPIES
        for module in unread.modules(suffix)
        if f"{module}.weight" in updates
    }
    return {name: copy for name, copy in found.items() if name not in updates or not _since_start(updates[name])}


def _since_start(update: Update) -> bool:
    """Whether an update is one of what an initialisation left of the base."""
    directions = [part.direction if isinstance(part, Dora) else part for part in update.parts]
    return any(isinstance(part, SinceStart) for part in directions)


def _module(unread: Unread, module: str) -> dict[str, Update]:
    """The update of a Linear, Conv1D or convolution, and of its bias where LoRA has one."""
    config = unread.config
    down, up = unread.take(module, _DOWN), unread.take(module, _UP)
    scaling = config.scaling(module)
    _check_pair(down, up, module, config)
    if unread.config.raw.get("velora_config") is not None and unread.has(module, _VELORA):
        unread.take(module, _VELORA)
    direction: Part
    if down.ndim > 2:
        direction = Convolution(up.flatten(1), down, scaling)
    else:
        start, direction = start_of(config.raw), LowRank(up, down, scaling)
        direction = direction if start is None else SinceStart(direction, start)
    found = {f"{module}.weight": Update.of(_with_lengths(unread, module, direction, len(up)))}
    if config.raw.get("lora_bias"):
        bias = unread.take(module, _BIAS)
        if bias.shape != up.shape[:1]:
            raise _misfit(config, module, f"lora_B.bias [{len(up)}]", {"lora_B.bias": bias, "lora_B": up})
        found[f"{module}.bias"] = Update.of(AddedBias(bias, scaling))
    return found


def _table(unread: Unread, module: str) -> Part:
    """The update of an embedding table, which PEFT stores transposed."""
    down, up = unread.take(module, _TABLE_DOWN), unread.take(module, _TABLE_UP)
    _check_pair(down, up, module, unread.config)
    direction = LowRank(down.T.contiguous(), up.T.contiguous(), unread.config.scaling(module), lookup=True)
    return _with_lengths(unread, module, direction, len(up), lookup=True)


def _fused(unread: Unread, module: str, parameter: str) -> Fused:
    """The update of a parameter of a module, as experts have them; each expert has the config's rank."""
    config = unread.config
    down, up = unread.take(module, _DOWN), unread.take(module, _UP)
    rank = config.rank(parameter)
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1] or down.shape[0] % rank:
        expected = f"lora_A [E r, in] and lora_B [out, E r] with r = {rank} for each of E experts"
        raise _misfit(config, parameter, expected, {"lora_A": down, "lora_B": up})
    return Fused.of_file(down, up, rank, config.scaling(parameter))


def _with_lengths(unread: Unread, module: str, direction: Part, size: int, *, lookup: bool = False) -> Part:
    """A DoRA update, where the config says so."""
    if not unread.config.raw.get("use_dora"):
        return direction
    lengths = unread.take(module, _LENGTHS)
    if lengths.numel() != size:
        expected = f"lora_magnitude_vector [{size}]"
        raise _misfit(unread.config, module, expected, {"lora_magnitude_vector": lengths})
    return Dora(direction, lengths.reshape(-1), lookup=lookup)


def _check_pair(down: torch.Tensor, up: torch.Tensor, module: str, config: "AdapterConfig") -> None:
    """Raise unless a module's factors fit each other and the config."""
    rank = config.rank(module)
    one_wide = all(size == 1 for size in up.shape[2:])  # of a convolution, the way back has no extent
    fits = down.ndim == up.ndim >= 2 and one_wide and down.shape[0] == up.shape[1] == rank
    if not fits and down.ndim == up.ndim > 2 and one_wide and down.shape[0] == rank and rank % up.shape[1] == 0:
        raise _grouped(config, module, {"A": down, "B": up})
    if not fits:
        expected = f"A [r, in] and B [out, r] with r = {rank} from adapter_config.json"
        raise _misfit(config, module, expected, {"A": down, "B": up})


def _grouped(config: "AdapterConfig", module: str, tensors: Tensors) -> AdapterError:
    """The error for a convolution with groups: PEFT's A reads all channels, which no kernel with groups does."""
    groups = tensors["A"].shape[0] // tensors["B"].shape[1]
    return AdapterError(
        f"the update of {module} in {config.origin} is no change of its kernel",
        expected="a convolution of one group",
        got=f"factors as PEFT makes them for groups={groups}, which reach across the groups: "
        + " and ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()),
        remedy="leave such modules out of the training (exclude_modules); PEFT cannot merge them either",
    )


def _misfit(config: "AdapterConfig", module: str, expected: str, tensors: Tensors) -> AdapterError:
    """The error for factors that cannot belong together."""
    return AdapterError(
        f"the factors of {module} in {config.origin} do not fit together",
        expected=expected,
        got=" and ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()),
        remedy="use the adapter_config.json that was saved with these weights",
    )


LORA = Kind(
    name="LORA",
    read=read_lora,
    settings=KNOWN,
    fits=FITS,
    defaults={"bias": "none"},
    scalings=factor_settings,
    refused=refused,
    overwrites=overwritten,
)

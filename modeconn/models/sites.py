"""Places in a model whose activations can be compared: layers, attention, MLP, any module, by name."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from modeconn.errors import ModelError, listed

GROUPS = ("layers", "attention", "mlp", "all")
_OF_LAYERS = {"layers", "attention", "mlp"}
_ATTENTION = re.compile(r"attn|attention", re.IGNORECASE)
_MLP = re.compile(
    r"^(mlp|ffn|feed_forward|feedforward|densereludense|block_sparse_moe|fc2|output\.dense)$", re.IGNORECASE
)
_NO_OUTPUT = re.compile(r"norm|dropout", re.IGNORECASE)  # of what is called attention: a norm beside it
_OF_ENCODER = re.compile(r"(EncDecAttention|encoder_attn|crossattention)\.(\w+\.)?(k|v|k_proj|v_proj|key|value)$")
_DEPTHS = (
    "num_hidden_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
    "n_layers",
    "num_stages",
)


@dataclass(frozen=True)
class Site:
    """One place in a model.

    Attributes:
        name: What tables call it: the module's path without what all layers have before theirs.
        module: The module's path in the model.
        before: Whether what enters the module is meant, instead of what leaves it.
        decoder: Whether it sees the tokens of an encoder-decoder's decoder: cross-attention's keys and values do not.
        chosen: Whether it was asked for by name, so that it must have one vector for each token.
    """

    name: str
    module: str
    before: bool = False
    decoder: bool = False
    chosen: bool = False


def sites_of(module: nn.Module, wanted: str | Sequence[str] = "layers") -> tuple[Site, ...]:
    """The places that are asked for, in the order of the model.

    Args:
        module: A model of transformers, or one that holds it.
        wanted: "layers" (what enters the first layer, called embedding, and what leaves every layer), "attention",
            "mlp", "all" (the layers, and every module with weights of its own inside them; of a module without a list
            of layers, every module with weights), modules' names, or several.

    Raises:
        ModelError: If the model has no list of layers, or not all that is asked for.
    """
    asked = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    stacks = _stacks(module) if _OF_LAYERS.intersection(asked) or _has_stacks(module) else {}
    shared = _shared_prefix([path.rpartition(".")[0] for path in stacks])
    names = {path.removeprefix(shared): path for path, _ in module.named_modules() if path}
    encoder_decoder = bool(getattr(getattr(module, "config", None), "is_encoder_decoder", False))

    def site(path: str, *, before: bool = False, chosen: bool = False) -> Site:
        name = path.removeprefix(shared)
        if before:  # layers.0 -> embedding, decoder.block.0 -> decoder.embedding
            name = ".".join([*name.split(".")[:-2], "embedding"])
        decoder = encoder_decoder and "decoder" in path.split(".") and not _OF_ENCODER.search(path)
        return Site(name, path, before, decoder, chosen)

    entering = {one.name: one for one in (site(f"{path}.0", before=True) for path in stacks)}
    found: dict[tuple[str, bool], Site] = {}
    for one in asked:
        if one in GROUPS:
            group = _group(stacks, one) if stacks else _with_weights(module)
            new = [*(entering.values() if one in ("layers", "all") else ()), *map(site, group)]
        elif one in entering:
            new = [entering[one]]
        elif one in names or one in names.values():
            new = [site(names.get(one, one), chosen=True)]
        else:
            raise _unknown(one, [*entering, *names])
        for place in new or [_none(one, module)]:
            found.setdefault((place.module, place.before), place)
    order = {path: number for number, (path, _) in enumerate(module.named_modules())}
    return tuple(sorted(found.values(), key=lambda place: (not place.before, order[place.module])))


def _has_stacks(module: nn.Module) -> bool:
    """Whether the lists of a model's layers can be told."""
    return bool(_found_stacks(module)[0])


def _stacks(module: nn.Module) -> dict[str, nn.ModuleList]:
    """The lists of layers by path.

    Raises:
        ModelError: If there is none.
    """
    found, depths = _found_stacks(module)
    if not found:
        raise ModelError(
            f"the layers of {type(module).__name__} cannot be found",
            expected="a list of as many layers as its config says",
            got=f"no list of {' or '.join(map(str, sorted(depths))) or 'any number of'} modules",
            remedy=f'name modules as sites, or take "all" ({listed(_with_weights(module))}); or compare activations of'
            " your own with linear_cka(x, y)",
        )
    return found


def _found_stacks(module: nn.Module) -> tuple[dict[str, nn.ModuleList], set[int]]:
    """The lists of layers by path, the outermost ones, and the lengths looked for; an encoder-decoder has two."""
    config: Any = getattr(module, "config", None)
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    depths = {int(depth) for name in _DEPTHS if (depth := getattr(config, name, None))}
    depths |= {len(stages)} if (stages := getattr(config, "depths", None)) else set()  # of Swin, ConvNeXt
    found: dict[str, nn.ModuleList] = {}
    for path, part in module.named_modules():
        inside = any(path.startswith(f"{outer}.") for outer in found)
        if isinstance(part, nn.ModuleList) and len(part) in depths and not inside:
            found[path] = part
    return found, depths


def _group(stacks: dict[str, nn.ModuleList], group: str) -> Iterable[str]:
    """The paths of a group's modules, layer by layer."""
    for path, stack in stacks.items():
        for number, layer in enumerate(stack):
            place = f"{path}.{number}"
            inner = [(name, part) for name, part in layer.named_modules() if name]
            if group in ("layers", "all"):
                yield place
            if group == "all":
                yield from (f"{place}.{name}" for name, part in inner if _has_weights(name, part))
            if group == "attention":
                yield from (f"{place}.{name}" for name in _outermost(inner, _ATTENTION, last=True))
            if group == "mlp":
                yield from (f"{place}.{name}" for name in _outermost(inner, _MLP, last=False))


def _with_weights(module: nn.Module) -> list[str]:
    """The paths of all modules with weights of their own."""
    return [path for path, part in module.named_modules() if path and _has_weights(path, part)]


def _outermost(inner: Sequence[tuple[str, nn.Module]], pattern: re.Pattern[str], *, last: bool) -> list[str]:
    """The names that a pattern matches, without those inside others; by the last part only, or by any ending."""
    found: list[str] = []
    for name, _ in inner:
        tail = name.rpartition(".")[2]
        hit = pattern.search(tail) if last else pattern.match(name) or pattern.match(tail)
        within = any(name.startswith(f"{outer}.") for outer in found)
        if hit and not within and not _NO_OUTPUT.search(tail) and "attention.output" not in name:
            found.append(name)
    return found


def _has_weights(name: str, part: nn.Module) -> bool:
    """Whether a module has weights of its own and reads every token: experts do not, position tables are no tokens."""
    return bool(part._parameters) and not isinstance(part, nn.Embedding) and "expert" not in name


def _shared_prefix(parents: Sequence[str]) -> str:
    """What all paths begin with, up to a dot."""
    shared: list[str] = []
    for parts in zip(*(parent.split(".") if parent else [] for parent in parents), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared) + "." if shared else ""


def _unknown(name: str, known: Sequence[str]) -> ModelError:
    """The error for a name that the model does not have."""
    return ModelError(
        f"the model has no layer {name!r}",
        expected=f"{', '.join(GROUPS)}, or modules out of {listed(known, limit=60)}",
        got=repr(name),
        remedy="name a module as the model does",
    )


def _none(group: str, module: nn.Module) -> Site:
    """Raises: a group without a module."""
    raise ModelError(
        f"no {group} is found in the layers of {type(module).__name__}",
        expected="modules that are named after it",
        got="none",
        remedy=f"name the modules instead of {group!r}: print(model) shows them",
    )

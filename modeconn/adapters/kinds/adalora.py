"""AdaLoRA: low-rank updates with singular values, pruned while training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from modeconn.adapters.kinds.diagonal import Diagonal
from modeconn.adapters.kinds.kind import Kind, Parts, Tensors, Unread
from modeconn.adapters.kinds.per_module import misfit, read_per_module
from modeconn.adapters.kinds.values import is_bias, is_number, is_rank

if TYPE_CHECKING:
    from modeconn.adapters.config import AdapterConfig

_TENSORS = ("lora_A", "lora_B", "lora_E")


def read_adalora(tensors: Tensors, config: "AdapterConfig") -> Parts:
    """Sort an AdaLoRA file's tensors; every one is used.

    Zhang 2023 (arXiv 2303.10512): `dW = s B diag(E) A`; the ranks differ, and s does not follow them.

    Raises:
        AdapterError: If a tensor is missing, left over, or of a shape or rank that does not fit.
    """
    kept = _kept_ranks(config)

    def part(unread: Unread, module: str) -> Diagonal | None:
        found = {name: unread.take(module, f".{name}") for name in _TENSORS}
        down, up, values = found.values()
        rank = kept.get(module, config.raw.get("init_r", 12))
        fits = down.ndim == 2 and up.ndim == 2 and tuple(values.shape) == (rank, 1)
        if not fits or not down.shape[0] == up.shape[1] == rank:
            raise misfit(config, module, f"A [r, in], B [out, r] and E [r, 1] with r = {rank}", found)
        if rank == 0:  # all pruned
            return None
        return Diagonal(up, values.reshape(-1), down, scaling=_scaling(config, rank))

    return read_per_module(Unread(tensors, config), (".lora_A",), part, "lora_A, lora_B and lora_E of each module")


def _kept_ranks(config: "AdapterConfig") -> Mapping[str, int]:
    """Module -> how many of its singular values were kept, where training pruned them.

    The keys of `rank_pattern` are names of the tensors E; the values say of each singular value whether it was kept.
    """
    pattern = config.raw.get("rank_pattern") or {}
    return {name.partition(".lora_E")[0]: sum(kept) for name, kept in pattern.items()}


def _scaling(config: "AdapterConfig", rank: int) -> float:
    """The factor s: PEFT divides by the rank before pruning, plus 1e-5, and takes `lora_alpha` of 0 as the rank."""
    alpha = config.raw.get("lora_alpha", 8)
    return (alpha if alpha > 0 else rank) / (config.raw.get("init_r", 12) + 1e-5)


def _scalings(config: "AdapterConfig", modules: Sequence[str]) -> Mapping[str, object]:
    """The factor s of each module."""
    kept = _kept_ranks(config)
    return {module: _scaling(config, kept.get(module, config.raw.get("init_r", 12))) for module in modules}


def _is_kept(value: object) -> bool:
    """Whether a value maps names to lists of true and false."""
    return value is None or (
        isinstance(value, dict)
        and all(isinstance(kept, list) and all(isinstance(one, bool) for one in kept) for kept in value.values())
    )


ADALORA = Kind(
    "ADALORA",
    read_adalora,
    # The schedule of the pruning, and settings of LoRA that PEFT does not use here (r, alpha_pattern, use_rslora).
    frozenset(
        {
            "bias",
            "alpha_pattern",
            "beta1",
            "beta2",
            "deltaT",
            "fan_in_fan_out",
            "init_lora_weights",
            "init_r",
            "lora_alpha",
            "lora_dropout",
            "megatron_core",
            "orth_reg_weight",
            "qalora_group_size",
            "r",
            "rank_pattern",
            "runtime_config",
            "target_r",
            "tfinal",
            "tinit",
            "total_step",
            "use_rslora",
        }
    ),
    fits={
        "bias": is_bias,
        "init_r": is_rank,
        "lora_alpha": lambda value: value == 0 or is_number(value),
        "rank_pattern": _is_kept,
    },
    scalings=_scalings,
)

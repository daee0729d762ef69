"""The adapter that a training run starts from: which kinds there are, and how they get into a model."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from peft import PeftConfig, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING
from torch import nn
from transformers.pytorch_utils import Conv1D

from modeconn.adapters.methods.registration import register_methods
from modeconn.adapters.skeleton import IMAGES
from modeconn.continual.image_models import image_options
from modeconn.continual.settings import TrainSettings
from modeconn.errors import ModelError, RunError, listed
from modeconn.models.adapter_model import AdapterModel
from modeconn.models.loading import quiet_peft

# PEFT has no error of its own for this.
_NO_TARGET = re.compile(
    r"specify `target_modules`|not found in the base model|No modules were targeted|Target module .* is not supported",
    re.DOTALL,
)
_DEFAULT_RANK, _DEFAULT_ALPHA = 8, 16


@dataclass(frozen=True)
class Recipe:
    """How PEFT makes a kind of adapter.

    Attributes:
        peft_type: PEFT's name of the method.
        options: Settings that make the kind of it.
        rank: The setting that `rank` is, or None where a kind has no rank.
        alpha: The setting that `lora_alpha` is.
        dropout: The setting that `lora_dropout` is.
        changes_base: Whether PEFT changes the weights beside the adapter when it makes it.
    """

    peft_type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    rank: str | None = "r"
    alpha: str | None = None
    dropout: str | None = None
    changes_base: bool = False


def _lora(*, changes_base: bool = False, **options: Any) -> Recipe:  # noqa: ANN401  (any setting)
    """A kind of LoRA."""
    return Recipe("LORA", options, alpha="lora_alpha", dropout="lora_dropout", changes_base=changes_base)


def _prompt(peft_type: str) -> Recipe:
    """A kind of prompt: `rank` has no meaning for it, `num_virtual_tokens` is its size."""
    return Recipe(peft_type, {"num_virtual_tokens": 8}, rank=None)


FULL = "full"
RECIPES: Mapping[str, Recipe] = {
    "lora": _lora(),
    "rslora": _lora(use_rslora=True),
    "dora": _lora(use_dora=True),
    "pissa": _lora(init_lora_weights="pissa", changes_base=True),
    "olora": _lora(init_lora_weights="olora", changes_base=True),
    "wegeft": Recipe("WEGEFT", alpha="alpha", dropout="dropout"),
    "loretta-rep": Recipe("LORETTA_REP", alpha="alpha", dropout="dropout"),
    "loretta-adp": Recipe("LORETTA_ADP", rank=None),
    "loha": Recipe("LOHA", alpha="alpha"),
    "lokr": Recipe("LOKR", alpha="alpha"),
    "vera": Recipe("VERA", dropout="vera_dropout"),
    "ia3": Recipe("IA3", rank=None),
    "fourierft": Recipe("FOURIERFT", {"init_weights": True}, rank=None),
    "oft": Recipe("OFT", {"r": 0, "oft_block_size": 4}, rank=None),
    "boft": Recipe("BOFT", rank=None, dropout="boft_dropout"),
    "ln-tuning": Recipe("LN_TUNING", rank=None),
    "prompt-tuning": _prompt("PROMPT_TUNING"),
    "p-tuning": _prompt("P_TUNING"),
    "prefix-tuning": _prompt("PREFIX_TUNING"),
    "l2p": Recipe("L2P", rank=None),
}


def new_adapter(model: AdapterModel, settings: TrainSettings) -> Any:  # noqa: ANN401  (a PeftModel)
    """An untrained adapter in a twin of the base model, which shares all weights that PEFT leaves alone.

    Args:
        model: The base model.
        settings: Kind, rank, scaling, dropout, modules, PEFT's own settings, and the seed of the adapter.

    Returns:
        The `PeftModel`; its adapter is called "default".

    Raises:
        RunError: If a setting is none of the kind's.
        ModelError: If no module of the base gets an adapter, or PEFT refuses the settings.
    """
    register_methods()
    config = peft_config(settings, model.family.task_type, model.module)
    apart = list(dict(model.module.named_parameters())) if RECIPES[settings.adapter].changes_base else []
    twin: Any = model.twin(apart=apart)
    _name_feedforward(config, model.module)
    torch.manual_seed(settings.seed)
    try:
        with quiet_peft():
            made = get_peft_model(twin, config)
            _check_start(made, config)
            return made
    except ValueError as error:
        told = str(error).partition("\n")[0]
        if not _NO_TARGET.search(str(error)):
            raise ModelError(
                "PEFT cannot make the adapter",
                expected="settings that PEFT takes for this base model",
                got=told,
                remedy="change what the message names",
            ) from error
        raise ModelError(
            "no module gets an adapter",
            expected=f"target_modules among {', '.join(_adaptable(model.module))}",
            got=", ".join(settings.target_modules or ()) or f"none given ({told})",
            remedy="give --target-modules",
        ) from error


def _name_feedforward(config: Any, module: Any) -> None:  # noqa: ANN401  (a config of PEFT, a model of transformers)
    """Say which of the modules given to (IA)^3 are feed-forward: PEFT's own answer may name others, and not load then.

    Raises:
        ModelError: If a given name stands for modules of both sorts.
    """
    targets = getattr(config, "target_modules", None)
    if not hasattr(config, "feedforward_modules") or config.feedforward_modules is not None or not targets:
        return
    usual = TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING.get(getattr(module.config, "model_type", ""))
    if usual is None or isinstance(targets, str):
        return  # PEFT says what it needs
    both = sorted(one for one in targets if any(name.endswith(f".{one}") for name in usual))
    if both:
        raise ModelError(
            "PEFT cannot make the adapter",
            expected=f"target_modules that tell feed-forward modules ({', '.join(usual)}) from others",
            got=", ".join(both),
            remedy='give names in full, or "feedforward_modules" in adapter_options (--adapter-options)',
        )
    config.feedforward_modules = {one for one in targets if any(one == n or one.endswith(f".{n}") for n in usual)}


def _check_start(made: Any, config: Any) -> None:  # noqa: ANN401  (a PeftModel and its config)
    """Raise where PEFT makes factors of the wrong shape: OLoRA of modules that store their weight as `[in, out]`."""
    if str(getattr(config, "init_lora_weights", None)).lower() != "olora":
        return
    turned = [name for name, part in made.named_modules() if isinstance(getattr(part, "base_layer", None), Conv1D)]
    if turned:
        raise ModelError(
            "PEFT cannot make the adapter",
            expected="modules that store their weight as [out, in], which OLoRA decomposes",
            got=f"modules of GPT-2's sort, [in, out]: {listed(sorted({name.rpartition('.')[2] for name in turned}))}",
            remedy="train another kind of adapter, such as lora or pissa",
        )


def peft_config(settings: TrainSettings, task_type: str, module: nn.Module) -> PeftConfig:
    """The settings in PEFT's words, for a base model that is used for something.

    Raises:
        RunError: If a setting is none of the kind's.
        ModelError: If PEFT refuses a value.
    """
    recipe = RECIPES[settings.adapter]
    kind: Any = PEFT_TYPE_TO_CONFIG_MAPPING[recipe.peft_type]  # type: ignore[index]  # members are strings
    given = {
        "rank": (recipe.rank, settings.rank, _DEFAULT_RANK),
        "lora_alpha": (recipe.alpha, settings.lora_alpha, _DEFAULT_ALPHA),
        "lora_dropout": (recipe.dropout, settings.lora_dropout, None),
        "target_modules": ("target_modules", settings.target_modules and list(settings.target_modules), None),
    }
    known = {one.name for one in fields(kind)} - {"peft_type", "task_type", "inference_mode", "auto_mapping"}
    options: dict[str, Any] = dict(recipe.options)
    for name, (called, value, default) in given.items():
        if value is not None and called not in known:
            raise _not_a_setting(settings.adapter, f"--{name.replace('_', '-')} {value}", known)
        if value is not None and called in settings.adapter_options:
            raise _given_twice(name, value, str(called), settings.adapter_options)
        if called in known and (value is not None or default is not None):
            options[called] = value if value is not None else default
    unknown = settings.adapter_options.keys() - known
    if unknown:
        raise _not_a_setting(settings.adapter, f"adapter_options with {', '.join(sorted(unknown))}", known)
    options |= {**settings.adapter_options, "task_type": task_type}
    if task_type == IMAGES:
        options = image_options(module, known, options, settings.adapter)
    try:
        return kind(**options)
    except (ValueError, TypeError) as error:
        raise ModelError(
            "PEFT cannot make the adapter",
            expected=f"settings that PEFT takes for {settings.adapter}",
            got=str(error).partition("\n")[0],
            remedy="change what the message names",
        ) from error


def _not_a_setting(kind: str, got: str, known: set[str]) -> RunError:
    """The error for a setting that a kind does not have."""
    return RunError(
        f"an adapter of the kind {kind} has no such setting",
        expected=f"among {', '.join(sorted(known))}, in adapter_options (--adapter-options)",
        got=got,
        remedy="leave it out, or train another kind of adapter",
    )


def _given_twice(name: str, value: object, called: str, options: Mapping[str, Any]) -> RunError:
    """The error for a setting that has a flag of its own and stands among PEFT's, too."""
    flag = f"--{name.replace('_', '-')}"
    return RunError(
        f"{name} of the adapter is given twice",
        expected=f"{flag}, or {called} in adapter_options (--adapter-options)",
        got=f"{flag} {value}, and {called}={options[called]!r}",
        remedy="leave one of them out",
    )


def _adaptable(module: nn.Module) -> list[str]:
    """The last parts of the names of all modules that can take LoRA, sorted."""
    kinds = (nn.Linear, nn.Embedding, Conv1D)
    return sorted({name.rpartition(".")[2] for name, part in module.named_modules() if isinstance(part, kinds)})

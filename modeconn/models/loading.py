"""Base models from folders and hub ids: the right class, an explicit dtype, no weight left to chance."""

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers
from torch import nn
from transformers import AutoConfig, AutoTokenizer

from modeconn.adapters.adapter import Adapter
from modeconn.adapters.base_folders import Sameness, compared
from modeconn.adapters.shards import MODEL_FILES, OLD_MODEL_FILES, has_full_model
from modeconn.adapters.skeleton import AUTO_CLASSES, CLASSIFIERS, IMAGES, task_type_of
from modeconn.adapters.tokenizers import sources_of, tokenizer_folder
from modeconn.errors import ModelError, listed
from modeconn.models.device_maps import loaded_spread
from modeconn.models.expert_products import settle_experts
from modeconn.models.image_reader import load_image_reader
from modeconn.models.quantised import check_in_full_precision, settle
from modeconn.models.sources import NO_CODE, from_local_first, quiet_transformers
from modeconn.models.vocabulary import fit_vocabulary

_DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16, "float16": torch.float16}
_MAX_LENGTH = 1024  # where neither the model nor the tokenizer sets one


def as_dtype(dtype: str | torch.dtype) -> torch.dtype:
    """A dtype by name.

    Raises:
        ModelError: If the name is not one of float32, float64, bfloat16, float16.
    """
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise ModelError(
            f"unknown dtype {dtype!r}", expected=listed(_DTYPES), got=repr(dtype), remedy='use dtype="float32"'
        )
    return _DTYPES[dtype]


def guess_task_type(source: str | Path) -> str:
    """The task type of a base model, by its config (see `task_type_of`)."""
    return task_type_of(from_local_first(AutoConfig.from_pretrained, source, **NO_CODE))


class LoadedBase(NamedTuple):
    """A base model, and what of it is not the base's.

    Attributes:
        module: The model, in `eval()`, without gradients.
        absent: Parameters that the base lacks and the points must bring along; they hold random values.
    """

    module: nn.Module
    absent: frozenset[str]


def load_base(
    source: str | Path,
    *,
    task_type: str,
    dtype: torch.dtype,
    num_labels: int | None = None,
    saved: Collection[str] | None = None,
    options: Mapping[str, Any] | None = None,
) -> LoadedBase:
    """Load a base model.

    Args:
        source: A folder or hub id; the local cache is asked before the network.
        task_type: CAUSAL_LM, SEQ_2_SEQ_LM, SEQ_CLS or IMAGE_CLASSIFICATION.
        dtype: The dtype of the weights, whatever the checkpoint's is.
        num_labels: Classes of a classifier's head; a head of another size in the checkpoint is left out.
        saved: Parameters that the points bring along; None where a classifier's new head is to be trained.
        options: What else `from_pretrained` of transformers is given, as to quantise (see `loading_options`) or spread
            the model (see `map_options`).

    Raises:
        ModelError: If the model cannot be read or spread, its quantisation is not known, or parameters would be left at
            random values.
    """
    if task_type not in AUTO_CLASSES:
        raise ModelError(
            f"adapters of the task type {task_type!r} cannot be evaluated",
            expected=listed(AUTO_CLASSES),
            got=repr(task_type),
            remedy="give task_type, or set it in adapter_config.json",
        )
    kwargs: dict[str, Any] = {"dtype": dtype, "output_loading_info": True, **NO_CODE, **(options or {})}
    if task_type in CLASSIFIERS and num_labels is not None:
        kwargs |= {"num_labels": num_labels, "ignore_mismatched_sizes": True}
    if "quantization_config" in kwargs:
        check_in_full_precision(from_local_first(AutoConfig.from_pretrained, source, **NO_CODE))
    load = partial(from_local_first, getattr(transformers, AUTO_CLASSES[task_type]).from_pretrained, source)
    with quiet_transformers():
        model, info = loaded_spread(load, **kwargs) if "device_map" in kwargs else load(**kwargs)
    absent = missing = {*info["missing_keys"], *(entry[0] for entry in info["mismatched_keys"])}
    if saved is None and task_type in CLASSIFIERS:
        missing = {name for name in missing if name.startswith(f"{model.base_model_prefix}.")}
    random = missing - set(saved or ())
    if random:
        raise ModelError(
            f"the base model {source} lacks weights",
            expected=f"every weight of {type(model).__name__}, the adapters' saved modules apart",
            got=f"nothing for {listed(random)}",
            remedy="give the model that the adapters were trained on",
        )
    settle(model)
    settle_experts(model)
    return LoadedBase(model.eval().requires_grad_(False), frozenset(absent))


def named_base(adapters: Sequence[Adapter]) -> str:
    """The base model that all adapters name, be it under several paths; of full fine-tunes that name none, the first.

    Raises:
        ModelError: If they name none, or different ones.
    """
    names = sorted({str(adapter.config.base_model) for adapter in adapters if adapter.config.base_model})
    sources = [adapter.source for adapter in adapters if adapter.config.kind.name == "FULL"]
    if not names and sources and len(sources) == len(adapters) and sources[0] is not None:
        return str(sources[0])
    same = [compared(Path(names[0]), Path(other)) for other in names[1:]]
    if not names or any(one is not Sameness.ONE for one in same):
        raise ModelError(
            "the base model is not known",
            expected="one base model, named by every adapter",
            got=(" and ".join(names) if names else "none named")
            + (", one a rounded copy of another" if set(same) == {Sameness.ROUNDED} else ""),
            remedy="give it with --base-model (in Python: base=...)",
        )
    return names[0]


def tokenizer_source(base: str | Path, adapters: Sequence[Adapter]) -> str | Path:
    """Where the tokenizer of points with a vocabulary of their own is: beside one of them, else the base's."""
    return tokenizer_folder(sources_of(adapters)) or base


def set_padding(config: Any, tokenizer: Any) -> None:  # noqa: ANN401
    """Give a config without a padding token the tokenizer's, or its end-of-sequence token: padding is masked."""
    if getattr(config, "pad_token_id", None) is None or config.pad_token_id < 0:  # -1 stands for none in old Llamas
        pad = tokenizer.pad_token_id
        config.pad_token_id = pad if pad is not None else tokenizer.eos_token_id or 0


def local_folder(source: str | Path) -> Path:
    """The folder of a model, fetched from the hub where it is neither here nor in the cache.

    Raises:
        ModelError: If it is not to be had.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder

    def fetch(hub_id: str, *, local_files_only: bool = False) -> Path:
        """A snapshot with weights, tokenizer and config."""
        from huggingface_hub import snapshot_download

        beside = ["*.json", "*.txt", "*.model", "*.jinja"]
        for patterns in (MODEL_FILES, OLD_MODEL_FILES):
            snapshot = Path(
                snapshot_download(hub_id, allow_patterns=[*patterns, *beside], local_files_only=local_files_only)
            )
            if has_full_model(snapshot):
                return snapshot
        raise OSError(f"no weights in {hub_id}")

    return from_local_first(fetch, source)


def load_reader(source: str | Path, module: Any, adapters: Sequence[Adapter], task_type: str) -> Any:  # noqa: ANN401
    """What turns examples into a model's input: its tokenizer, or its image processor.

    Args:
        source: The base's folder or hub id.
        module: The base model; its vocabulary is fitted to the points', and it gets a padding token.
        adapters: The points.
        task_type: What the model is used for.

    Raises:
        ModelError: If it cannot be read, or an image processor does not fit the model.
    """
    if task_type == IMAGES:
        return load_image_reader(source, module)
    tokenizer = load_tokenizer(tokenizer_source(source, adapters) if fit_vocabulary(module, adapters) else source)
    set_padding(module.config, tokenizer)
    return tokenizer


def load_tokenizer(source: str | Path) -> Any:  # noqa: ANN401
    """The tokenizer of a base model.

    Raises:
        ModelError: If it cannot be read.
    """
    return from_local_first(AutoTokenizer.from_pretrained, source, **NO_CODE)


def longest_input(model: nn.Module, tokenizer: Any) -> int:  # noqa: ANN401
    """The number of tokens that a model holds, 1024 where nothing says."""
    if (positions := position_limit(model)) is not None:
        return positions
    limit = getattr(tokenizer, "model_max_length", None)
    return int(limit) if limit and limit < 1_000_000 else _MAX_LENGTH


def position_limit(model: nn.Module) -> int | None:
    """The number of tokens that a model has positions for; None where it does not say."""
    config: Any = model.config
    # Relative positions, as T5's, have no end; an old n_positions in such a config says nothing.
    keys = ("max_position_embeddings",) if config.is_encoder_decoder else ("max_position_embeddings", "n_positions")
    for key in keys:
        if getattr(config, key, None):
            return int(getattr(config, key)) - _first_position(model)
    return None


def _first_position(model: nn.Module) -> int:
    """The place of a text's first token in the table of positions: RoBERTa and its kin leave out the padding's."""
    tables = [module for name, module in model.named_modules() if name.endswith("position_embeddings")]
    padding = getattr(tables[0], "padding_idx", None) if tables else None
    return 0 if padding is None else padding + 1


@contextmanager
def quiet_peft() -> Iterator[None]:
    """Silence remarks of PEFT on what is checked here: a renamed property, stored orders, ties, norms."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")
        warnings.filterwarnings("ignore", "Failed to load the CUDA extension|Setting boft_n_butterfly_factor to 1")
        warnings.filterwarnings("ignore", "Unsupported layer type .*Norm'")  # what LN tuning is for
        warnings.filterwarnings(
            "ignore", r"Model has `tie_word_embeddings=True` and a tied layer is part of the adapter"
        )
        yield

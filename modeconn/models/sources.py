"""Files of transformers from folders and the hub: the local ones first, and errors that say what is wrong."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import transformers

from modeconn.errors import ModelError

NO_CODE = {"trust_remote_code": False}  # left out, transformers asks on the terminal whether to run a model's own code


def from_local_first(loader: Callable[..., Any], source: str | Path, **kwargs: Any) -> Any:  # noqa: ANN401
    """Call a `from_pretrained` of transformers on local files, then on the hub where `source` is no folder."""
    path = Path(source).expanduser()
    name = str(path.resolve()) if path.is_dir() else str(source)
    try:
        on_hub = _may_be_on_hub(name)
        if on_hub:
            _check_there(name)
        try:
            return loader(name, local_files_only=True, **kwargs)
        except OSError:
            if not on_hub:
                raise
            return loader(name, **kwargs)
    except Exception as error:  # transformers raises OSError, ValueError, KeyError, ... for files that do not serve
        raise ModelError(
            f"cannot load the base model {name!r}",
            expected="a folder as save_pretrained of transformers writes it, or a hub id",
            got=told(error) if path.is_dir() else f"no such folder; {told(error)}",
            remedy="check the path; --base-model overrides the name that an adapter carries",
        ) from error


def _check_there(name: str) -> None:
    """Raise if a model is not in the cache, and the hub does not have it or cannot be reached: it is asked once.

    transformers tries every file six times, some of them even where it is told to look in the cache only.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    if not isinstance(try_to_load_from_cache(name, "config.json"), str):
        get_hf_file_metadata(hf_hub_url(name, "config.json"))


def _may_be_on_hub(name: str) -> bool:
    """Whether a name can be meant as a hub id: `name` or `owner/name`, where no folder `owner` is here."""
    path = Path(name)
    is_local = path.is_absolute() or path.is_dir() or ("/" in name and path.parent.is_dir())
    return not is_local and name.count("/") <= 1


def told(error: BaseException) -> str:
    """An error's kind and first line."""
    first_line = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first_line[:200]}"


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence remarks on new heads and bars while loading; the loading is checked here."""
    before = transformers.logging.get_verbosity()
    bars = transformers.logging.is_progress_bar_enabled()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)
        if bars:
            transformers.logging.enable_progress_bar()

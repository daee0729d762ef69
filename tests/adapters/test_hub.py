"""A hub id is looked up in the local cache, then fetched; offline, the error says so at once."""

import time

import pytest
from huggingface_hub import constants
from points import write_folder

from modeconn.adapters import Adapter
from modeconn.errors import AdapterError

NOT_TO_BE_HAD = (
    r"cannot fetch the adapter 'owner/adapter'\n.*a cached copy(?s:.*)nothing cached, and \w+ from the hub\n"
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty hub cache."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "no network"])
def test_an_unreachable_hub_is_told_at_once(cache, monkeypatch, offline):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    began = time.monotonic()
    with pytest.raises(AdapterError, match=NOT_TO_BE_HAD + "  remedy: check the name, or download"):
        Adapter.from_pretrained("owner/adapter")
    assert time.monotonic() - began < 10
    assert not list(cache.rglob("*.safetensors"))


def test_a_cached_adapter_is_read_without_the_network(cache):
    repository = cache / "models--owner--adapter"
    write_folder(repository / "snapshots" / "0123abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    assert Adapter.from_pretrained("owner/adapter").name == "adapter"


@pytest.mark.usefixtures("cache")
def test_a_name_that_the_hub_refuses():
    with pytest.raises(AdapterError, match=r"fetch the adapter 'owner/a--b'(?s:.*)HFValidationError from the hub"):
        Adapter.from_pretrained("owner/a--b")


def test_a_folder_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = write_folder(tmp_path / "owner" / "adapter")
    assert Adapter.from_pretrained("owner/adapter").source.resolve() == folder.resolve()

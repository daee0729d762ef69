"""Reading a pool of prompts: every tensor is used or named, and points are combined tensor by tensor."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from points import write_folder

import modeconn as mc
from modeconn.errors import AdapterError, ModeconnError

POOL = "base_model.model.prompt_pool."
SETTINGS = {"peft_type": "L2P", "task_type": "CAUSAL_LM", "pool_size": 4, "prompt_length": 2, "top_n": 3}


def read(folder: Path, seed: int = 0, tensors: Mapping[str, torch.Tensor] | None = None, **changes: Any) -> mc.Adapter:
    """A pool of four prompts with random tensors."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {f"{POOL}l2p_prompts": (4, 2, 5), f"{POOL}l2p_keys": (4, 6)}
    given = {name: torch.randn(*shape, generator=generator) for name, shape in shapes.items()}
    write_folder(folder, given | dict(tensors or {}))
    settings = {key: value for key, value in (SETTINGS | changes).items() if value is not None}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return mc.Adapter.from_pretrained(folder)


def test_a_line_combines_prompts_and_keys(tmp_path: Path) -> None:
    a, b = read(tmp_path / "a", 1), read(tmp_path / "b", 2)
    middle = mc.LinearPath(a, b, space="factors")(0.25)
    for name, value in middle.tensors.items():
        torch.testing.assert_close(value, 0.75 * a.tensors[name] + 0.25 * b.tensors[name])
    again = mc.Adapter.from_pretrained(middle.save_pretrained(tmp_path / "middle"))
    assert again.fingerprint == middle.fingerprint


def test_there_is_no_path_in_weights(tmp_path: Path) -> None:
    ends = read(tmp_path / "a", 1), read(tmp_path / "b", 2)
    with pytest.raises(ModeconnError, match=r"(?s)expected: .*got: .*remedy: .*factors"):
        mc.LinearPath(*ends, space="weights")


def test_another_number_of_chosen_prompts_is_another_function(tmp_path: Path) -> None:
    ends = read(tmp_path / "a", 1), read(tmp_path / "b", 2, top_n=2)
    with pytest.raises(ModeconnError, match=r"(?s)top_n.*remedy: "):
        mc.LinearPath(*ends, space="factors")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pool_size": 5}, r"l2p_prompts \[5, 2, any\], l2p_keys \[5, any\]\n  got: l2p_prompts \[4, 2, 5\], l2p_keys"),
        ({"prompt_length": None}, r"l2p_prompts \[4, 5, any\]"),
        ({"tensors": {f"{POOL}l2p_keys": torch.ones(3, 6)}}, r"l2p_keys \[4, any\]\n  got: .*l2p_keys \[3, 6\]"),
        ({"top_n": 5}, r"top_n of at most 4, and num_virtual_tokens = .*\n  got: top_n=5, num_virtual_tokens=None\n"),
        (
            {"num_virtual_tokens": 7},
            r"num_virtual_tokens = top_n \* prompt_length\n  got: top_n=3, .*=7\n  remedy: use",
        ),
        ({"tensors": {f"{POOL}l2p_values": torch.ones(1)}}, "got: .*l2p_values"),
        ({"top_n": 0}, "top_n"),
        ({"query": "cls"}, "query='cls'"),
    ],
)
def test_files_that_do_not_fit_their_settings(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    with pytest.raises(AdapterError, match=rf"(?s)expected: .*{told}" if told.startswith("got") else told):
        read(tmp_path, **changes)

"""Settings become plain JSON or an error that names the place."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from modeconn.errors import RunError
from modeconn.runs.strict_json import json_text, plain


@dataclass(frozen=True)
class Method:
    decay: float = 0.9


@dataclass(frozen=True)
class Settings:
    output_dir: Path = Path("runs/x")
    tasks: tuple[str, ...] = ("a",)
    method: Method = field(default_factory=Method)


def test_dataclasses_nest():
    assert plain(Settings()) == {"output_dir": "runs/x", "tasks": ["a"], "method": {"decay": 0.9}}


def test_numpy_scalars_are_the_numbers_they_hold():
    converted = plain([np.float64(0.1), np.int64(3), np.bool_(True), np.array(2.5)])
    assert converted == [0.1, 3, True, 2.5]
    assert [type(value) for value in converted] == [float, int, bool, float]


def test_text_is_json_with_a_newline():
    text = json_text({"name": "größe"})
    assert json.loads(text) == {"name": "größe"}
    assert text.endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf"), np.float32("-inf")])
def test_numbers_that_are_not_finite_are_refused(number):
    with pytest.raises(RunError, match=r"cannot write settings.rates\[1\] as JSON"):
        plain({"rates": [0.5, number]}, at="settings")


def test_objects_are_refused():
    with pytest.raises(TypeError, match=r"settings\.model: a object has no JSON form"):
        plain({"model": object()}, at="settings")

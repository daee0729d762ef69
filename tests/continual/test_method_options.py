"""Settings of methods as a file or the command line gives them."""

import re
from typing import Any

import pytest

from modeconn.continual.methods import METHODS
from modeconn.continual.settings import TrainSettings
from modeconn.errors import RunError


@pytest.mark.parametrize(
    ("method", "options", "expected"),
    [
        ("ewc", {"penalty_weight": "1e2"}, "a number"),
        ("ewc", {"num_fisher_examples": 1.5}, "a whole number"),
        ("ewc", {"penalty_weight": None}, "a number"),
        ("ilora", {"decay": True}, "a number"),
        ("replay", {"memory_batch_size": "all"}, "a whole number, or none"),
        ("der++", {"num_logits": 2.5}, "a whole number, or none"),
    ],
)
def test_what_is_no_number_is_refused_where_one_is_needed(method: str, options: dict[str, Any], expected: str) -> None:
    ((name, value),) = options.items()
    parts = rf"^{name} of {re.escape(method)} cannot be used\n  expected: {expected}\n  got: {value!r}\n  remedy: give "
    with pytest.raises(RunError, match=parts):
        TrainSettings(method=method, method_options=options).made_method()


@pytest.mark.parametrize("name", METHODS)
def test_the_defaults_of_every_method_can_be_given(name: str) -> None:
    options = METHODS[name]().settings
    assert TrainSettings(method=name, method_options=options).made_method() == METHODS[name]()


def test_whole_numbers_serve_as_numbers_and_none_where_it_has_a_meaning() -> None:
    made = TrainSettings(method="der++", method_options={"logit_weight": 1, "num_logits": None}).made_method()
    assert made.settings["logit_weight"] == 1
    assert made.settings["num_logits"] is None

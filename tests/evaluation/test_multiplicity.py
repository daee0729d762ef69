import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import modeconn as mc
from modeconn.evaluation.multiplicity import holm


def step_down(p_values: list[float], level: float) -> list[bool]:
    """Holm's procedure as it was published: reject the smallest while it is below level / (number left)."""
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda number: p_values[number])
    for done, number in enumerate(order):
        if p_values[number] > level / (len(p_values) - done):
            break
        rejected[number] = True
    return rejected


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.5))
def test_adjusted_values_decide_as_the_procedure_does(p_values: list[float], level: float) -> None:
    adjusted = holm(p_values)
    close = np.abs(adjusted - level) < 1e-9  # equal but for rounding: either is right
    assert ((adjusted <= level) == step_down(p_values, level))[~close].all()


def test_values_worked_by_hand() -> None:
    # sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and never less than the one before
    np.testing.assert_allclose(holm([0.04, 0.005, 0.03, 0.01]), [0.06, 0.02, 0.06, 0.03])


def test_a_missing_test_is_not_counted() -> None:
    np.testing.assert_allclose(holm([0.01, np.nan, 0.5]), [0.02, np.nan, 0.5])
    assert np.isnan(holm([np.nan])).all()
    assert holm([]).tolist() == []


def test_what_is_no_p_value() -> None:
    with pytest.raises(mc.EvaluationError, match=r"(?s)cannot adjust.*0 to 1.*got: 1.5.*remedy: give p-values"):
        holm([0.1, 1.5])

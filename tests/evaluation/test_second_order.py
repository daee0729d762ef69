"""The table of second-order measures at points, and the curvature along a line, against closed forms."""

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_tasks import make_task
from fit_toys import nothing, places, plane_model

import modeconn as mc
from modeconn.errors import EvaluationError, PathError
from modeconn.evaluation.curvature_table import curvature_along
from modeconn.evaluation.second_order import second_order
from modeconn.evaluation.second_order_plan import plan_second_order
from modeconn.evaluation.second_order_reading import second_order_reading
from modeconn.evaluation.second_order_settings import SecondOrderSettings

FEW = SecondOrderSettings(num_examples=4, num_probes=2, max_products=2, max_steps=1)


def bowl(outputs, _):
    """`1 + (3 x^2 - y^2) / 2`: eigenvalues 3 and -1."""
    return 1 + (outputs**2 * torch.tensor([3.0, -1.0])).sum(dim=1) / 2


def cubic(outputs, _):
    """`x^3`: the second derivative along x is 6 x."""
    return outputs[:, 0] ** 3


class Kept(dict):
    """A store in memory that counts what it is asked to save."""

    processes = None

    def load(self, key):
        return self.get(key)

    def save(self, key, records):
        self[key] = records


def test_every_point_and_task_has_its_closed_form():
    points = places((1.0, 2.0), (0.0, 0.0))
    found = second_order(points, plane_model(bowl), [nothing()], settings=SecondOrderSettings(box=0.01))
    assert found["point"].tolist() == [point.name for point in points]
    assert found["loss"].tolist() == pytest.approx([1 + (3 - 4) / 2, 1.0])
    assert found["trace"].tolist() == pytest.approx([2.0, 2.0])  # of a diagonal matrix, without error
    assert found["trace_error"].tolist() == pytest.approx([0.0, 0.0], abs=1e-6)
    assert found["top"].tolist() == pytest.approx([3.0, 3.0])
    assert found["bottom"].tolist() == pytest.approx([-1.0, -1.0])
    highest = 1 + (3 * 1.02**2 - 1.97**2) / 2  # x may move by 0.02, y by 0.03
    assert found["highest_loss"][0] == pytest.approx(highest)
    assert found["num_products"].tolist() == [32 + 2, 32 + 2]


def test_what_was_not_asked_for_is_missing():
    found = second_order(
        places((1.0, 2.0)), plane_model(bowl), [nothing()], settings=SecondOrderSettings(measures=("extremes",))
    )
    assert found[["trace", "trace_error", "sharpness", "highest_loss", "box"]].isna().all(axis=None)
    assert found["top"][0] == pytest.approx(3.0)
    assert "trace" not in " ".join(second_order_reading(found))


@pytest.fixture(scope="module")
def lora(adapters):
    points = [mc.Adapter.from_pretrained(adapters("llama", seed)) for seed in (1, 2)]
    return points, mc.AdapterModel.from_pretrained(adapters=points)


def test_finished_rows_are_taken_from_the_store_and_others_are_not(lora):
    points, model = lora
    tasks, store = [make_task("first", 0), make_task("second", 1)], Kept()
    told = []
    whole = second_order(
        points, model, tasks, settings=FEW, store=store, progress=lambda done, total, _: told.append((done, total))
    )
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    kept = dict(store)
    store.pop(next(iter(store)))  # the first row is measured again, the others are not
    for key in list(store):
        store[key] = store[key].assign(loss=-1.0)
    again = second_order(points, model, tasks, settings=FEW, store=store)
    assert again["loss"].tolist() == [whole["loss"][0], -1.0, -1.0, -1.0]
    store.update(kept)
    other = SecondOrderSettings(num_examples=5, num_probes=2, max_products=2, max_steps=1)
    second_order(points, model, tasks, settings=other, store=store)
    assert len(store) == 8  # other settings are other numbers


def test_a_plan_counts_what_the_measurement_does(lora):
    points, model = lora
    tasks = [make_task("first", 0), make_task("second", 1)]
    plan = plan_second_order(points, model, tasks, settings=FEW)
    found = second_order(points, model, tasks, settings=FEW)
    assert plan["Hessian products a point"] == f"{found['num_products'].sum() // 2} at most"
    assert plan["examples a point"] == str(found["num_examples"].sum() // 2) == "8"
    assert plan["coordinates"] == str(found["num_parameters"][0])
    assert plan["time"].endswith("at most on cpu")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"measures": ()}, "no measures"),
        ({"num_examples": -1}, "num_examples=-1"),
        ({"num_probes": 1, "max_products": 0}, "num_probes=1, max_products=0"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"box": 0.0}, "box=0"),
        ({"batch_size": 0, "max_steps": 0, "seed": -1}, "batch_size=0, max_steps=0, seed=-1"),
    ],
)
def test_settings_that_mean_nothing(given, told):
    with pytest.raises(EvaluationError, match=rf"(?s)cannot be measured so.*expected: .*got: {told}.*remedy: "):
        SecondOrderSettings(**given)


def test_products_are_counted_by_measure():
    assert SecondOrderSettings().most_products == 32 + 64
    assert SecondOrderSettings(measures=("sharpness",)).most_products == 0
    assert SecondOrderSettings(measures=("trace",)).most_gradients == 0


def test_a_cubic_along_a_line_curves_by_its_second_derivative():
    line = mc.LinearPath(*places((0.0, 0.0), (2.0, 0.0)), space="factors")
    found = curvature_along(line, plane_model(cubic), [nothing()], num_points=5)
    assert found["distance"].tolist() == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0])
    assert found["curvature"].tolist() == pytest.approx([np.nan, 3.0, 6.0, 9.0, np.nan], nan_ok=True)
    # (x + h)^3 - (x - h)^3 over 2 h is 3 x^2 + h^2
    assert found["slope"].tolist() == pytest.approx([np.nan, 1.0, 3.25, 7.0, np.nan], nan_ok=True)
    assert "smallest at t = 0.25 (3); 100%" in second_order_reading(pd.DataFrame(), found)[0]


def test_a_line_that_has_no_curvature():
    line = mc.LinearPath(*places((0.0, 0.0), (2.0, 0.0)), space="factors")
    with pytest.raises(EvaluationError, match=r"(?s)from so few positions.*expected: 3.*got: num_points=2"):
        curvature_along(line, plane_model(cubic), [nothing()], num_points=2)
    still = mc.LinearPath(*places((1.0, 0.0), (1.0, 0.0)), space="factors")
    with pytest.raises(PathError, match=r"(?s)has no curvature.*expected: two places.*the same"):
        curvature_along(still, plane_model(cubic), [nothing()], num_points=3)


def test_a_reading_names_saddles_only_where_the_errors_allow():
    row = {
        "point": "a", "task": "t", "loss": 0.5, "trace": 2.0, "trace_error": 0.1, "top": 3.0, "top_error": 0.1,
        "bottom": -1.0, "bottom_error": 0.1, "sharpness": np.nan, "num_parameters": 9,
    }  # fmt: skip
    sure, unsure = (second_order_reading(pd.DataFrame([row | {"bottom_error": e}]))[0] for e in (0.1, 1.1))
    assert (
        "eigenvalues from -1 (within 0.1) to 3 (within 0.1): it curves up in some directions and down in others."
        in sure
    )
    assert "eigenvalues from -1 (within 1.1) to 3 (within 0.1). Read in the 9 coordinates" in unsure
    many = second_order_reading(pd.DataFrame([row] * 8))
    assert (len(many), many[-1]) == (7, "2 more rows are in second_order.csv.")

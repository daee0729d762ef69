import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import COLUMN_WIDTH, plot_layer_profile

MODULES = ["model.layers.*.self_attn.q_proj.weight", "model.layers.*.mlp.up_proj.weight"]


@pytest.fixture
def table():
    rows = [
        {"point": point, "module": module, "layer": layer, "norm": scale * (layer + 1), "relative_norm": np.nan}
        for point, scale in (("old", 1.0), ("new", 2.0))
        for module in MODULES
        for layer in range(3)
    ]
    head = {"point": "old", "module": "lm_head.weight", "layer": None, "norm": 5.0, "relative_norm": np.nan}
    return pd.DataFrame([*rows, head]).astype({"layer": "Int64"})


def lines(ax):
    return {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}


def panels(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes}


def test_every_kind_of_module_has_a_panel_and_every_point_a_line(table):
    found = panels(plot_layer_profile(table))
    assert list(found) == ["self_attn.q_proj", "mlp.up_proj"]
    assert lines(found["mlp.up_proj"]) == {"old": [1.0, 2.0, 3.0], "new": [2.0, 4.0, 6.0]}


def test_relative_norms_are_drawn_where_they_are_known(table):
    figure = plot_layer_profile(table.assign(relative_norm=0.25))
    assert lines(figure.axes[0])["old"] == [0.25] * 3
    assert figure.axes[0].get_ylabel() == "norm of the update /\nnorm of the weight"
    assert plot_layer_profile(table).axes[0].get_ylabel() == "norm of the update"


@pytest.mark.parametrize(("value", "expected"), [("norm", 5.0), ("stable_rank", 3.5)])
def test_experts_of_one_layer_are_one_place(value, expected):
    rows = [{"point": "a", "module": "layers.*.experts.up[*]", "layer": 0, value: number} for number in (3.0, 4.0)]
    assert lines(plot_layer_profile(pd.DataFrame(rows), value=value).axes[0])["a"] == [expected]


def test_shares_stand_beside_chance(table):
    held = table.assign(top_rows=0.5, rows_by_chance=0.125)
    assert lines(plot_layer_profile(held, value="top_rows").axes[0])["by chance"] == [0.125, 0.125]
    assert "by chance" not in lines(plot_layer_profile(held, value="norm").axes[0])


def test_modules_can_be_chosen(table):
    (ax,) = plot_layer_profile(table, modules=[MODULES[1]]).axes
    assert ax.get_title(loc="left") == "mlp.up_proj"


@pytest.mark.parametrize("width", [6.9, COLUMN_WIDTH])
def test_nothing_clashes(table, width, clashes):
    assert clashes(plot_layer_profile(table, width=width)) == []
    assert plt.get_fignums() == []


def test_bad_tables_and_settings(table):
    with pytest.raises(EvaluationError, match=r"(?s)a layer profile: the table lacks columns.*no stable_rank"):
        plot_layer_profile(table, value="stable_rank")
    with pytest.raises(EvaluationError, match=r"(?s)nothing belongs to a layer.*got: 1 rows without"):
        plot_layer_profile(table.tail(1))
    with pytest.raises(EvaluationError, match=r"norm=-1.0 at point=old, module=model.layers"):
        plot_layer_profile(table.assign(norm=-1.0))
    with pytest.raises(RunError, match=r"(?s)cannot draw a layer profile of these.*column module.*got: \['head'\]"):
        plot_layer_profile(table, modules=["head"])

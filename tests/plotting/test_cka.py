"""Figures of CKA: what stands where, one scale for all panels, and tables that cannot be drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import COLUMN_WIDTH, PAGE_WIDTH, cka_heat
from modeconn.plotting.cka_along_path import plot_cka_along_path
from modeconn.plotting.cka_drift import plot_cka_drift
from modeconn.plotting.cka_layers import plot_cka_difference, plot_cka_layers
from modeconn.plotting.cka_table import depth_colours, short_names

LAYERS = ["embedding", "layers.0", "layers.1"]
LONG = ["ordinary", "with-a-name-that-is-very-long-and-has-no-blank", "sst2 and more words than fit"]


def rows(*, tasks=("old", "new"), points=("end",), layers=LAYERS, value, **more):
    """One row for each point, task and pair of layers."""
    names = {"reference": "start", "split": "test", "pooling": "mean", "num_examples": 30, **more}
    return pd.DataFrame(
        [
            {"point": point, "task": task, "layer": a, "layer_reference": b, "cka": value(t, i, j), **names}
            for point in points
            for t, task in enumerate(tasks)
            for i, a in enumerate(layers)
            for j, b in enumerate(layers)
        ]
    )


@pytest.fixture
def layers():
    return rows(value=lambda t, i, j: 0.9 - 0.1 * i - 0.2 * j - 0.05 * t)


def path_rows(tasks=("old", "new"), layers=LAYERS):
    table = rows(tasks=tasks, layers=layers, value=lambda t, i, j: 1.0)  # noqa: ARG005
    own = table[table["layer"] == table["layer_reference"]]
    depth = own["layer"].map({name: number for number, name in enumerate(layers)})
    curves = [own.assign(t=t, cka=1 - 0.2 * t * depth / len(layers)) for t in (0.0, 0.5, 1.0)]
    return pd.concat(curves).assign(low=lambda found: found["cka"] - 0.05, high=lambda found: found["cka"] + 0.02)


def drift_rows(tasks=("old", "new"), points=("one", "two", "three"), layers=LAYERS):
    table = rows(tasks=tasks, points=points, layers=layers, value=lambda t, i, j: 0.0)  # noqa: ARG005
    own = table[table["layer"] == table["layer_reference"]]
    step = own["point"].map({name: number for number, name in enumerate(points, 1)})
    depth = own["layer"].map({name: number for number, name in enumerate(layers)})
    return own.assign(step=step, cka=1 - 0.1 * step - 0.05 * depth, reference="base")


def panels(figure):
    return {ax.get_title(loc="left"): ax for ax in figure.axes if ax.get_title(loc="left")}


def cells(ax):
    """What is written, by the names of row and column, from the bottom."""
    sides = [[text.get_text() for text in labels] for labels in (ax.get_yticklabels(), ax.get_xticklabels())]
    places = {(int(y), int(x)): text.get_text() for text in ax.texts for x, y in [text.get_position()]}
    return {(sides[0][i], sides[1][j]): text for (i, j), text in places.items()}


def test_cells_are_the_values_and_the_first_layer_is_at_the_bottom(layers):
    ax = panels(plot_cka_layers(layers))["old"]
    assert cells(ax)["1", "emb."] == "0.70"
    assert cells(ax)["emb.", "1"] == "0.50"
    assert ax.get_ylim()[0] < ax.get_ylim()[1]
    assert ax.get_xlabel() == "layer of start"
    assert ax.get_ylabel() == "layer of end"


def test_all_panels_share_one_scale_and_one_bar(layers):
    figure = plot_cka_layers(layers)
    assert {ax.collections[0].get_clim() for ax in panels(figure).values()} == {(0.0, 1.0)}
    assert sum(ax.get_ylabel() == "CKA (debiased)" for ax in figure.axes) == 1
    negative = layers.assign(cka=layers["cka"] - 0.9)
    assert panels(plot_cka_layers(negative))["old"].collections[0].get_clim() == pytest.approx((-0.65, 1.0))


def test_a_missing_value_is_a_dash(layers):
    layers.loc[layers["layer"] == "embedding", "cka"] = np.nan
    ax = panels(plot_cka_layers(layers))["old"]
    assert cells(ax)["emb.", "1"] == "–"
    assert cells(ax)["0", "1"] == "0.40"


def test_several_pairs_of_points_have_a_panel_each():
    table = rows(tasks=("old",), points=("end", "middle"), value=lambda t, i, j: 0.5)  # noqa: ARG005
    titles = {title.replace("\n", " ") for title in panels(plot_cka_layers(table))}
    assert titles == {"end and start", "middle and start"}


def test_a_difference_has_a_scale_as_long_on_both_sides_of_0(layers):
    other = layers.assign(point="other", cka=layers["cka"] + np.where(layers["task"] == "old", 0.1, -0.3))
    figure = plot_cka_difference(layers, other)
    assert cells(panels(figure)["old"])["0", "0"] == "\N{MINUS SIGN}0.10"
    assert cells(panels(figure)["new"])["0", "0"] == "0.30"
    for ax in panels(figure).values():
        assert ax.collections[0].get_clim() == pytest.approx((-0.3, 0.3))


def test_equal_tables_differ_by_nothing(layers):
    assert panels(plot_cka_difference(layers, layers))["old"].collections[0].get_clim() == (-1, 1)


@pytest.mark.parametrize(
    "other",
    [
        lambda table: table[table["task"] == "old"],
        lambda table: table[table["layer"] != "layers.1"],
        lambda table: pd.concat([table, table.assign(point="third")]),
    ],
)
def test_a_difference_of_what_does_not_fit_is_refused(layers, other):
    with pytest.raises(EvaluationError, match="one pair of points in each table, with the same tasks and layers"):
        plot_cka_difference(layers, other(layers))


def test_a_line_for_each_layer_in_its_band():
    ax = panels(plot_cka_along_path(path_rows()))["new"]
    assert len(ax.get_lines()) == 3
    assert ax.get_lines()[2].get_ydata() == pytest.approx([1, 1 - 0.2 / 3, 1 - 0.4 / 3])
    assert len(ax.collections) == 3
    figure = ax.figure
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["embedding", "layer 0", "layer 1", "interval at one t"]


def test_panels_of_a_path_share_their_scale():
    table = path_rows()
    table.loc[table["task"] == "new", "cka"] -= 0.4
    limits = {ax.get_ylim() for ax in panels(plot_cka_along_path(table)).values()}
    assert len(limits) == 1


def test_of_many_layers_eight_have_bands_and_names():
    table = path_rows(tasks=("old",), layers=[f"layers.{i}" for i in range(33)])
    ax = panels(plot_cka_along_path(table))["old"]
    assert len(ax.get_lines()) == 33
    assert len(ax.collections) == 8
    labels = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert labels[0] == "layer 0"
    assert labels[7] == "layer 32"


def test_of_many_layers_the_one_that_falls_deepest_is_named():
    table = path_rows(tasks=("old",), layers=[f"layers.{i}" for i in range(33)])
    table.loc[(table["layer"] == "layers.11") & (table["t"] == 1), "cka"] = 0.1
    ax = panels(plot_cka_along_path(table))["old"]
    labels = [text.get_text() for text in ax.figure.legends[0].get_texts()][:8]
    assert labels == [f"layer {number}" for number in (0, 5, 11, 14, 18, 23, 27, 32)]
    assert sorted(line.get_linewidth() for line in ax.get_lines()).count(1.2) == 8


def test_layers_can_be_chosen_and_those_without_values_are_left_out():
    table = path_rows()
    assert len(panels(plot_cka_along_path(table, layers=["layers.0"]))["old"].get_lines()) == 1
    table.loc[table["layer"] == "embedding", "cka"] = np.nan
    figure = plot_cka_along_path(table)
    assert figure.legends[0].get_texts()[0].get_text() == "layer 0"


def test_without_intervals_there_are_no_bands():
    figure = plot_cka_along_path(path_rows().drop(columns=["low", "high"]))
    assert "interval at one t" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_drift_is_drawn_by_layer_and_checkpoint_in_the_order_of_the_run():
    ax = panels(plot_cka_drift(drift_rows().sample(frac=1, random_state=0).sort_values("layer")))["old"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["one", "two", "three"]
    assert cells(ax)["1", "three"] == "0.60"


def test_nothing_stays_open(layers):
    plot_cka_layers(layers)
    assert plt.get_fignums() == []


def test_short_names_and_colours():
    assert short_names(["layers.0.mlp", "layers.10.mlp"]) == ["0.mlp", "10.mlp"]
    assert short_names(["a", "b"]) == ["a", "b"]
    assert len(set(depth_colours(33))) == 33


@pytest.mark.parametrize("width", [COLUMN_WIDTH, PAGE_WIDTH])
@pytest.mark.parametrize("count", [3, 33])
def test_text_stays_inside_and_apart(width, count, clashes):
    names = ["embedding", *(f"layers.{i}" for i in range(count - 1))]
    square = rows(tasks=LONG, layers=names, value=lambda t, i, j: 0.5)  # noqa: ARG005
    drift = drift_rows(tasks=LONG, points=[f"after-{i}-{name}" for i, name in enumerate(LONG)], layers=names)
    for figure in (
        plot_cka_layers(square, width=width),
        plot_cka_along_path(path_rows(tasks=LONG, layers=names), width=width),
        plot_cka_drift(drift, width=width),
    ):
        assert clashes(figure) == []


def test_names_of_all_sites_of_a_decoder_stay_apart(clashes):
    inside = ["", ".self_attn", ".self_attn.q_proj", ".mlp.down_proj", ".post_attention_layernorm"]
    names = ["embedding", *(f"layers.{number}{part}" for number in range(8) for part in inside)]
    figure = plot_cka_layers(rows(tasks=["old"], layers=names, value=lambda t, i, j: 0.5))  # noqa: ARG005
    (ax,) = panels(figure).values()
    assert any("\n" in label.get_text() for label in ax.get_yticklabels())  # some names take two lines
    assert clashes(figure) == []


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda t: t.drop(columns="cka"), EvaluationError, "no cka"),
        (lambda t: t.iloc[:0], EvaluationError, "the table is empty"),
        (lambda t: t.assign(cka=np.nan), EvaluationError, "no value is known"),
        (lambda t: t.assign(cka=1.5), EvaluationError, "values of cka cannot be drawn"),
        (lambda t: pd.concat([t, t]), EvaluationError, "rows say the same thing twice"),
        (lambda t: pd.concat([t, t.assign(split="eval")]), RunError, "holds 2 values of split"),
    ],
)
@pytest.mark.parametrize("draw", [plot_cka_layers, plot_cka_along_path, plot_cka_drift])
def test_a_table_that_cannot_be_drawn_is_refused(draw, change, error, message):
    table = {
        plot_cka_layers: path_rows().query("t == 0"),
        plot_cka_along_path: path_rows(),
        plot_cka_drift: drift_rows(),
    }
    with pytest.raises(error, match=message):
        draw(change(table[draw]))


@pytest.mark.parametrize("layers", [["layers.9"], "layers.0"])
def test_layers_that_are_not_there_are_refused(layers):
    with pytest.raises(EvaluationError, match="cannot draw CKA along a path of these layers"):
        plot_cka_along_path(path_rows(), layers=layers)


def test_a_path_of_different_layers_is_refused(layers):
    with pytest.raises(EvaluationError, match="different layers in a row"):
        plot_cka_along_path(
            layers[layers["layer"] != layers["layer_reference"]].assign(t=0.0).drop_duplicates(["task", "layer"])
        )


def test_a_single_panel_is_as_wide_as_it_needs_and_rounds_to_zero_without_a_sign():
    heat = cka_heat.Heat(head=["a"], x_label="x", y_label="y", limits=(-1.0, 1.0))
    matrix = pd.DataFrame([[-0.001, 0.5], [0.25, 1.0]], index=["a", "b"], columns=["a", "b"])
    one = cka_heat.draw_heats({"alone": matrix}, heat, width=PAGE_WIDTH)
    assert COLUMN_WIDTH <= one.get_figwidth() < PAGE_WIDTH
    assert cka_heat.draw_heats({"a": matrix, "b": matrix}, heat, width=PAGE_WIDTH).get_figwidth() == PAGE_WIDTH
    assert [text.get_text() for text in one.axes[0].texts] == ["0.00", "0.50", "0.25", "1.00"]

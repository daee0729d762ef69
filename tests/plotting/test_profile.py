import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from modeconn.errors import EvaluationError, RunError
from modeconn.plotting import COLUMN_WIDTH, plot_profile


def draw(table, **settings):
    """The profile on bare axes: what is drawn, without the time that a new figure's layout takes."""
    return plot_profile(table, ax=Figure().subplots(), **settings)


def lines(ax):
    """The lines that have a name."""
    return {line.get_label(): line for line in ax.get_lines() if not line.get_label().startswith("_")}


def texts(ax):
    return [text.get_text() for text in ax.texts]


def star(ax):
    (line,) = [line for line in ax.get_lines() if line.get_marker() == "*"]
    return line.get_xydata().tolist()


def dotted(ax):
    return [line.get_xydata().tolist() for line in ax.get_lines() if line.get_linestyle() == ":"]


def test_each_task_is_one_line_with_the_tables_values(one_path):
    drawn = lines(draw(one_path))
    assert list(drawn) == ["old", "new", "mean of old and new"]
    assert drawn["old"].get_xydata().tolist() == [[0, 1.0], [0.5, 1.2], [1, 3.0]]
    assert drawn["new"].get_xydata().tolist() == [[0, 2.0], [0.5, 0.4], [1, 0.5]]


def test_rows_in_any_order_give_the_same_lines(one_path):
    tasks = one_path.sort_values("task", ascending=False, kind="stable")
    shuffled = tasks.iloc[[2, 0, 1, 5, 4, 3]]
    drawn = lines(draw(shuffled))
    assert drawn["old"].get_ydata().tolist() == [1.0, 1.2, 3.0]
    assert drawn["new"].get_ydata().tolist() == [2.0, 0.4, 0.5]


def test_the_mean_is_over_the_tasks(one_path):
    mean = lines(draw(one_path))["mean of old and new"]
    np.testing.assert_allclose(mean.get_ydata(), [1.5, 0.8, 1.75])


def test_the_lowest_mean_loss_is_marked_and_written(one_path):
    ax = draw(one_path)
    np.testing.assert_allclose(star(ax), [[0.5, 0.8]])
    assert "best mean loss at t = 0.50" in texts(ax)


def test_the_highest_mean_score_is_marked(one_path):
    ax = draw(one_path, metric="score")
    np.testing.assert_allclose(star(ax), [[1, 0.75]])
    assert "best mean score at t = 1.00" in texts(ax)


def test_of_equal_means_the_smallest_t_is_best(one_path):
    table = one_path.assign(score=[0.5, 0.7, 0.7, 0.5, 0.7, 0.7])
    assert star(draw(table, metric="score"))[0][0] == 0.5


def test_equal_everywhere_marks_nothing_and_says_so(one_path):
    ax = draw(one_path.assign(score=0.5), metric="score")
    assert "no best t: mean score equal everywhere" in texts(ax)
    assert all(line.get_marker() != "*" for line in ax.get_lines())


def test_mean_of_leaves_tasks_out_and_draws_them_pale(one_path):
    drawn = lines(draw(one_path, mean_of=["new"]))
    assert list(drawn) == ["old", "new"]  # the mean of one task is that task
    alone = lines(draw(one_path))
    assert to_hex(drawn["new"].get_color()) == to_hex(alone["new"].get_color())
    assert sum(drawn["old"].get_color()) > sum(matplotlib.colors.to_rgb(alone["old"].get_color()))


def test_the_mean_is_drawn_where_all_its_tasks_were_measured(one_path):
    table = one_path[~((one_path["task"] == "old") & (one_path["t"] == 0.5))]
    assert lines(draw(table))["mean of old and new"].get_xdata().tolist() == [0, 1]


@pytest.mark.parametrize(
    ("baseline", "levels"),
    [("chord", [[1.0, 3.0], [2.0, 0.5]]), ("mean", [[2.0, 2.0], [1.25, 1.25]]), (None, [])],
)
def test_the_baseline_joins_the_ends(one_path, baseline, levels):
    drawn = dotted(draw(one_path, baseline=baseline))
    assert drawn == [[[0.0, low], [1.0, high]] for low, high in levels]


def test_both_ends_are_marked_larger(one_path):
    ax = draw(one_path)
    large = [line.get_xydata().tolist() for line in ax.get_lines() if line.get_linestyle() == "None"]
    assert [[0.0, 1.0], [1.0, 3.0]] in large
    assert [[0.0, 2.0], [1.0, 0.5]] in large


def test_the_band_spans_low_to_high(one_path):
    band = draw(one_path).collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.ymin, band.ymax], [0.9, 3.3])


def test_no_band_where_the_table_has_none(one_path):
    assert not draw(one_path, metric="score").collections
    assert not draw(one_path.drop(columns=["loss_low", "loss_high"])).collections


@pytest.mark.parametrize("metric", ["loss", "score"])
def test_limits_hold_every_value_and_band(one_path, metric):
    low, high = draw(one_path, metric=metric).get_ylim()
    columns = [metric, f"{metric}_low", f"{metric}_high"]
    assert low < one_path[columns].min().min()
    assert high > one_path[columns].max().max()


def test_scores_that_are_all_one_keep_a_readable_scale(one_path):
    low, high = draw(one_path.assign(score=1.0), metric="score").get_ylim()
    assert low < 0.96
    assert 1 < high < 1.02


def test_the_title_tells_path_space_split_and_size(one_path):
    ax = plot_profile(one_path.assign(space="factors"))
    assert ax.get_title(loc="left").split() == ["one", "→", "two"]
    assert "factors space, test split, n = 50" in texts(ax)


@pytest.mark.parametrize(
    ("num_tokens", "label"),
    [(120, "mean loss (nats per scored token)"), (50, "mean loss (nats per example)")],
)
def test_the_loss_has_its_unit(one_path, num_tokens, label):
    assert draw(one_path.assign(num_tokens=num_tokens)).get_ylabel() == label


def test_the_score_has_the_metrics_name(one_path):
    assert draw(one_path, metric="score").get_ylabel() == "exact match"
    mixed = one_path.assign(metric=["accuracy"] * 3 + ["exact_match"] * 3)
    assert draw(mixed, metric="score").get_ylabel() == "score (accuracy, exact match)"


def test_it_draws_on_the_axes_given_and_nowhere_else(one_path):
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    assert plot_profile(one_path, ax=right) is right
    assert not left.get_lines()
    assert not figure.legends
    assert [text.get_text() for text in right.get_legend().get_texts()][:2] == ["old", "new"]


def test_pyplot_and_rcparams_are_left_alone(one_path):
    before = dict(matplotlib.rcParams)
    ax = plot_profile(one_path)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before
    assert ax.figure.get_figwidth() == COLUMN_WIDTH


def test_the_table_is_left_alone(one_path):
    before = one_path.copy()
    draw(one_path)
    assert one_path.equals(before)


def test_names_are_text_not_formulas(one_path):
    ax = plot_profile(one_path.assign(task=one_path["task"].replace("old", "$x^2$")))
    (legend,) = ax.figure.legends
    assert not legend.get_texts()[0].get_parse_math()


def test_several_paths_need_a_choice(profile_table):
    message = r"a profile: the table holds 2 values of path\n.*one path\n.*one -> two, two -> three\n.*plot_profiles"
    with pytest.raises(RunError, match=message):
        draw(profile_table)
    assert lines(draw(profile_table, path="two -> three"))["old"].get_ydata()[0] == 6.0


@pytest.mark.parametrize("column", ["split", "space"])
def test_several_splits_or_spaces_need_a_choice(one_path, column):
    table = one_path.assign(**{column: ["a", "b"] * 3})
    with pytest.raises(RunError, match=rf"holds 2 values of {column}\n.*\n.*a, b\n.*pass {column}="):
        draw(table)
    assert f"{'a'} {column}" in texts(draw(table, **{column: "a"}))[-1]


def test_a_path_that_is_not_there(profile_table):
    with pytest.raises(RunError, match=r"no row has path='x'\n.*one -> two, two -> three"):
        draw(profile_table, path="x")


def test_missing_columns_are_listed(one_path):
    with pytest.raises(EvaluationError, match=r"the table lacks columns\n(.*\n)*.*got: no num_tokens, space"):
        draw(one_path.drop(columns=["space", "num_tokens"]))


def test_an_empty_table(one_path):
    with pytest.raises(EvaluationError, match=r"the table is empty\n.*at least one row\n.*0 rows"):
        draw(one_path.head(0))


def test_a_missing_space_cannot_be_drawn(one_path):
    with pytest.raises(EvaluationError, match=r"names are missing(.*\n)*.*missing values in space"):
        draw(one_path.assign(space=None))


@pytest.mark.parametrize(("column", "value"), [("loss", float("nan")), ("loss", float("inf")), ("loss_low", -np.inf)])
def test_numbers_that_are_none_are_named(one_path, column, value):
    table = one_path.copy()
    table.iloc[1, table.columns.get_loc(column)] = value
    with pytest.raises(EvaluationError, match=rf"1 of 6 values of {column}(.*\n)*.*path=one -> two, task=old, t=0.5"):
        draw(table)


@pytest.mark.parametrize(("column", "metric"), [("t", "loss"), ("score", "score")])
def test_t_and_score_lie_between_0_and_1(one_path, column, metric):
    table = one_path.assign(**{column: [0.0, 0.5, 1.5] * 2})
    with pytest.raises(EvaluationError, match=rf"2 of 6 values of {column}(.*\n)*.*numbers from 0 to 1"):
        draw(table, metric=metric)


def test_two_rows_for_one_point(one_path):
    table = one_path.assign(t=[0.0, 0.5, 0.5] * 2)
    with pytest.raises(EvaluationError, match=r"rows say the same thing twice(.*\n)*.*task=old, t=0.5"):
        draw(table)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metric": "accuracy"}, r"metric='accuracy'\n.*metric one of 'loss', 'score'"),
        ({"baseline": "median"}, r"baseline='median'\n.*'chord', 'mean', None"),
        ({"mean_of": ["older"]}, r"the mean of these tasks\n.*new, old\n.*\['older'\]"),
        ({"mean_of": "old"}, r"the mean of these tasks\n.*\n.*'old'"),
        ({"mean_of": []}, r"the mean of these tasks\n.*\n.*\[\]"),
    ],
)
def test_unknown_settings(one_path, settings, message):
    with pytest.raises(RunError, match=message):
        draw(one_path, **settings)

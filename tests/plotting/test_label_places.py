"""Where labels go."""

import numpy as np
from matplotlib.figure import Figure

from modeconn.plotting.label_places import Label, draw_labels

LINE = np.array([[0.0, 0.0], [1.0, 1.0]])


def labelled(labels, curves, size=3):
    figure = Figure(figsize=(size, size))
    ax = figure.subplots()
    ax.set(xlim=(-0.2, 1.2), ylim=(-0.2, 1.2))
    draw_labels(ax, labels, curves)
    figure.draw_without_rendering()
    return ax


def at(x, y, text, **settings):
    return Label(np.array([x, y]), text, **settings)


def test_labels_of_one_place_do_not_cover_each_other():
    ax = labelled([at(0.5, 0.5, f"t = {i}") for i in range(4)], [LINE])
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 4
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_label_leaves_the_curve_free():
    (text,) = labelled([at(0.5, 0.5, "0.5")], [LINE]).texts
    box = text.get_window_extent()
    places = text.axes.transData.transform(np.linspace([0, 0], [1, 1], 200))
    assert not any(box.contains(*place) for place in places)


def test_labels_stay_in_the_axes():
    ax = labelled([at(-0.2, -0.2, "corner"), at(1.2, 1.2, "corner")], [LINE])
    for text in ax.texts:
        box = text.get_window_extent()
        assert ax.bbox.contains(box.x0, box.y0)
        assert ax.bbox.contains(box.x1, box.y1)


def test_where_there_is_no_place_the_first_label_stands():
    ax = labelled([at(0.5, 0.5, f"a long label number {i}") for i in range(9)], [LINE], size=2.5)
    assert 0 < len(ax.texts) < 9
    assert ax.texts[0].get_text().endswith("0")


def test_a_label_that_is_not_needed_covers_no_curve():
    grid = [np.array([[x, -0.2], [x, 1.2]]) for x in np.linspace(-0.2, 1.2, 60)]
    assert not labelled([at(0.5, 0.5, "0.5", needed=False)], grid).texts
    assert len(labelled([at(0.5, 0.5, "0.5")], grid).texts) == 1

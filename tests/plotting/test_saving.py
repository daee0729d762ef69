import os

import matplotlib
import pandas as pd
import pytest
from matplotlib.image import imread

from modeconn.errors import RunError
from modeconn.plotting import plot_profile, plot_profiles, plot_score_matrix, save_figure


def saved(table, stem, **settings):
    return {path.suffix[1:]: path for path in save_figure(plot_profile(table), stem, table=table, **settings)}


def test_the_images_and_the_table_are_written(one_path, tmp_path):
    written = saved(one_path, tmp_path / "new" / "profile.v1")
    assert [path.name for path in written.values()] == [f"profile.v1.{e}" for e in ("pdf", "svg", "png", "csv")]
    assert sorted(tmp_path.joinpath("new").iterdir()) == sorted(written.values())


def test_the_table_beside_the_figure_reads_back_equal(one_path, tmp_path):
    table = one_path.assign(loss=one_path["loss"] / 3).reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.read_csv(saved(table, tmp_path / "a")["csv"]), table, check_exact=True)


def test_pdf_fonts_are_embedded_truetype(one_path, tmp_path):
    content = saved(one_path, tmp_path / "a")["pdf"].read_bytes()
    assert b"/FontFile2" in content
    assert b"/Type3" not in content


def test_png_has_300_dots_per_inch_of_the_figures_width(one_path, tmp_path):
    assert imread(saved(one_path, tmp_path / "a")["png"]).shape[1] == 990


def test_the_same_table_gives_the_same_bytes(one_path, tmp_path):
    first, second = (
        {ending: path.read_bytes() for ending, path in saved(one_path, tmp_path / str(i)).items()} for i in range(2)
    )
    assert [ending for ending in first if first[ending] != second[ending]] == []


def test_the_users_style_does_not_change_the_figure(one_path, tmp_path):
    plain = saved(one_path, tmp_path / "plain", formats=["svg"])["svg"].read_bytes()
    with matplotlib.rc_context({"font.size": 25, "axes.grid": True, "savefig.bbox": "tight", "xtick.labelsize": 30}):
        styled = saved(one_path, tmp_path / "styled", formats=["svg"])["svg"].read_bytes()
    assert plain == styled


def test_svg_letters_are_outlines_and_no_date_is_kept(one_path, tmp_path):
    content = saved(one_path, tmp_path / "a")["svg"].read_text(encoding="utf-8")
    assert "<text" not in content
    assert "<dc:date>" not in content


def test_every_kind_of_figure_can_be_saved(profile_table, scores_table, tmp_path):
    save_figure(plot_profiles(profile_table), tmp_path / "profiles", table=profile_table, formats=["pdf"])
    save_figure(plot_score_matrix(scores_table), tmp_path / "scores", table=scores_table, formats=["pdf"])
    assert len(list(tmp_path.iterdir())) == 4


def test_axes_on_a_subfigure_save_the_whole_figure(one_path, tmp_path):
    figure = matplotlib.figure.Figure(figsize=(8, 3), layout="constrained")
    ax = figure.subfigures(1, 2)[0].subplots()
    plot_profile(one_path, ax=ax)
    (image, _) = save_figure(ax, tmp_path / "a", table=one_path, formats=["png"])
    assert imread(image).shape[1] == 2400


@pytest.mark.parametrize("formats", [("jpg",), "pdf", ("png", "png")])
def test_unknown_formats(one_path, tmp_path, formats):
    with pytest.raises(RunError, match=r"cannot save the figure as .*\n.*pdf, svg, png"):
        save_figure(plot_profile(one_path), tmp_path / "a", table=one_path, formats=formats)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["profile.png", "profile.csv", ""])
def test_a_stem_is_a_name_without_ending(one_path, tmp_path, name):
    stem = f"{tmp_path}/{name}" if name else ""
    with pytest.raises(RunError, match=r"under this name\n.*without ending.*\n.*\n.*leave the ending out"):
        save_figure(plot_profile(one_path), stem, table=one_path)


def test_a_file_in_the_way_of_the_folder(one_path, tmp_path):
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(RunError, match=r"cannot write the figure profile\n.*folder that can be written.*\n.*Error"):
        save_figure(plot_profile(one_path), tmp_path / "folder" / "profile", table=one_path)
    assert (tmp_path / "folder").read_text() == "a file"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_write_permission(one_path, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(RunError, match="PermissionError"):
        save_figure(plot_profile(one_path), tmp_path / "profile", table=one_path)


def test_a_failure_leaves_the_former_files_whole(one_path, tmp_path):
    class Broken(pd.DataFrame):
        def to_csv(self, *_, **__):
            raise OSError(28, "No space left on device")

    written = saved(one_path, tmp_path / "a")
    before = {path: path.read_bytes() for path in written.values()}
    with pytest.raises(RunError, match="No space left on device"):
        save_figure(plot_profile(one_path, metric="score"), tmp_path / "a", table=Broken(one_path))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before

"""A file or folder takes its place whole, whatever it is called, and nothing stays beside it."""

import pytest

from modeconn.atomic import replacing


@pytest.mark.parametrize("name", ["a", "former", "new"])
def test_a_folder_of_any_name_is_replaced(tmp_path, name):
    for content in ("first", "second"):
        with replacing(tmp_path / name, scratch=tmp_path) as temporary:
            temporary.mkdir()
            (temporary / content).write_text("")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == [name, f"{name}/second"]


def test_what_is_being_written_is_hidden_beside_its_place(tmp_path):
    with replacing(tmp_path / "a", scratch=tmp_path) as temporary:
        (beside,) = tmp_path.iterdir()
        assert beside.name.startswith(".")
        assert temporary.is_relative_to(beside)
        temporary.write_text("")


def crash_in_a_write(target):
    with replacing(target, scratch=target.parent) as temporary:
        temporary.mkdir()
        raise ZeroDivisionError


def test_a_failing_block_leaves_what_was_there(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "whole").touch()
    with pytest.raises(ZeroDivisionError):
        crash_in_a_write(tmp_path / "a")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["a", "a/whole"]

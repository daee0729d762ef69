import pytest

from modeconn.plotting.lettering import text_width, wrapped


def test_width_grows_with_the_size():
    assert text_width("profile", size=14) == pytest.approx(2 * text_width("profile", size=7), rel=0.05)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("short", ["short"]),
        ("first-name → second-name", ["first-name →", "second-name"]),
        ("a-name-that-is-far-too-long", ["a-name-that-", "is-far-too-", "long"]),
    ],
)
def test_lines_break_at_spaces_then_at_joints(text, lines):
    room = text_width("first-name →x", size=7)
    assert wrapped(text, width=room, size=7).split("\n") == lines


def test_no_letter_is_lost_and_no_line_is_too_wide():
    text = "x" * 80 + "-" + "y" * 80 + " z"
    lines = wrapped(text, width=1.0, size=7).split("\n")
    assert "".join(lines) == text.replace(" ", "") or "".join(lines) == text
    assert max(text_width(line, size=7) for line in lines) <= 1.0

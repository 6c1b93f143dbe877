import pytest

from tui.render.edges import said_below
from tui.render.layout import Line, framed, ruled

MORE: Line = (("w", "key"), (" 2 more panels", "muted"))
TITLE: Line = (("Hours", "title"),)


def said(lines: list[Line] | None) -> list[str] | None:
    return None if lines is None else ["".join(text for text, _ in line) for line in lines]


def test_the_lower_edge_of_a_box_says_it() -> None:
    assert said(said_below(framed([], 23, 3, title=TITLE), MORE)) == [
        "╭ Hours ──────────────╮",
        "│                     │",
        "╰── w 2 more panels ──╯",
    ]


def test_a_rule_says_it_between_its_title_and_its_note() -> None:
    lines = ruled([], 49, 2, title=TITLE, note=(("… 3 more", "muted"),))

    assert said(said_below(lines, MORE)) == ["─ Hours ────────── w 2 more panels ── … 3 more ──", " " * 49]


@pytest.mark.parametrize("width", [20, 25])
def test_an_edge_without_room_says_nothing(width: int) -> None:
    assert said_below(ruled([], width, 2, title=TITLE), MORE) is None

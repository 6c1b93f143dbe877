"""The pictures in the README are what the program draws today."""

from __future__ import annotations

import pytest

from tests.screenshots.picture import drawn
from tests.screenshots.scenes import SCENES, drawn_scene
from tests.support.paths import TOP

PLACE = TOP / "screenshots"


@pytest.mark.parametrize("name", SCENES)
async def test_a_picture_is_what_the_program_draws(name: str) -> None:
    current = drawn(await drawn_scene(SCENES[name]))
    there = (PLACE / f"{name}.svg").read_text()
    same = current == there  # pytest takes seconds to say how they differ
    assert same, f"redraw it: python -m tests.screenshots {name}"
    assert (PLACE / f"{name}.png").stat().st_size > 10_000


def test_braille_is_drawn_as_dots_and_text_cell_by_cell() -> None:
    svg = '<text class="c" x="0" y="20" textLength="36.6" clip-path="url(#l)">a⣿模</text>'.replace("36.6", "48.8")
    picture = drawn(svg)
    assert picture.count("<circle") == 8
    assert 'x="0 12.2 24.4"' in picture
    assert "⣿" not in picture

"""What the dashboard begins with."""

from __future__ import annotations

import pytest

from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import FakeSource
from tui.app import Dashboard


@pytest.mark.parametrize(
    ("term", "colorterm", "of_its_own"),
    [
        ("xterm-256color", "truecolor", True),
        ("xterm-256color", "", True),
        ("linux", "", False),
        ("xterm", "", False),
    ],
)
async def test_only_a_terminal_with_many_colours_gets_colours_of_ours(
    monkeypatch: pytest.MonkeyPatch, term: str, colorterm: str, of_its_own: bool
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setenv("COLORTERM", colorterm)
    assert Dashboard(FakeSource(), log=LogRing()).current_theme.ansi is not of_its_own

from __future__ import annotations

import subprocess
import sys
from datetime import UTC

import pytest

from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import NOON, FakeSource
from tui.model.dashboard import DashboardModel
from tui.screens.base import DashboardScreen
from tui.screens.modes import make_screen


@pytest.mark.parametrize("name", DashboardScreen.NAMES)
async def test_every_screen_is_made_by_its_name(name: str) -> None:
    dashboard = DashboardModel(FakeSource(), LogRing(), now_ms=lambda: NOON, zone=UTC)
    assert make_screen(name, dashboard).name == name


def test_the_first_frame_waits_for_the_modules_of_no_screen() -> None:
    code = "import sys, tui.run; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {f"tui.screens.{name}" for name in DashboardScreen.NAMES} & set(loaded)

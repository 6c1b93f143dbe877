"""Every screen in three sizes, compared with what it looked like: `pytest --snapshot-update` takes new ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC

import pytest
from textual.pilot import Pilot

from arbstr.logs.ring import LogRing
from tests.screenshots.scenes import SCENES, SEED, play
from tests.support.dashboard_fakes import lived_in
from tests.support.dashboard_pilot import SHORT, DashboardPilot
from tui.app import Dashboard


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", ["live", "requests", "providers", "money", "log"])
def test_a_screen_looks_as_it_did(name: str, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
    source, log = lived_in(SEED), LogRing()
    app = Dashboard(source, log=log, now_ms=source.clock, zone=UTC, timings=SHORT)

    async def before(pilot: Pilot[None]) -> None:
        each = DashboardPilot(source, log, app, pilot)
        await each.begin()
        await play(SCENES[name], each)

    assert snap_compare(app, terminal_size=size, run_before=before)

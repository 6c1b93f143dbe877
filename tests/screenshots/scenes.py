"""What the pictures show: a seeded source at one frozen moment, and the keys that lead to each screen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from arbstr.logs.ring import LogRing
from tests.support.dashboard_fakes import NOON, FakeSource, Traffic, lived_in
from tests.support.dashboard_pilot import DashboardPilot, dashboard_pilot

SEED = 74
SIZE = (120, 36)


@dataclass(frozen=True)
class Scene:
    """A picture: keys to press on the first screen, texts that must be there, and whose source it is."""

    keys: tuple[str, ...]
    shows: tuple[str, ...]
    source: Callable[[], FakeSource] = lambda: lived_in(SEED)
    size: tuple[int, int] = SIZE


SCENES = {
    "live": Scene((), ("✗ 502", "connection refused")),
    "requests": Scene(("2", "j", "j", "j", "j"), ("newest first", "gpt-4o")),
    "request": Scene(("2", "j", "enter"), ("Request in full", "Why this provider", "from the cache")),
    "providers": Scene(("3", "j", "j"), ("+8.0 %",)),
    "money": Scene(("4",), ("Last 1 h", "claude")),
    "log": Scene(("5",), ("following", "health changed")),
    "help": Scene(("question_mark",), ("Everywhere",)),
    "empty": Scene((), ("No requests yet", "curl"), FakeSource, (80, 24)),
    "narrow": Scene((), ("✗ 502", "connection refused"), size=(80, 24)),
}


async def drawn_scene(scene: Scene) -> str:
    """The scene as SVG."""
    async with dashboard_pilot(scene.source(), size=scene.size) as each:
        await play(scene, each)
        return each.app.export_screenshot()


async def play(scene: Scene, each: DashboardPilot) -> None:
    """Lead a dashboard to where the scene is."""
    fill_log(each.log)
    await settled(each)
    for key in scene.keys:
        await each.press(key)
        await settled(each)
    await each.shows(*scene.shows)
    await settled(each)


async def settled(each: DashboardPilot) -> None:
    """Wait until the ledger has answered everything that the screen asks for, and it has been painted."""
    dashboard = each.app.dashboard

    def known() -> bool:
        chart = dashboard.chart(dashboard.now_ms())
        asked = set(dashboard.watch.groups) <= set(dashboard.figures.groups) and dashboard.figures.window is not None
        return asked and chart is not None and None not in chart.values and dashboard.board_is_current

    await each.until(known)
    each.app.repaint()
    await each.pilot.pause(0.05)


def fill_log(log: LogRing) -> None:
    """Lines as arbstr would have logged them."""
    if log.since():
        return
    info, warning = logging.INFO, logging.WARNING
    log.add(NOON - 8_040_000, info, "arbstr.runtime.compose", "arbstr 0.1.0 listens on http://127.0.0.1:8080")
    traffic = Traffic(SEED)
    records = [traffic.request(NOON - 300_000 + number * 11_000)[1].record for number in range(25)]
    for record in records:
        status, cost = record.error_status or 200, None if record.cost_msats is None else record.cost_msats / 1000
        how = f"status={status} sats={cost} ms={record.latency_ms}"
        log.add(
            record.received_at_ms + record.latency_ms,
            info,
            "arbstr.requests",
            f"request id={record.request_id} {how} model={record.model} provider={record.provider}",
        )
    changed = "health changed provider=gamma from=closed to=open in_rotation=True"
    log.add(
        NOON - 18_000,
        warning,
        "arbstr.requests",
        f"attempt failed id={records[-1].request_id} provider=gamma failure=connect",
    )
    log.add(NOON - 18_000, warning, "arbstr.providers", f'{changed} reason="3 failures in a row"')

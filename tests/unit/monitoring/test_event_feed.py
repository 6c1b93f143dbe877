"""Events for dashboards elsewhere: numbered, resumable, bounded, and nothing while nobody watches."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from arbstr.errors import Overloaded, ShuttingDown
from arbstr.events import RequestFinished, StreamProgress
from arbstr.logs import setup
from arbstr.logs.setup import Logs
from arbstr.monitoring import event_feed
from arbstr.monitoring.event_feed import KEEP_ALIVE, EventFeed, Intervals, Watcher
from arbstr.monitoring.wire_format import FORMAT
from arbstr.redaction import Redactor
from arbstr.types import BudgetStatus
from tests.support.dashboard_fakes import FakeSource, Traffic, lived_in
from tests.support.patience import PATIENCE_S

QUICK = Intervals(gather=0.001, look=0.02, keep_alive=60.0, linger=60.0)


class Heard(NamedTuple):
    """One event as a watcher gets it."""

    id: str
    name: str
    data: Any


def events_in(block: bytes) -> list[Heard]:
    events = []
    for raw in block.decode().removesuffix("\n\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in raw.split("\n"))
        events.append(Heard(fields["id"], fields["event"], json.loads(fields["data"])))
    return events


@pytest.fixture
def source() -> FakeSource:
    return FakeSource()


@pytest.fixture
def logs() -> Iterator[Logs]:
    made = setup.configure("info", stderr=False, redactor=Redactor([]))
    yield made
    made.close()


@pytest.fixture
async def feed(source: FakeSource, logs: Logs) -> AsyncIterator[EventFeed]:
    made = EventFeed(source, logs, QUICK)
    yield made
    made.close()


async def next_of(watcher: Watcher) -> list[Heard]:
    async with asyncio.timeout(PATIENCE_S):
        return events_in(await watcher.next())


async def until(watcher: Watcher, name: str) -> Heard:
    """The next event of this name."""
    while True:
        for event in await next_of(watcher):
            if event.name == name:
                return event


def heard(source: FakeSource) -> bool:
    return any(source.bus.is_heard(kind) for kind in (StreamProgress, RequestFinished))


async def test_a_snapshot_comes_first_and_then_each_event_by_number(source: FakeSource, feed: EventFeed) -> None:
    watcher = feed.watch()
    (first,) = await next_of(watcher)
    assert first.name == "snapshot"
    assert first.data["format"] == FORMAT
    assert [each["name"] for each in first.data["snapshot"]["providers"]] == list(source.providers)
    events, end = Traffic().request(source.now_ms)
    for event in (*events, end):
        source.publish(event)
    following = await next_of(watcher)
    while following[-1].name != "request_finished":
        following += await next_of(watcher)
    numbers = [int(event.id.rpartition("-")[2]) for event in (first, *following)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [event.name for event in following[:2]] == ["request_received", "route_chosen"]
    assert following[-1].data["record"]["request_id"] == end.record.request_id


async def test_what_was_missed_meanwhile_is_sent_to_a_watcher_that_comes_back(
    source: FakeSource, feed: EventFeed
) -> None:
    watcher, other = feed.watch(), feed.watch()
    (snapshot,) = await next_of(watcher)
    await next_of(other)
    watcher.end()
    source.publish(StreamProgress("r", 7))
    await until(other, "stream_progress")
    again = feed.watch(snapshot.id)
    assert (await next_of(again))[0] == Heard(
        snapshot.id.replace("-0", "-1"), "stream_progress", {"request_id": "r", "events": 7}
    )


@pytest.mark.parametrize("last_id", ["nonsense", "", "00000000.0000-3", "-1", "99", "٣"])
async def test_an_id_that_is_unknown_begins_with_a_snapshot(feed: EventFeed, last_id: str) -> None:
    assert [event.name for event in await next_of(feed.watch(last_id))] == ["snapshot"]


async def test_a_number_that_has_not_been_reached_begins_with_a_snapshot(feed: EventFeed) -> None:
    (first,) = await next_of(feed.watch())
    assert [event.name for event in await next_of(feed.watch(first.id.replace("-0", "-5")))] == ["snapshot"]


async def test_a_watcher_that_falls_too_far_behind_gets_a_snapshot(
    source: FakeSource, feed: EventFeed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_feed, "KEPT_BYTES", 2000)
    slow = feed.watch()
    await next_of(slow)
    for number in range(100):
        source.publish(StreamProgress("r", number))
    assert [event.name for event in await next_of(slow)] == ["snapshot"]


async def test_events_that_came_too_fast_to_be_followed_leave_a_gap(source: FakeSource, feed: EventFeed) -> None:
    watcher = feed.watch()
    await next_of(watcher)
    for number in range(10_001):
        source.publish(StreamProgress("r", number))
    assert [event.name for event in await next_of(watcher)] == ["snapshot"]


async def test_what_no_event_reports_is_sent_once_it_has_changed(source: FakeSource, feed: EventFeed) -> None:
    watcher = feed.watch()
    await next_of(watcher)
    source.budgets = (BudgetStatus("global", "day", 5, 0, 10, source.now_ms + 1),)
    source.providers["beta"] = replace(source.providers["beta"], success_rate=0.25, models=("new",))
    expected = {"provider_updated", "prices_updated", "budgets_updated"}
    events: dict[str, Any] = {}
    while set(events) < expected:
        events |= {event.name: event.data for event in await next_of(watcher)}
    assert set(events) == expected
    assert events["provider_updated"]["status"]["success_rate"] == 0.25
    assert events["provider_updated"]["status"]["models"] == []
    assert events["prices_updated"]["models"] == ["new"]


async def test_other_providers_are_sent_in_a_snapshot(source: FakeSource, feed: EventFeed) -> None:
    watcher = feed.watch()
    await next_of(watcher)
    del source.providers["beta"]
    snapshot = await until(watcher, "snapshot")
    assert "beta" not in [each["name"] for each in snapshot.data["snapshot"]["providers"]]


async def test_an_age_that_only_grows_is_no_news(source: FakeSource, logs: Logs) -> None:
    source.providers["beta"] = replace(source.providers["beta"], list_age_s=20.1)
    feed = EventFeed(source, logs, replace(QUICK, keep_alive=0.2))
    watcher = feed.watch()
    await next_of(watcher)
    source.providers["beta"] = replace(source.providers["beta"], list_age_s=29.9)
    assert await watcher.next() == KEEP_ALIVE
    feed.close()


async def test_a_comment_keeps_an_idle_connection_alive(source: FakeSource, logs: Logs) -> None:
    feed = EventFeed(source, logs, replace(QUICK, keep_alive=0.01))
    watcher = feed.watch()
    await next_of(watcher)
    assert await watcher.next() == KEEP_ALIVE
    feed.close()


async def test_log_lines_are_sent_and_the_latest_are_in_the_snapshot(feed: EventFeed) -> None:
    watcher = feed.watch()
    await next_of(watcher)
    logging.getLogger("arbstr.test").warning("something\x1b[31m odd")
    line = (await until(watcher, "log_written")).data["lines"][-1]
    assert (line["level"], line["logger"]) == (logging.WARNING, "arbstr.test")
    assert "\x1b" not in line["text"]
    (snapshot,) = await next_of(feed.watch())
    assert [each["text"] for each in snapshot.data["log"]][-1] == line["text"]


async def test_nothing_listens_and_no_line_is_kept_while_nobody_watches(source: FakeSource, logs: Logs) -> None:
    feed = EventFeed(source, logs, replace(QUICK, linger=0.01))
    assert not heard(source)
    watcher = feed.watch()
    assert heard(source)
    assert logs.ring is not None
    watcher.end()
    for _ in range(1000):
        if heard(source):
            await asyncio.sleep(0.005)
    assert not heard(source)
    assert logs.ring is None
    assert [event.name for event in await next_of(feed.watch())] == ["snapshot"]
    feed.close()


async def test_the_events_go_on_for_a_watcher_who_soon_comes_back(source: FakeSource, feed: EventFeed) -> None:
    watcher = feed.watch()
    (first,) = await next_of(watcher)
    watcher.end()
    source.publish(StreamProgress("r", 7))
    assert (await next_of(feed.watch(first.id)))[0].name == "stream_progress"


async def test_closing_ends_every_watcher_at_once_and_takes_no_more(source: FakeSource, feed: EventFeed) -> None:
    watcher = feed.watch()
    await next_of(watcher)
    waiting = asyncio.create_task(watcher.next())
    await asyncio.sleep(0)
    feed.close()
    assert await waiting == b""
    assert not heard(source)
    with pytest.raises(ShuttingDown):
        feed.watch()


async def test_there_is_a_limit_to_how_many_may_watch(feed: EventFeed) -> None:
    watchers = [feed.watch() for _ in range(event_feed.MOST_WATCHERS)]
    with pytest.raises(Overloaded, match="50 watch"):
        feed.watch()
    watchers[0].end()
    assert feed.watch()


async def test_a_failure_of_its_own_ends_the_watchers_who_may_begin_again(
    source: FakeSource, feed: EventFeed, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watcher = feed.watch()
    await next_of(watcher)
    monkeypatch.setattr(source, "snapshot", lambda: 1 / 0)
    async with asyncio.timeout(PATIENCE_S):
        while await watcher.next():
            pass
    monkeypatch.undo()
    assert [event.name for event in await next_of(feed.watch())] == ["snapshot"]


async def test_a_snapshot_of_a_busy_proxy_has_its_recent_requests_newest_first(logs: Logs) -> None:
    source = lived_in()
    feed = EventFeed(source, logs, QUICK)
    (snapshot,) = await next_of(feed.watch())
    ids = [record["request_id"] for record in snapshot.data["recent"]]
    assert ids == [record.request_id for record in source.snapshot().recent]
    assert len(snapshot.data["snapshot"]["running"]) == 3
    feed.close()

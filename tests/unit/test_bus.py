"""The bus: publishing never waits, slow readers lose the oldest and know it."""

from __future__ import annotations

import asyncio

import pytest

from arbstr.bus import EventBus
from arbstr.events import Event, StreamProgress


def progress(count: int) -> StreamProgress:
    return StreamProgress("r", count)


def test_every_subscription_gets_every_event_in_order() -> None:
    bus = EventBus()
    first, second = bus.subscribe(), bus.subscribe()
    bus.publish(progress(1))
    bus.publish(progress(2))
    assert first.drain() == ([progress(1), progress(2)], 0)
    assert second.drain() == ([progress(1), progress(2)], 0)
    assert first.drain() == ([], 0)


def test_a_full_mailbox_loses_the_oldest_and_counts() -> None:
    bus = EventBus()
    mailbox = bus.subscribe(capacity=2)
    for count in range(5):
        bus.publish(progress(count))
    assert mailbox.drain() == ([progress(3), progress(4)], 3)
    assert mailbox.drain() == ([], 0)


def test_an_unsubscribed_mailbox_gets_nothing_more() -> None:
    bus = EventBus()
    mailbox = bus.subscribe()
    bus.unsubscribe(mailbox)
    bus.unsubscribe(mailbox)
    bus.publish(progress(1))
    assert len(mailbox) == 0


async def test_a_reader_waits_for_the_next_event() -> None:
    bus = EventBus()
    mailbox = bus.subscribe()
    waiting = asyncio.create_task(mailbox.next())
    await asyncio.sleep(0)
    bus.publish(progress(7))
    assert await waiting == progress(7)


def test_a_listener_that_fails_hides_nothing_from_others_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def put(self, event: Event) -> None:
            raise RuntimeError("broken")

    bus = EventBus()
    bus.attach(Broken())
    mailbox = bus.subscribe()
    for count in range(3):
        bus.publish(progress(count))
    assert mailbox.drain() == ([progress(0), progress(1), progress(2)], 0)
    assert [record.getMessage() for record in caplog.records] == [
        "Broken failed to handle an event; its figures may be wrong"
    ]

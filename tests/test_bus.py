"""The bus: publishing never waits, slow readers lose the oldest and know it."""

from __future__ import annotations

import asyncio

from arbstr.bus import EventBus
from arbstr.events import StreamProgress


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

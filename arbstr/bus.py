"""The event bus: publishing costs an append and never waits, whoever listens and however slowly."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Protocol, get_args

from arbstr.events import Event

logger = logging.getLogger(__name__)

DEFAULT_CAPACITY = 10_000
EVENTS: tuple[type[Event], ...] = get_args(Event)


class Listener(Protocol):
    """Whatever takes events."""

    def put(self, event: Event) -> None:
        """Take an event in."""
        ...


class Subscription:
    """One reader's bounded mailbox. When it is full the oldest event goes and `missed` counts it."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._waiter: asyncio.Future[None] | None = None
        self.missed = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Take an event in; called by the bus."""
        if len(self._events) == self._events.maxlen:
            self.missed += 1
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def drain(self) -> tuple[list[Event], int]:
        """All waiting events, oldest first, and how many were missed since the last drain. Never waits."""
        events, missed = list(self._events), self.missed
        self._events.clear()
        self.missed = 0
        return events, missed

    async def wait(self) -> None:
        """Return once at least one event waits. For one task at a time."""
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def next(self) -> Event:
        """The oldest waiting event, waiting for one if need be."""
        await self.wait()
        return self._events.popleft()


class EventBus:
    """Hands every published event to every subscription, synchronously; on the loop's thread only."""

    def __init__(self) -> None:
        self._faulty: list[Listener] = []
        self._listeners: dict[type[Event], list[Listener]] = {kind: [] for kind in EVENTS}

    def subscribe(self, capacity: int = DEFAULT_CAPACITY, kinds: Iterable[type[Event]] = EVENTS) -> Subscription:
        """A new mailbox that sees every event (of these kinds) from now on; `capacity` events wait at most."""
        subscription = Subscription(capacity)
        self.attach(subscription, kinds)
        return subscription

    def attach(self, listener: Listener, kinds: Iterable[type[Event]] = EVENTS) -> None:
        """Give every event (of these kinds) to a listener, within `publish`: it must be quick."""
        for kind in kinds:
            self._listeners[kind].append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Stop telling a mailbox or listener; what a mailbox holds can still be drained. Unknown ones are ignored."""
        for listeners in self._listeners.values():
            if listener in listeners:
                listeners.remove(listener)

    def publish(self, event: Event) -> None:
        """Give the event to every listener. Never waits, never raises: a listener's fault is logged once."""
        for listener in self._listeners[type(event)]:
            try:
                listener.put(event)
            except Exception as fault:  # who only watches must not stop what is watched
                self._report(listener, fault)

    def _report(self, listener: Listener, fault: Exception) -> None:
        if listener not in self._faulty:
            self._faulty.append(listener)
            message = "%s failed to handle an event; its figures may be wrong"
            logger.error(message, type(listener).__name__, exc_info=fault)

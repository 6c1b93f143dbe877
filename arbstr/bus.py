"""The event bus: publishing costs an append and never waits, however slow a listener is."""

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
    """Receives events."""

    def put(self, event: Event) -> None:
        """Handle an event."""
        ...


class Subscription:
    """One reader's bounded queue. When it is full the oldest event is dropped and counted in `missed`."""

    def __init__(self, capacity: int = DEFAULT_CAPACITY) -> None:
        self._events: deque[Event] = deque(maxlen=capacity)
        self._waiter: asyncio.Future[None] | None = None
        self.missed = 0

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Event) -> None:
        """Queue an event; called by the bus."""
        if len(self._events) == self._events.maxlen:
            self.missed += 1
        self._events.append(event)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def miss(self) -> None:
        """Count an event as missed that never came here."""
        self.missed += 1

    def drain(self) -> tuple[list[Event], int]:
        """Return all queued events, oldest first, and how many were missed since the last drain. Never waits."""
        events, missed = list(self._events), self.missed
        self._events.clear()
        self.missed = 0
        return events, missed

    async def wait(self) -> None:
        """Wait until at least one event is queued. For one task at a time."""
        while not self._events:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def next(self) -> Event:
        """Return the oldest queued event, waiting for one if there is none."""
        await self.wait()
        return self._events.popleft()


class EventBus:
    """Delivers every published event to every subscription, synchronously; on the loop's thread only."""

    def __init__(self) -> None:
        self._faulty: list[Listener] = []
        self._listeners: dict[type[Event], list[Listener]] = {kind: [] for kind in EVENTS}

    def subscribe(self, capacity: int = DEFAULT_CAPACITY, kinds: Iterable[type[Event]] = EVENTS) -> Subscription:
        """Return a new subscription to all events (of these kinds) from now on; at most `capacity` are queued."""
        subscription = Subscription(capacity)
        self.attach(subscription, kinds)
        return subscription

    def attach(self, listener: Listener, kinds: Iterable[type[Event]] = EVENTS) -> None:
        """Call a listener for every event (of these kinds), within `publish`: it must be quick."""
        for kind in kinds:
            self._listeners[kind].append(listener)

    def unsubscribe(self, listener: Listener) -> None:
        """Detach a listener; a subscription's queued events can still be drained. Unknown ones are ignored."""
        for listeners in self._listeners.values():
            if listener in listeners:
                listeners.remove(listener)

    def is_heard(self, kind: type[Event]) -> bool:
        """Return whether anybody listens to such events: else they need not be made."""
        return bool(self._listeners[kind])

    def publish(self, event: Event) -> None:
        """Deliver the event to every listener. Never waits, never raises: a listener's exception is logged once."""
        for listener in self._listeners[type(event)]:
            try:
                listener.put(event)
            except Exception as fault:  # an observer must not stop what it observes
                self._report(listener, fault)

    def _report(self, listener: Listener, fault: Exception) -> None:
        if listener not in self._faulty:
            self._faulty.append(listener)
            message = "%s failed to handle an event; its figures may be wrong"
            logger.error(message, type(listener).__name__, exc_info=fault)

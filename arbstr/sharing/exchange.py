"""Exchanges what instances share over one connection: when something changes, and every few seconds."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.postgres import shared_states
from arbstr.ledger.postgres.shared_states import Change
from arbstr.ledger.session_key import read_session_key
from arbstr.ledger.sql import Statements
from arbstr.sanitize import json_or_none
from arbstr.sharing.parts import Digests, Part

logger = logging.getLogger(__name__)

T = TypeVar("T")

RESYNC_S = 10.0  # between looks at everything that has changed, whatever was heard
APART_S = 0.05  # between exchanges: what changes meanwhile goes together
FIRST_RETRY_S, LONGEST_RETRY_S = 0.5, 15.0
FAREWELL_S = 2.0
_LONGEST_PAYLOAD = 8_000
_MOST_KNOWN = 4 * shared_states.MOST


class Channel(Protocol):
    """A connection to the ledger that listens; see `PostgresChannel`. Raises `LedgerUnavailable`."""

    async def wait(self, woken: asyncio.Event) -> None:
        """Wait until something has come, or `woken` is set."""
        ...

    async def heard(self) -> list[str]:
        """Return the payloads that have come."""
        ...

    async def do(self, work: Callable[[Statements], T]) -> T:
        """Do work in a transaction."""
        ...

    async def close(self) -> None:
        """Close it."""
        ...


class Exchange:
    """Shares what the `parts` of this `instance` find, and has them hear of others'.

    `connect` opens a channel; `jobs` are done on it at each resynchronisation. `clock` is monotonic seconds, `random`
    returns numbers from 0 to 1.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Channel]],
        instance: str,
        digests: Digests,
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connect = connect
        self._instance = instance
        self._digests = digests
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self.parts: list[Part] = []
        self.jobs: list[Callable[[Channel], Awaitable[None]]] = []
        self._errands: deque[Callable[[Channel], Awaitable[None]]] = deque()
        self._woken = asyncio.Event()
        self._synced = asyncio.Event()
        self._known: dict[tuple[str, str], int] = {}
        self._retries = 0
        self.problem: str | None = None  # why nothing is exchanged now
        self._channel: Channel | None = None

    def wake(self) -> None:
        """Note that a part has something to share."""
        self._woken.set()

    def run_errand(self, errand: Callable[[Channel], Awaitable[None]]) -> None:
        """Have this done once, soon: it waits while there is no connection, and is lost with one."""
        self._errands.append(errand)
        self.wake()

    async def synced(self, patience_s: float) -> None:
        """Wait until everything was exchanged once, or that long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_s):
                await self._synced.wait()

    async def run(self) -> None:
        """Exchange, over one connection after the other; the owner cancels it."""
        while True:
            try:
                self._channel = await self._connect()
                await self._serve(self._channel)
            except LedgerUnavailable as error:
                self._failed(str(error))
            except Exception:
                # The edge of what is shared: whatever goes wrong here, this instance goes on by itself.
                logger.exception("exchange with other instances failed")
                self._failed("The exchange with other instances failed; see arbstr's log.")
            finally:
                await self._close()
            pause_s = min(FIRST_RETRY_S * 2.0 ** min(self._retries, 10), LONGEST_RETRY_S)
            self._retries += 1
            await self._sleep(pause_s * (0.5 + self._random() / 2))

    async def say_farewell(self, last: Sequence[Callable[[Channel], Awaitable[None]]]) -> None:
        """Do the last jobs of this instance, if the database answers soon; after `run` has been cancelled."""
        if self.problem is not None:
            return
        with suppress(LedgerUnavailable, TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                self._channel = await self._connect()
                await self._send(self._channel)
                for job in last:
                    await job(self._channel)
        await self._close()

    async def _close(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()

    async def _serve(self, channel: Channel) -> None:
        self._digests.key = await channel.do(read_session_key)
        self._known.clear()  # it may be another server
        due_s, connected = self._clock(), True
        while True:
            self._woken.clear()
            if self._clock() >= due_s:
                await self._resync(channel, connected=connected)
                due_s, connected = self._clock() + RESYNC_S, False
            await self._send(channel)
            while self._errands:
                await self._do(self._errands.popleft(), channel)
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, due_s - self._clock())):
                    await channel.wait(self._woken)
            await self._sleep(APART_S)
            if self._concerns(await channel.heard()):
                await self._read(channel)

    async def _resync(self, channel: Channel, *, connected: bool) -> None:
        for part in self.parts:
            part.refresh(connected=connected)
        await self._read(channel)
        await channel.do(shared_states.prune)
        for job in self.jobs:
            await self._do(job, channel)
        self._retries = 0
        self._synced.set()
        if self.problem is not None:
            self.problem = None
            logger.info("instances hear of each other again")

    @staticmethod
    async def _do(job: Callable[[Channel], Awaitable[None]], channel: Channel) -> None:
        try:
            await job(channel)
        except LedgerUnavailable:
            raise
        except Exception:
            # The edge of one job: the others, and all that is exchanged, go on.
            logger.exception("an exchange with other instances failed")

    async def _send(self, channel: Channel) -> None:
        """Share what has changed here. A value that others need not hear of at once notifies nobody."""
        taken = [(part, changes) for part in self.parts if (changes := part.take())]
        changes = [change for _, some in taken for change in some]
        if not changes:
            return
        try:
            await channel.do(lambda db: self._put(db, changes))
        except BaseException:
            for part, some in taken:
                part.put_back(some)
            raise

    def _put(self, db: Statements, changes: Sequence[Change]) -> None:
        shared_states.put(db, changes, self._instance)
        if heard := [change.kind for change in changes if not change.quiet]:
            shared_states.notify(db, heard, self._instance)

    async def _read(self, channel: Channel) -> None:
        """Read what has changed, and have the parts hear of what is others'."""
        known = dict(self._known)
        found = await channel.do(lambda db: shared_states.changed(db, known))
        if len(known) + len(found) > _MOST_KNOWN:
            self._known.clear()
        self._known.update({(one.kind, one.key): one.version for one in found})
        for part in self.parts:
            some = [one for one in found if one.kind == part.kind and one.instance != self._instance]
            if some:
                self._apply(part, some)

    def _apply(self, part: Part, found: Sequence[shared_states.Found]) -> None:
        try:
            part.apply(found)
        except Exception:
            # Another version of arbstr, or anyone at the database, has written what this one can't read.
            if len(found) > 1:
                for one in found:
                    self._apply(part, [one])
            else:
                logger.exception("what another instance shares of %s can't be used", part.kind)

    def _concerns(self, payloads: Sequence[str]) -> bool:
        """Check whether a notification among these tells of something that a part here may want to read."""
        kinds = {part.kind for part in self.parts}
        return any(not kinds.isdisjoint(self._kinds(payload)) for payload in payloads)

    def _kinds(self, payload: str) -> list[str]:
        """Return the kinds of which a notification of others' tells. Anybody at the database may send any text."""
        said = json_or_none(payload) if len(payload) <= _LONGEST_PAYLOAD else None
        if not isinstance(said, dict) or said.get("v") != shared_states.VERSION or said.get("by") == self._instance:
            return []
        kinds = said.get("kinds")
        return [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []

    def _failed(self, problem: str) -> None:
        if self.problem is None:
            logger.warning("instances do not hear of each other until the ledger answers again: %s", problem)
        self.problem = problem

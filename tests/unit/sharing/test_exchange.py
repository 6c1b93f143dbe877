"""The exchange with other instances: what is sent when, and that nothing that comes can stop it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, TypeVar

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.postgres import shared_states
from arbstr.ledger.postgres.shared_states import Change, Found
from arbstr.sharing import exchange
from arbstr.sharing.exchange import RESYNC_S, Exchange
from arbstr.sharing.parts import Digests, Outbox
from tests.support.clock import Clock
from tests.support.patience import PATIENCE_S

T = TypeVar("T")


class Ledger:
    """What the statements do, without a database: values by kind and key, and who listens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: dict[tuple[str, str], Found] = {}
        self.puts: list[list[Change]] = []
        self.notified: list[list[str]] = []
        self.channels: list[Channel] = []
        self.away = False
        self.reads = 0
        monkeypatch.setattr(exchange, "read_session_key", lambda db: b"the ledger's")
        for name in ("put", "changed", "notify", "prune"):
            monkeypatch.setattr(shared_states, name, getattr(self, name))

    def put(self, db: Any, changes: Sequence[Change], instance: str) -> None:
        self.puts.append(list(changes))
        for one in changes:
            version = len(self.values) + 100 * len(self.puts)
            self.values[one.kind, one.key] = Found(*one[:3], instance, one.age_s, one.left_s, version)

    def changed(self, db: Any, known: dict[tuple[str, str], int]) -> list[Found]:
        self.reads += 1
        return [one for place, one in self.values.items() if known.get(place) != one.version]

    def notify(self, db: Any, kinds: Sequence[str], instance: str) -> None:
        self.notified.append(list(kinds))

    def prune(self, db: Any) -> None:
        pass

    async def connect(self) -> Channel:
        if self.away:
            raise LedgerUnavailable("It is away.")
        self.channels.append(Channel(self))
        return self.channels[-1]


class Channel:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._heard: list[str] = []
        self._come = asyncio.Event()
        self.closed = False
        self.waits = 0

    def hear(self, *payloads: str) -> None:
        self._heard += payloads
        self._come.set()

    async def wait(self, woken: asyncio.Event) -> None:
        self.waits += 1
        coming = asyncio.create_task(self._come.wait())
        waking = asyncio.create_task(woken.wait())
        await asyncio.wait((coming, waking), return_when=asyncio.FIRST_COMPLETED)
        coming.cancel()
        waking.cancel()

    async def heard(self) -> list[str]:
        self._come.clear()
        heard, self._heard = self._heard, []
        return heard

    async def do(self, work: Callable[[Any], T]) -> T:
        if self._ledger.away:
            raise LedgerUnavailable("It is away.")
        return work(None)

    async def close(self) -> None:
        self.closed = True


class Numbers:
    """A part that shares numbers by name."""

    kind = "number"

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self.outbox = Outbox(clock, wake)
        self.numbers: dict[str, int] = {}
        self.found: list[Found] = []
        self.faulty = False

    def set(self, name: str, number: int) -> None:
        self.numbers[name] = number
        self.outbox.add(name)

    def refresh(self, *, connected: bool) -> None:
        pass

    def take(self) -> list[Change]:
        taken = self.outbox.take().items()
        return [Change(self.kind, name, str(self.numbers[name]), 60.0, age_s) for name, age_s in taken]

    def put_back(self, changes: Sequence[Change]) -> None:
        self.outbox.put_back(changes)

    def apply(self, found: Sequence[Found]) -> None:
        if self.faulty and any(one.value == "?" for one in found):
            raise ValueError("what is this?")
        self.found += found


class Running:
    """An exchange, its part, and its clock; pauses are over when `pass_on` says so."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.clock = Clock()
        self.pauses: list[float] = []
        self.exchange = Exchange(
            ledger.connect, "us", Digests(), clock=self.clock, random=lambda: 1.0, sleep=self._sleep
        )
        self.part = Numbers(self.clock, self.exchange.wake)
        self.exchange.parts.append(self.part)

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                if true():
                    return
                await asyncio.sleep(0)

    async def hears(self, *payloads: str) -> None:
        """Return when these have been dealt with."""
        channel = self.ledger.channels[-1]
        await self.until(lambda: channel.waits > 0)
        before = channel.waits
        channel.hear(*payloads)
        await self.until(lambda: channel.waits > before)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch) -> Ledger:
    return Ledger(monkeypatch)


@asynccontextmanager
async def running(ledger: Ledger, *jobs: Callable[[object], Awaitable[None]]) -> AsyncIterator[Running]:
    run = Running(ledger)
    run.exchange.jobs += jobs
    task = asyncio.create_task(run.exchange.run())
    try:
        await run.until(lambda: bool(ledger.reads) or ledger.away)
        yield run
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def payload(**fields: Any) -> str:
    return json.dumps({"v": 1, "by": "them", "kinds": ["number"], **fields})


async def test_many_changes_of_a_value_are_one(ledger: Ledger) -> None:
    async with running(ledger) as run:
        for number in range(1000):
            run.part.set("a", number)
        run.part.set("b", 7)
        await run.until(lambda: len(ledger.puts) == 1)
        assert [(one.key, one.value) for one in ledger.puts[0]] == [("a", "999"), ("b", "7")]
        assert ledger.notified == [["number", "number"]]


async def test_a_flood_of_values_goes_in_several_rounds(ledger: Ledger) -> None:
    async with running(ledger) as run:
        for number in range(250):
            run.part.set(str(number), number)
        await run.until(lambda: len(ledger.values) == 250)
        assert [len(put) for put in ledger.puts] == [100, 100, 50]


async def test_what_others_share_is_read_when_they_notify_and_once(ledger: Ledger) -> None:
    async with running(ledger) as run:
        ledger.values["number", "x"] = theirs = Found("number", "x", "1", "them", 0.0, 9.0, 5)
        ledger.values["number", "y"] = Found("number", "y", "1", "us", 0.0, 9.0, 6)
        ledger.values["colour", "z"] = Found("colour", "z", "red", "them", 0.0, 9.0, 7)
        await run.hears(payload())
        await run.hears(payload())
        assert run.part.found == [theirs]


@pytest.mark.parametrize(
    "heard",
    [
        "",
        "{",
        "[]",
        "null",
        '"text"',
        "\ud800",
        "[" * 5000,
        "x" * 9000,
        payload(v=2),
        payload(v=None),
        payload(kinds=None),
        payload(kinds=[[], {}, 1]),
        payload(kinds=["colour"]),
        payload(by="us"),
    ],
)
async def test_a_notification_of_anything_else_is_ignored(ledger: Ledger, heard: str) -> None:
    async with running(ledger) as run:
        reads = ledger.reads
        await run.hears(heard)
        assert ledger.reads == reads
        assert run.exchange.problem is None


async def test_a_notification_may_name_kinds_that_this_version_does_not_know(ledger: Ledger) -> None:
    async with running(ledger) as run:
        reads = ledger.reads
        await run.hears(payload(kinds=["colour", "number"], more={"of": "it"}))
        assert ledger.reads == reads + 1


async def test_without_any_notification_everything_is_read_after_a_while(ledger: Ledger) -> None:
    async with running(ledger) as run:
        ledger.values["number", "x"] = theirs = Found("number", "x", "1", "them", 0.0, 9.0, 5)
        run.clock.now += RESYNC_S
        run.exchange.wake()
        await run.until(lambda: run.part.found == [theirs])


async def test_what_could_not_be_shared_is_shared_later_with_its_age(ledger: Ledger) -> None:
    async with running(ledger) as run:
        ledger.away = True
        run.part.set("a", 1)
        await run.until(lambda: run.exchange.problem == "It is away.")
        run.clock.now += 20.0
        ledger.away = False
        await run.until(lambda: bool(ledger.puts))
        assert ledger.puts == [[Change("number", "a", "1", 60.0, 20.0)]]
        await run.until(lambda: run.exchange.problem is None)
        assert [channel.closed for channel in ledger.channels[:-1]] == [True] * (len(ledger.channels) - 1)


async def test_it_tries_again_less_and_less_often(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    ledger.away = True
    async with running(ledger) as run:
        await run.until(lambda: len(run.pauses) >= 8)
    assert run.pauses[:8] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]
    assert caplog.text.count("do not hear of each other") == 1


async def test_a_part_that_fails_stops_nothing(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    async with running(ledger) as run:
        run.part.faulty = True
        ledger.values["number", "x"] = Found("number", "x", "?", "them", 0.0, 9.0, 5)
        ledger.values["number", "y"] = other = Found("number", "y", "1", "them", 0.0, 9.0, 6)
        await run.hears(payload())
        assert run.part.found == [other]
        run.part.set("a", 1)
        await run.until(lambda: bool(ledger.puts))
    assert caplog.text.count("what another instance shares of number can't be used") == 1


async def test_a_job_that_fails_stops_nothing(ledger: Ledger, caplog: pytest.LogCaptureFixture) -> None:
    done: list[object] = []

    async def fails(channel: object) -> None:
        raise ValueError("what is this?")

    async def works(channel: object) -> None:
        done.append(channel)

    async with running(ledger, fails, works) as run:
        await run.until(lambda: bool(done))
        assert run.exchange.problem is None
    assert "an exchange with other instances failed" in caplog.text


async def test_an_errand_waits_for_the_connection_and_is_done_once(ledger: Ledger) -> None:
    done: list[object] = []

    async def errand(channel: object) -> None:
        done.append(channel)
        raise ValueError("and what fails stops nothing")

    ledger.away = True
    async with running(ledger) as run:
        await run.until(lambda: run.exchange.problem is not None)
        run.exchange.run_errand(errand)
        ledger.away = False
        await run.until(lambda: bool(done))
        await run.hears(payload())
    assert done == ledger.channels[:1]


async def test_what_others_have_shared_is_read_again_after_a_connection_was_lost(ledger: Ledger) -> None:
    async with running(ledger) as run:
        ledger.values["number", "x"] = theirs = Found("number", "x", "1", "them", 0.0, 9.0, 5)
        await run.hears(payload())
        ledger.away = True
        run.clock.now += RESYNC_S
        run.exchange.wake()
        await run.until(lambda: run.exchange.problem is not None)
        ledger.away = False
        await run.until(lambda: run.part.found == [theirs, theirs])

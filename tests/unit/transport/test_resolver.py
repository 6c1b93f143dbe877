"""Lookups of names: each host for itself, never waited for at the end, with what was found before to fall back on."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator, Sequence

import httpx
import pytest

from arbstr.transport import resolver as module
from arbstr.transport.pool import PooledTransport
from arbstr.transport.resolver import FRESH_S, KEPT_S, PATIENCE_S, TRIED_AGAIN_S, AddressInfo, Resolver
from tests.support import patience
from tests.support.provider import ScriptedProvider
from tests.unit.transport.test_pool import post


def at(*hosts: str) -> list[AddressInfo]:
    return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, 0)) for host in hosts]


class NameServer:
    """Answers lookups from a table; one of a name in `hanging` waits until the test ends."""

    def __init__(self) -> None:
        self.table: dict[str, list[AddressInfo]] = {"good.test": at("127.0.0.1")}
        self.hanging: set[str] = set()
        self.asked: list[str] = []
        self.threads: set[str] = set()
        self._end = threading.Event()

    def look_up(self, host: str) -> Sequence[AddressInfo]:
        self.asked.append(host)
        self.threads.add(threading.current_thread().name)
        if host in self.hanging:
            self._end.wait()
        if host not in self.table:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.table[host]

    def end(self) -> None:
        self._end.set()


@pytest.fixture
def server() -> Iterator[NameServer]:
    server = NameServer()
    yield server
    server.end()


class Time:
    """The loop's clock, to be put forward."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._real = loop.time
        self.ahead_s = 0.0

    def __call__(self) -> float:
        return self._real() + self.ahead_s


@pytest.fixture
async def resolver(server: NameServer) -> Resolver:
    return Resolver(server.look_up)


@pytest.fixture
async def time(resolver: Resolver, monkeypatch: pytest.MonkeyPatch) -> Time:
    loop = asyncio.get_running_loop()
    time = Time(loop)

    class Loop:
        """The running loop with that clock."""

        def __getattr__(self, name: str) -> object:
            return time if name == "time" else getattr(loop, name)

    monkeypatch.setattr(resolver, "_loop", Loop())
    return time


async def hosts_of(resolver: Resolver, name: str = "good.test") -> list[str]:
    return [where[0] for *_, where in await resolver.addresses(name, 443)]


async def test_a_name_is_looked_up_once_a_minute(resolver: Resolver, server: NameServer, time: Time) -> None:
    for _ in range(3):
        assert await resolver.addresses("good.test", 443) == [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 443))
        ]
    assert server.asked == ["good.test"]
    time.ahead_s += FRESH_S
    server.table["good.test"] = at("127.0.0.2")
    assert await hosts_of(resolver) == ["127.0.0.2"]


async def test_all_who_wait_for_a_name_share_one_lookup(resolver: Resolver, server: NameServer) -> None:
    await asyncio.gather(*(hosts_of(resolver) for _ in range(50)))
    assert server.asked == ["good.test"]


async def test_a_name_server_that_never_answers_holds_up_no_other_host(resolver: Resolver, server: NameServer) -> None:
    server.hanging = {f"hanging-{number}.test" for number in range(40)}
    waiting = [asyncio.ensure_future(hosts_of(resolver, name)) for name in server.hanging for _ in range(3)]
    assert await hosts_of(resolver) == ["127.0.0.1"]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert len(server.asked) == 41, "one lookup a host, however many wait and give up"


async def test_who_gives_up_leaves_the_lookup_to_others(resolver: Resolver, server: NameServer) -> None:
    server.hanging = {"good.test"}
    first = asyncio.ensure_future(hosts_of(resolver))
    second = asyncio.ensure_future(hosts_of(resolver))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    server.end()
    assert await second == ["127.0.0.1"]


async def test_a_name_that_nobody_knows_is_an_error_and_looked_up_again(resolver: Resolver, server: NameServer) -> None:
    for _ in range(2):
        with pytest.raises(socket.gaierror, match="not known"):
            await hosts_of(resolver, "unknown.test")
    assert server.asked == ["unknown.test"] * 2


async def test_the_last_good_addresses_are_used_when_a_lookup_fails(
    resolver: Resolver, server: NameServer, time: Time
) -> None:
    await hosts_of(resolver)
    del server.table["good.test"]
    time.ahead_s += FRESH_S
    assert await hosts_of(resolver) == ["127.0.0.1"]
    assert await hosts_of(resolver) == ["127.0.0.1"]
    assert len(server.asked) == 2, "and it is not tried again at once"
    time.ahead_s += TRIED_AGAIN_S
    assert await hosts_of(resolver) == ["127.0.0.1"]
    assert len(server.asked) == 3
    time.ahead_s += KEPT_S
    with pytest.raises(socket.gaierror):
        await hosts_of(resolver)


async def test_the_last_good_addresses_are_used_when_a_lookup_takes_long(
    resolver: Resolver, server: NameServer, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 0.01)
    await hosts_of(resolver)
    server.hanging = {"good.test"}
    time.ahead_s += FRESH_S
    assert await hosts_of(resolver) == ["127.0.0.1"]
    assert await hosts_of(resolver) == ["127.0.0.1"]
    assert len(server.asked) == 2, "while one lookup hangs no other is begun"
    assert PATIENCE_S <= 1


async def test_a_system_without_threads_to_spare_is_an_error_of_that_lookup(
    resolver: Resolver, server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fails)
        with pytest.raises(OSError, match="no thread"):
            await hosts_of(resolver)
    assert await hosts_of(resolver) == ["127.0.0.1"]


async def test_addresses_that_can_not_be_reached_are_looked_up_again(resolver: Resolver, server: NameServer) -> None:
    await hosts_of(resolver)
    resolver.doubt("good.test")
    resolver.doubt("never-heard-of.test")
    server.table["good.test"] = at("127.0.0.2")
    assert await hosts_of(resolver) == ["127.0.0.2"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "LOCALHOST", "localhost.", "10.1.2.3", "fd00::7"])
async def test_addresses_and_localhost_need_no_lookup(resolver: Resolver, server: NameServer, host: str) -> None:
    found = await resolver.addresses(host, 443)
    assert {where[1] for *_, where in found} == {443}
    assert server.asked == []


@pytest.mark.parametrize("host", ["a" * 64 + ".test", "a..test", ""])
async def test_what_can_not_be_a_name_is_an_error(host: str) -> None:
    with pytest.raises((OSError, ValueError)):
        await Resolver().addresses(host, 443)


async def test_the_systems_own_names_hold() -> None:
    """What `/etc/hosts` and the like say: this machine's name, here."""
    name = socket.gethostname()
    try:
        expected = {where[0] for *_, where in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    except OSError:
        expected = set()
    if expected:
        assert {where[0] for *_, where in await Resolver().addresses(name, 80)} == expected


async def test_the_time_to_connect_covers_the_lookup_and_others_are_served_meanwhile(server: NameServer) -> None:
    server.hanging = {"hanging.test"}
    transport = PooledTransport(resolver=Resolver(server.look_up))
    try:
        async with ScriptedProvider() as provider:
            good = provider.url.replace("127.0.0.1", "good.test")
            hanging = post("http://hanging.test/v1", connect_s=patience.PATIENCE_S)
            stuck = [asyncio.ensure_future(transport.handle_async_request(hanging)) for _ in range(20)]
            response = await transport.handle_async_request(post(good))
            assert response.status_code == 200
            assert not any(task.done() for task in stuck)
            with pytest.raises(httpx.ConnectTimeout):
                await transport.handle_async_request(post("http://hanging.test/v1", connect_s=0.1))
            for task in stuck:
                task.cancel()
            await asyncio.gather(*stuck, return_exceptions=True)
    finally:
        await transport.aclose()


def test_a_lookup_that_hangs_does_not_keep_the_program_from_ending() -> None:
    program = """
        import asyncio, time, uvloop
        from arbstr.transport.resolver import Resolver

        async def main():
            resolver = Resolver(lambda host: time.sleep(600))
            try:
                await asyncio.wait_for(resolver.addresses("hanging.test", 443), 0.05)
            except TimeoutError:
                print("ended")

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=patience.PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")

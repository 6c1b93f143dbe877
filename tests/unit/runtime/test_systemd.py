"""What systemd hears, and the ports that it gives."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from arbstr.config.address import Address
from arbstr.errors import ConfigError
from arbstr.runtime.systemd import SystemdNotifier, address_of, given_sockets


@pytest.fixture(params=["a path", "an abstract name"])
def notified(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, dict[str, str]]]:
    """The socket on which systemd hears, and the environment that names it."""
    name = str(tmp_path / "notify") if request.param == "a path" else f"@arbstr-test-{os.getpid()}-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(f"\0{name[1:]}" if name.startswith("@") else name)
        hearing.settimeout(10)
        yield hearing, {"NOTIFY_SOCKET": name}


def test_it_hears_of_start_reload_and_end(notified: tuple[socket.socket, dict[str, str]]) -> None:
    hearing, environ = notified
    notifier = SystemdNotifier(environ)
    notifier.ready("it\nlistens")
    assert hearing.recv(1000) == b"READY=1\nSTATUS=it listens"
    notifier.reloading()
    reloading, _, monotonic = hearing.recv(1000).partition(b"\nMONOTONIC_USEC=")
    assert reloading == b"RELOADING=1"
    assert int(monotonic) > 0
    notifier.stopping()
    assert hearing.recv(1000).startswith(b"STOPPING=1\n")


async def test_a_watchdog_hears_as_long_as_the_loop_runs(notified: tuple[socket.socket, dict[str, str]]) -> None:
    hearing, environ = notified
    alive = asyncio.create_task(SystemdNotifier({**environ, "WATCHDOG_USEC": "2000"}).keep_alive())
    for _ in range(3):
        assert await asyncio.to_thread(hearing.recv, 1000) == b"WATCHDOG=1"
    alive.cancel()
    with suppress(asyncio.CancelledError):
        await alive


@pytest.mark.parametrize(
    "environ",
    [{}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}],
)
async def test_without_a_watchdog_of_its_own_it_says_nothing(
    notified: tuple[socket.socket, dict[str, str]], environ: dict[str, str]
) -> None:
    hearing, name = notified
    await SystemdNotifier({**name, **environ}).keep_alive()
    hearing.setblocking(False)
    with pytest.raises(BlockingIOError):
        hearing.recv(1000)


@pytest.mark.parametrize("name", ["", "/nowhere/notify", "@arbstr-nobody-listens"])
def test_nobody_to_tell_is_no_fault(name: str) -> None:
    notifier = SystemdNotifier({"NOTIFY_SOCKET": name})
    notifier.ready("it listens")
    notifier.reloading()
    notifier.stopping()


def given(*sockets: socket.socket) -> list[socket.socket]:
    """What is made of these sockets, whose descriptors follow each other."""
    first = 200
    for number, one in enumerate(sockets):
        os.dup2(one.fileno(), first + number)
    return given_sockets({"LISTEN_FDS": str(len(sockets)), "LISTEN_PID": str(os.getpid())}, first)


def test_ports_that_are_open_already_are_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("0.0.0.0", 0)) as other:
        taken = given(one, other)
        assert [each.getsockname() for each in taken] == [one.getsockname(), other.getsockname()]
        assert not any(each.getblocking() or each.get_inheritable() for each in taken)
        assert address_of(taken[:1]) == Address("127.0.0.1", one.getsockname()[1])
        assert address_of(taken) == Address("0.0.0.0", other.getsockname()[1])
        for each in taken:
            each.close()


def test_another_process_s_are_none_of_ours() -> None:
    assert given_sockets({}) == []
    assert given_sockets({"LISTEN_FDS": "1", "LISTEN_PID": "1"}) == []
    assert given_sockets({"LISTEN_FDS": "many", "LISTEN_PID": str(os.getpid())}) == []


def test_what_is_no_tcp_port_is_refused() -> None:
    with socket.socket(socket.AF_UNIX) as one, pytest.raises(ConfigError, match="no TCP port; write ListenStream="):
        given(one)
    with pytest.raises(ConfigError, match=r"a descriptor \(999\) that is no TCP port"):
        given_sockets({"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}, 999)

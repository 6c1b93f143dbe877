"""Clients are taken as they come, all that wait at once, and none is lost when the system runs out of files."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Iterator
from typing import cast

import pytest
import uvloop

from arbstr.server import acceptor as module
from arbstr.server.acceptor import ACCEPT_BATCH, Acceptor
from tests.support.patience import PATIENCE_S

CROWD = ACCEPT_BATCH
TURNS = 10  # of the loop; taking one client at a time would take one for each


class ClientProtocol(asyncio.Protocol):
    """The protocol of every client; remembers those that have joined until they are seen off."""

    def __init__(self) -> None:
        self.joined: list[asyncio.Transport] = []
        self.connected = asyncio.Event()

    def __call__(self) -> asyncio.Protocol:
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.joined.append(cast("asyncio.Transport", transport))
        self.connected.set()

    async def close(self) -> None:
        for transport in self.joined:
            transport.abort()
        await turns()


def listening_socket(kind: type[socket.socket]) -> socket.socket:
    """A listening socket of this class."""
    made = kind()
    made.bind(("127.0.0.1", 0))
    made.listen()
    made.setblocking(False)
    return made


async def turns() -> None:
    """Let the loop go round a few times."""
    for _ in range(TURNS):
        await asyncio.sleep(0)


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    """To be filled; closed at the end."""
    made: list[socket.socket] = []
    yield made
    for client in made:
        client.close()


def test_a_crowd_is_taken_in_one_turn(clients: list[socket.socket]) -> None:
    async def count() -> int:
        protocol = ClientProtocol()
        port = await Acceptor.open("127.0.0.1", 0, protocol)
        clients.extend(socket.create_connection(("127.0.0.1", port.number)) for _ in range(CROWD))
        await turns()
        await port.close()
        await protocol.close()
        return len(protocol.joined)

    assert uvloop.run(count()) == CROWD


async def test_of_a_large_crowd_so_many_are_taken_at_a_time_that_files_are_left(clients: list[socket.socket]) -> None:
    protocol = ClientProtocol()
    port = await Acceptor.open("127.0.0.1", 0, protocol)
    clients.extend(socket.create_connection(("127.0.0.1", port.number)) for _ in range(ACCEPT_BATCH + 10))
    port._accept(port._sockets[0])
    assert len(port._handshaking) == ACCEPT_BATCH
    await turns()
    assert len(protocol.joined) == len(clients)
    await port.close()
    await protocol.close()


async def test_without_files_clients_wait_and_are_taken_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clients: list[socket.socket]
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.01)
    troubles = [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError(), OSError(errno.ENFILE, "None")]

    class FailingSocket(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if troubles:
                raise troubles.pop(0)
            return super().accept()

    protocol = ClientProtocol()
    port = Acceptor([listening_socket(FailingSocket)], protocol)
    clients.append(socket.create_connection(("127.0.0.1", port.number)))
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(PATIENCE_S):
            await protocol.connected.wait()
    await port.close()
    await protocol.close()
    assert [record.getMessage() for record in caplog.records] == [
        "accepting no connections for 0.01 s: Too many open files",
        "accepting no connections for 0.01 s: None",
    ]


async def test_who_is_being_taken_at_the_end_stays(clients: list[socket.socket]) -> None:
    protocol = ClientProtocol()
    port = await Acceptor.open("127.0.0.1", 0, protocol)
    clients.append(socket.create_connection(("127.0.0.1", port.number), timeout=PATIENCE_S))
    port._accept(port._sockets[0])
    await port.close()
    assert len(protocol.joined) == 1
    assert not protocol.joined[0].is_closing()
    await protocol.close()


async def test_without_files_the_next_turn_decides_while_some_may_give_theirs_back(
    caplog: pytest.LogCaptureFixture, clients: list[socket.socket]
) -> None:
    class Full(socket.socket):
        taken = 0

        def accept(self) -> tuple[socket.socket, object]:
            self.taken += 1
            if self.taken == 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    protocol = ClientProtocol()
    port = Acceptor([listening_socket(Full)], protocol)
    clients.extend(socket.create_connection(("127.0.0.1", port.number)) for _ in range(2))
    await turns()
    assert len(protocol.joined) == 2
    assert caplog.records == []
    await port.close()
    await protocol.close()


async def test_a_client_for_which_no_protocol_can_be_made_is_dropped_and_logged(
    caplog: pytest.LogCaptureFixture, clients: list[socket.socket]
) -> None:
    troubles = [ConnectionResetError("it has left"), ValueError("no protocol today")]
    waiting = iter(troubles)

    def none() -> asyncio.BaseProtocol:
        raise next(waiting)

    port = await Acceptor.open("127.0.0.1", 0, none)
    for _ in troubles:
        clients.append(socket.create_connection(("127.0.0.1", port.number), timeout=PATIENCE_S))
        await turns()
        assert clients[-1].recv(1) == b""
    await port.close()
    assert [(record.getMessage(), record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        ("could not accept a connection", troubles[1])
    ]


async def test_nobody_is_taken_after_the_end_also_while_resting(
    monkeypatch: pytest.MonkeyPatch, clients: list[socket.socket]
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    protocol = ClientProtocol()
    port = await Acceptor.open("127.0.0.1", 0, protocol)
    port._pause(port._sockets[0], OSError(errno.EMFILE, "Too many open files"))
    clients.append(socket.create_connection(("127.0.0.1", port.number)))
    await port.close()
    await turns()
    assert protocol.joined == []


async def test_a_name_is_listened_to_on_all_its_addresses() -> None:
    port = await Acceptor.open("localhost", 0, ClientProtocol())
    names = {listening.getsockname()[0] for listening in port._sockets}
    await port.close()
    assert "127.0.0.1" in names
    assert names <= {"127.0.0.1", "::1"}


def found(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[int, tuple[object, ...]]) -> None:
    """Let every name have these addresses, by family."""

    async def getaddrinfo(*asked: object, **how: object) -> list[tuple[object, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", address) for family, address in addresses for _ in range(2)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)


async def test_addresses_of_a_family_that_the_machine_lacks_are_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(family: int, address: tuple[object, ...]) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return there(family, address)

    there = module._listening
    monkeypatch.setattr(module, "_listening", lacking)
    for addresses in (
        [(socket.AF_INET6, ("::1", 0)), (socket.AF_INET, ("127.0.0.1", 0))],
        [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET, ("192.0.2.1", 0))],
    ):
        found(monkeypatch, *addresses)
        port = await Acceptor.open("localhost", 0, ClientProtocol())
        assert [one.getsockname()[0] for one in port._sockets] == ["127.0.0.1"]
        await port.close()
    found(monkeypatch, (socket.AF_INET6, ("::1", 0)))
    with pytest.raises(OSError, match="not supported"):
        await Acceptor.open("localhost", 0, ClientProtocol())


async def test_an_address_that_is_taken_is_an_error_and_leaves_no_other_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        addresses = free.getsockname(), taken.getsockname()
        free.close()
        found(monkeypatch, *((socket.AF_INET, address) for address in addresses))
        with pytest.raises(OSError, match="in use"):
            await Acceptor.open("localhost", 0, ClientProtocol())
        socket.create_server(addresses[0]).close()


async def test_an_address_of_which_nobody_knows_is_refused() -> None:
    with pytest.raises(OSError, match="assign"):
        await Acceptor.open("192.0.2.1", 0, ClientProtocol())
    with pytest.raises(socket.gaierror):
        await Acceptor.open("nobody.invalid", 0, ClientProtocol())


async def test_every_address_of_ipv6_takes_clients_of_ipv4_too() -> None:
    """`[::]` means every network to the people who write it."""
    protocol = ClientProtocol()
    port = await Acceptor.open("::", 0, protocol)
    for host in ("::1", "127.0.0.1"):
        protocol.connected.clear()
        _, writer = await asyncio.open_connection(host, port.number)
        await protocol.connected.wait()
        writer.close()
    await port.close()
    await protocol.close()

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

from arbstr.proxy import port as module
from arbstr.proxy.port import Port

CROWD = 50
TURNS = 10  # of the loop; taking one client at a time would need one for each


class Guests(asyncio.Protocol):
    """The protocol of every client; remembers those that have joined until they are seen off."""

    def __init__(self) -> None:
        self.joined: list[asyncio.Transport] = []
        self.came = asyncio.Event()

    def __call__(self) -> asyncio.Protocol:
        return self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.joined.append(cast("asyncio.Transport", transport))
        self.came.set()

    async def see_off(self) -> None:
        for transport in self.joined:
            transport.abort()
        await turns()


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
        guests = Guests()
        port = await Port.open("127.0.0.1", 0, guests)
        clients.extend(socket.create_connection(("127.0.0.1", port.number)) for _ in range(CROWD))
        await turns()
        port.close()
        await guests.see_off()
        return len(guests.joined)

    assert uvloop.run(count()) == CROWD


async def test_without_files_clients_wait_and_are_taken_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, clients: list[socket.socket]
) -> None:
    monkeypatch.setattr(module, "REST_S", 0.01)
    troubles = [OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError(), OSError(errno.ENFILE, "None")]

    class Troubled(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            if troubles:
                raise troubles.pop(0)
            return super().accept()

    def troubled() -> socket.socket:
        listening = Troubled()
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.setblocking(False)
        return listening

    guests = Guests()
    port = Port([troubled()], guests)
    clients.append(socket.create_connection(("127.0.0.1", port.number)))
    with caplog.at_level(logging.ERROR):
        async with asyncio.timeout(10):
            await guests.came.wait()
    port.close()
    await guests.see_off()
    assert [record.getMessage() for record in caplog.records] == [
        "no client can be taken for 0.01 s: Too many open files",
        "no client can be taken for 0.01 s: None",
    ]


async def test_nobody_is_taken_after_the_end_also_while_resting(
    monkeypatch: pytest.MonkeyPatch, clients: list[socket.socket]
) -> None:
    monkeypatch.setattr(module, "REST_S", 0.0)
    guests = Guests()
    port = await Port.open("127.0.0.1", 0, guests)
    port._rest(port._sockets[0], OSError(errno.EMFILE, "Too many open files"))
    clients.append(socket.create_connection(("127.0.0.1", port.number)))
    port.close()
    await turns()
    assert guests.joined == []


async def test_a_name_is_listened_to_on_all_its_addresses() -> None:
    port = await Port.open("localhost", 0, Guests())
    names = {listening.getsockname()[0] for listening in port._sockets}
    port.close()
    assert "127.0.0.1" in names
    assert names <= {"127.0.0.1", "::1"}


async def test_an_address_of_which_nobody_knows_is_refused() -> None:
    with pytest.raises(OSError, match="assign"):
        await Port.open("192.0.2.1", 0, Guests())
    with pytest.raises(socket.gaierror):
        await Port.open("nobody.invalid", 0, Guests())

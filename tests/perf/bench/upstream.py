"""An instant provider: raw protocols that answer with bytes made beforehand, so that it is never what is measured."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import cast

import uvloop

from tests.perf.bench import spoken, wire

_HEAD = b"HTTP/1.1 200 OK\r\nServer: bench\r\nX-Request-Id: req-0123456789\r\n"
_STREAM_HEAD = (
    _HEAD + b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_CHUNKS = [wire.chunk(event) for event in wire.events()]
_WHOLE = _HEAD + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"


def _replies(dialect: spoken.Spoken) -> tuple[bytes, bytes]:
    """A whole answer, and an instant stream."""
    chunks = b"".join(map(wire.chunk, dialect.events))
    return _WHOLE % len(dialect.answer) + dialect.answer, _STREAM_HEAD + chunks + b"0\r\n\r\n"


_REPLIES = {each.path.encode(): _replies(each) for each in spoken.ALL.values()}
_NO_LENGTH = b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Provider(asyncio.Protocol):
    """One connection: every complete request gets its answer at once."""

    def __init__(self) -> None:
        self._buffer = b""
        self._pacing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to answer."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop a paced stream."""
        if self._pacing is not None:
            self._pacing.cancel()

    def data_received(self, data: bytes) -> None:
        """Answer each request that is complete."""
        self._buffer += data
        while (head_end := self._buffer.find(b"\r\n\r\n")) >= 0:
            size = _content_length(self._buffer[:head_end])
            if size is None:
                self._transport.write(_NO_LENGTH)
                self._transport.close()
                return
            end = head_end + 4 + size
            if len(self._buffer) < end:
                return
            path = self._buffer[: self._buffer.find(b" HTTP/")].partition(b" ")[2]
            body, self._buffer = self._buffer[head_end + 4 : end], self._buffer[end:]
            self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        answer, stream = _REPLIES[path]
        if b'"stream":true' not in body:
            self._transport.write(answer)
        elif wire.PACED_MODEL.encode() in body:
            self._transport.write(_STREAM_HEAD)
            self._send_paced(0)
        else:
            self._transport.write(stream)

    def _send_paced(self, number: int) -> None:
        """One event now, the next after the pace."""
        self._transport.write(_CHUNKS[number])
        if number + 1 == len(_CHUNKS):
            self._transport.write(b"0\r\n\r\n")
        else:
            self._pacing = asyncio.get_running_loop().call_later(wire.PACE_S, self._send_paced, number + 1)


def _content_length(head: bytes) -> int | None:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.partition(b"\r\n")[0]) if found else None


async def serve(listening: socket.socket) -> None:
    """Answer on a listening socket until killed; several processes may share it."""
    server = await asyncio.get_running_loop().create_server(Provider, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(socket.socket(fileno=int(sys.argv[1]))))

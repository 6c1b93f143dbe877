"""What the engine needs from outside: a client to serve, and a place for rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from arbstr.errors import ApiError
from arbstr.types import HeaderList, RequestRecord


class Client(Protocol):
    """The client's end of one request. Writing to a client that has left does nothing; `gone` tells."""

    request_id: str
    received_at_ms: int
    policy: str | None
    headers: HeaderList  # as they came: `engine.headers` says which go up

    @property
    def gone(self) -> bool:
        """Whether the client has closed its connection."""
        ...

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call back once when the client closes its connection, at once if it has."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the whole body is there, so that it can be had without waiting."""
        ...

    async def body(self) -> bytes:
        """The request's body. Raises the `ApiError` that says why it will not do, or `ClientGone`."""
        ...

    async def answer(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Give the whole answer; waits while the client is slow to read."""
        ...

    async def refuse(self, error: ApiError, headers: HeaderList) -> None:
        """Give an error: as the answer, or as the last event of a stream that has begun."""
        ...

    async def start(self, headers: HeaderList) -> None:
        """Begin a stream of events, status 200."""
        ...

    async def write(self, data: bytes) -> None:
        """Go on with the stream; waits while the client is slow to read."""
        ...

    async def end(self, data: bytes) -> None:
        """End the stream with these bytes."""
        ...


class LedgerPort(Protocol):
    """Where rows go; both calls return at once and never fail."""

    def begin(self, record: RequestRecord) -> None:
        """A stream is open: its row, to be closed by `append`."""
        ...

    def append(self, record: RequestRecord) -> None:
        """A request has ended: its row."""
        ...

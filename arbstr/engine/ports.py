"""Ports: what the engine needs from outside, a client to serve, providers to call and a ledger for rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from arbstr.config.schema import Provider
from arbstr.engine.clients import KnownClient
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.translation.response_history import Recalled
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream
from arbstr.errors import ApiError
from arbstr.types import HeaderList, InferenceRequest, RequestRecord


class Client(Protocol):
    """The client of one request. Writing to a client that has disconnected does nothing; see `gone`."""

    request_id: str
    received_at_ms: int
    identity: KnownClient | None  # whose key it has; None for the owner's, and for none
    policy: str | None
    dialect: Dialect
    query: Mapping[str, str]  # of its URL
    content_type: str  # in lower case
    headers: HeaderList  # as received; `engine.upstream.headers` says which are forwarded

    @property
    def gone(self) -> bool:
        """Whether the client has closed its connection."""
        ...

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        """Call back once when the client disconnects, at once if it has."""
        ...

    @property
    def sent(self) -> bool:
        """Whether the whole body has arrived, so that `body` does not wait."""
        ...

    async def body(self) -> bytes:
        """Return the request's body. Raises the `ApiError` that says why it is refused, or `ClientGone`."""
        ...

    async def answer(self, status: int, headers: HeaderList, body: bytes) -> None:
        """Send a whole response; waits while the client is slow to read."""
        ...

    async def refuse(self, error: ApiError, headers: HeaderList) -> None:
        """Send an error: as the response, or as the last event of a stream that has begun."""
        ...

    async def start(self, headers: HeaderList) -> None:
        """Start an event stream, status 200."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to the stream; waits while the client is slow to read."""
        ...

    async def end(self, data: bytes) -> None:
        """End the stream with these bytes."""
        ...


class Upstream(Protocol):
    """Calls providers."""

    async def send(
        self, provider: Provider, request: InferenceRequest, dialect: Dialect, headers: HeaderList
    ) -> UpstreamResponse | UpstreamStream:
        """Make one attempt at one provider, in `dialect`. `headers` are the client's. Raises `AttemptError`."""
        ...

    def recalled(self, request: InferenceRequest) -> Recalled | None:
        """Return what of earlier answers a request refers to, and goes up with it; None if it does to none."""
        ...

    def is_connecting(self, request_id: str) -> bool:
        """Whether a request is being sent and no provider can have seen it yet."""
        ...

    def close_in_background(self, stream: UpstreamStream) -> None:
        """Close a stream that has been served, without waiting for its provider to end it."""
        ...


class LedgerPort(Protocol):
    """Takes rows; both calls return at once and never fail."""

    def begin(self, record: RequestRecord) -> None:
        """Write the provisional row of a stream that has begun; `append` completes it."""
        ...

    def append(self, record: RequestRecord) -> None:
        """Write the row of a request that has ended."""
        ...

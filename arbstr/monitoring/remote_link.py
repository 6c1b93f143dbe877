"""The connection to another arbstr's `/v1/events`: events as they come, questions and their answers."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx

from arbstr import __version__
from arbstr.errors import ArbstrError, LedgerUnavailable, UnusableInput
from arbstr.monitoring.wire_format import encode
from arbstr.redaction import Secret, fits_header
from arbstr.sanitize import quoted, sanitize_clause
from arbstr.transport.pool import PooledTransport

CONNECT_S = 10.0
ANSWER_S = 20.0  # until an answer begins; also until one that is no stream is whole
SILENT_S = 40.0  # without a byte, when comments come every 15 s
MOST_BYTES = 128 * 1024 * 1024  # of one event or answer
_EVENT_END = b"\n\n"
_TOKEN_REFUSED, _FORBIDDEN, _TRY_LATER = 401, 403, 503


class NotWatchable(ArbstrError):
    """The address answers, but not as an arbstr that this dashboard may watch. `wants_token`: a token is missing."""

    def __init__(self, message: str, *, wants_token: bool = False) -> None:
        super().__init__(message)
        self.wants_token = wants_token


class LinkLost(ArbstrError):
    """There is no connection, or it broke; it may come back."""


class Received(NamedTuple):
    """One event as it came."""

    id: str
    name: str
    data: bytes


CONNECTED = Received("", "", b"")  # comes first: there may be no news for long


def read_url(text: str) -> str:
    """Return the base URL of an arbstr, however it was written. Raises UnusableInput saying how to mend it."""
    url = text.strip()
    if "://" not in url:
        url = f"http://{url}"
    hint = "write it as in http://127.0.0.1:8080"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UnusableInput(f"{quoted(text)} is no address of an arbstr; {hint}") from None
    if parts.username is not None or parts.password is not None:
        raise UnusableInput("an address may not hold a user or password; the token goes into ARBSTR_TOKEN")
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or not url.isprintable() or " " in url:
        raise UnusableInput(f"{quoted(text)} is no address of an arbstr; {hint}")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def read_token(text: str | None) -> Secret | None:
    """Return a token, None if there is none. Raises UnusableInput for one that no header can carry."""
    token = (text or "").strip()
    if not fits_header(token):
        raise UnusableInput("the token has a character that no token has; copy it again")
    return Secret(token) if token else None


class RemoteLink:
    """Sends requests to the arbstr at `url`; to be created on the running loop and closed."""

    def __init__(self, url: str, token: Secret | None, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self.url = url
        self._token = token
        self._transport = PooledTransport() if transport is None else transport

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    async def events(self, last_id: str | None = None) -> AsyncGenerator[Received, None]:
        """Yield `CONNECTED`, then the events after `last_id` as they come.

        Raises NotWatchable, and LinkLost when the connection ends.
        """
        headers = {"Accept": "text/event-stream"} | ({} if last_id is None else {"Last-Event-ID": last_id})
        response = await self._send("GET", "/v1/events", headers)
        try:
            if response.status_code != httpx.codes.OK:
                raise await self._refusal(response)
            if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                raise NotWatchable(f"{self.url} is no arbstr: its /v1/events is no stream of events")
            yield CONNECTED
            async for event in self._received(response):
                yield event
        finally:
            with suppress(httpx.TransportError):
                await response.aclose()
        raise LinkLost("it ended the connection")

    async def ask(self, question: Mapping[str, Any]) -> bytes:
        """Return the JSON of an answer. Raises LedgerUnavailable, whatever went wrong."""
        try:
            response = await self._send("POST", "/v1/events/query", {}, encode(question))
            body = await self._body(response)
        except ArbstrError as error:
            raise LedgerUnavailable(str(error)) from error
        if response.status_code != httpx.codes.OK:
            raise LedgerUnavailable(_message_of(body) or f"HTTP {response.status_code}")
        return body

    async def batches(self, question: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Yield the JSON of each batch of a long answer. Raises LedgerUnavailable if not all of it comes."""
        try:
            response = await self._send("POST", "/v1/events/query", {}, encode(question))
            if response.status_code != httpx.codes.OK:
                raise LedgerUnavailable(_message_of(await self._body(response)) or f"HTTP {response.status_code}")
            async for event in self._received(response):
                if event.name == "end":
                    return
                yield event.data
        except LinkLost as error:
            raise LedgerUnavailable(str(error)) from error
        raise LedgerUnavailable("the connection ended before all rows had come")

    async def _send(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> httpx.Response:
        """Return a response, its body unread. Raises LinkLost."""
        given = {"User-Agent": f"arbstr/{__version__}", "Accept-Encoding": "identity", **headers}
        if body:
            given["Content-Type"] = "application/json"
        if self._token is not None:
            given["Authorization"] = f"Bearer {self._token.reveal()}"
        extensions = {"timeout": {"connect": CONNECT_S}}
        request = httpx.Request(method, self.url + path, headers=given, content=body or None, extensions=extensions)
        try:
            async with asyncio.timeout(ANSWER_S):
                return await self._transport.handle_async_request(request)
        except TimeoutError:
            raise LinkLost(f"it did not answer within {ANSWER_S:g} s") from None
        except httpx.TransportError as error:
            raise LinkLost(_why(error)) from error

    async def _received(self, response: httpx.Response) -> AsyncGenerator[Received, None]:
        """Yield the events of a response until it ends. Raises LinkLost."""
        held = bytearray()
        chunks = response.aiter_raw()
        try:
            while True:
                async with asyncio.timeout(SILENT_S):
                    held += await anext(chunks)
                if len(held) > MOST_BYTES:
                    raise LinkLost("it sent an event that is too large")
                if _EVENT_END in held:
                    *whole, rest = bytes(held).split(_EVENT_END)
                    held = bytearray(rest)
                    for raw in whole:
                        if (event := _parsed(raw)) is not None:
                            yield event
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise LinkLost(f"it has sent nothing for {SILENT_S:g} s") from None
        except httpx.TransportError as error:
            raise LinkLost(_why(error)) from error

    async def _body(self, response: httpx.Response) -> bytes:
        """Return a whole body. Raises LinkLost."""
        body = bytearray()
        try:
            async with asyncio.timeout(ANSWER_S):
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MOST_BYTES:
                        raise LinkLost("its answer is too large")
        except TimeoutError:
            raise LinkLost(f"its answer did not come within {ANSWER_S:g} s") from None
        except httpx.TransportError as error:
            raise LinkLost(_why(error)) from error
        return bytes(body)

    async def _refusal(self, response: httpx.Response) -> ArbstrError:
        """Return the error that a refusal of the events means."""
        status = response.status_code
        message = _message_of(await self._body(response))
        if status == _TOKEN_REFUSED and message:
            if self._token is None:
                return NotWatchable(
                    f"{self.url} needs a token: set ARBSTR_TOKEN to its server.auth_token", wants_token=True
                )
            return NotWatchable(f"{self.url} refuses the token; it is not its server.auth_token")
        if status == _FORBIDDEN and message:
            return NotWatchable(f"{self.url} refuses: {message}")
        if status == _TRY_LATER and message:
            return LinkLost(message)
        return NotWatchable(f"{self.url} is no arbstr that can be watched: its /v1/events answers HTTP {status}")


def _parsed(raw: bytes) -> Received | None:
    """Return an event; None for a comment."""
    fields = dict(line.partition(b": ")[::2] for line in raw.split(b"\n") if not line.startswith(b":"))
    data = fields.get(b"data")
    if data is None:
        return None
    return Received(
        fields.get(b"id", b"").decode(errors="replace"), fields.get(b"event", b"").decode(errors="replace"), data
    )


def _message_of(body: bytes) -> str:
    """Return what an error in OpenAI's shape says; empty if it is none."""
    from arbstr.engine import lenient_json  # noqa: PLC0415 - only refusals need it

    document = lenient_json.loads_or_none(body)
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    return sanitize_clause(message) if isinstance(message, str) else ""


def _why(error: httpx.TransportError) -> str:
    """Return what a failure was, in a clause."""
    cause = error.__cause__
    if isinstance(cause, OSError) and not isinstance(cause, socket.gaierror | ssl.SSLError) and cause.errno:
        return os.strerror(cause.errno).lower()
    return sanitize_clause(str(error)) or type(error).__name__

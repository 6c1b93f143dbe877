"""A provider for tests that follows a script, down to the byte: a real socket, HTTP/1.1, connections kept alive.

A `Reply` is a list of parts, played in order for one request. Bytes are sent as they are (and given to the caller
before the next part follows); an `asyncio.Event` is waited for; a `Move` does something to the connection. Nothing
here sleeps, and nothing checks that a reply makes sense: providers lie.

    async with ScriptedProvider(json_reply({}, status=500), json_reply(completion("hello"))) as provider:
        ...  # the first request gets the 500, all others the completion
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from itertools import pairwise
from typing import Any, Self, cast

DONE = b"data: [DONE]\n\n"
MODEL = "gpt-4o"
_ACCOUNT, _INFO = "/v1/balance/info", "/v1/info"


class Move(Enum):
    """What a reply may do besides sending."""

    CLOSE = auto()  # an orderly end of the connection
    RESET = auto()  # a rude one
    NEVER = auto()  # nothing more happens until the caller leaves
    CLOSE_ON_NEXT = auto()  # the connection is kept, and closed when the next request arrives on it
    ENDLESS = auto()  # bytes without a line end, until the caller leaves


Part = bytes | asyncio.Event | Move
Reply = Sequence[Part]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it arrived, and how its reply went: `left` is set when the caller closes before the reply's end."""

    method: str
    path: str
    raw_headers: tuple[tuple[str, str], ...]
    body: bytes
    connection: int
    left: asyncio.Event = field(default_factory=asyncio.Event)
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def headers(self) -> dict[str, str]:
        """The headers by lower-case name; of several with one name the last."""
        return {name.lower(): value for name, value in self.raw_headers}

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


Script = Reply | Callable[[Asked], Reply]


class ScriptedProvider:
    """Answers each request by the next reply of its script, and by the last one again and again.

    Who asks for its list of models gets `listing`, a 404 unless a test has one, and is kept in `lookups`; so it is with
    `account` and `info`, for a key's balance and a node's version, kept in `polls`.
    """

    def __init__(self, *script: Script, listing: Script | None = None) -> None:
        self.script: list[Script] = list(script) or [json_reply(completion("Hello"))]
        self.listing: Script = error_reply(404) if listing is None else listing
        self.requests: list[Asked] = []
        self.lookups: list[Asked] = []
        self.account: Script = error_reply(404)
        self.info: Script = error_reply(404)
        self.polls: list[Asked] = []
        self.connections = 0  # so far
        self.open: set[asyncio.Transport] = set()  # of these, those that have not ended
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """The address to configure, with `/v1`."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Hang up on everybody; later connections are refused."""
        if self._server is not None:
            self._server.close()
        for transport in self.open:
            transport.abort()  # `close` would wait for callers that don't read
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def looked_up(self, count: int = 1) -> None:
        """Wait until its list has been asked for so often."""
        while len(self.lookups) < count:
            self._arrival.clear()
            await self._arrival.wait()

    async def polled(self, count: int = 1) -> None:
        """Wait until a balance has been asked for so often."""
        while sum(asked.path == _ACCOUNT for asked in self.polls) < count:
            self._arrival.clear()
            await self._arrival.wait()

    async def asked(self, count: int = 1) -> Asked:
        """Wait for the request of that number (from 1)."""
        while len(self.requests) < count:
            self._arrival.clear()
            await self._arrival.wait()
        return self.requests[count - 1]

    def reply_to(self, asked: Asked) -> Reply:
        """Note a request and say what it gets."""
        if (asked.method, asked.path) == ("GET", "/v1/models"):
            self.lookups.append(asked)
            step = self.listing
        elif asked.method == "GET" and asked.path in (_ACCOUNT, _INFO):
            self.polls.append(asked)
            step = self.account if asked.path == _ACCOUNT else self.info
        else:
            step = self.script[min(len(self.requests), len(self.script) - 1)]
            self.requests.append(asked)
        self._arrival.set()
        return step(asked) if callable(step) else step

    def run(self, task: asyncio.Task[None]) -> None:
        """Own a connection's task."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Connection(asyncio.Protocol):
    """One connection: requests in, replies out."""

    def __init__(self, provider: ScriptedProvider) -> None:
        provider.connections += 1
        self._provider = provider
        self._number = provider.connections
        self._reader = asyncio.StreamReader()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._provider.open.add(self._transport)
        self._provider.run(asyncio.get_running_loop().create_task(self._serve()))

    def data_received(self, data: bytes) -> None:
        self._reader.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._provider.open.discard(self._transport)
        self._reader.feed_eof()
        self._gone.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def _serve(self) -> None:
        try:
            while (asked := await self._read()) is not None:
                reply = self._provider.reply_to(asked)
                if not await self._play(asked, reply) or Move.CLOSE_ON_NEXT in reply:
                    break
            await self._read_head()  # the next request, for those that close on it
        finally:
            self._transport.close()

    async def _read(self) -> Asked | None:
        head = await self._read_head()
        if head is None:
            return None
        request_line, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = request_line.split(" ")
        pairs = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        length = next((int(value) for name, value in pairs if name.lower() == "content-length"), 0)
        try:
            body = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            return None
        return Asked(method, path, pairs, body, self._number)

    async def _read_head(self) -> bytes | None:
        try:
            return await self._reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None

    async def _play(self, asked: Asked, reply: Reply) -> bool:
        """Give a reply; False if the connection has ended with it."""
        for part in reply:
            if not await self._do(part):
                if self._gone.is_set():
                    asked.left.set()
                return False
        asked.answered.set()
        return True

    async def _do(self, part: Part) -> bool:
        if isinstance(part, bytes):
            return await self._send(part)
        if isinstance(part, asyncio.Event):
            return await self._until(part)
        if part is Move.NEVER:
            return await self._until(asyncio.Event())
        if part is Move.ENDLESS:
            while await self._send(b"x" * 65536):
                pass
            return False
        if part is Move.RESET:
            self._reset()
        elif part is Move.CLOSE:
            self._transport.close()
        return part is Move.CLOSE_ON_NEXT

    async def _send(self, data: bytes) -> bool:
        self._transport.write(data)
        await self._writable.wait()
        # Two turns of the loop: one in which the caller's socket becomes readable, one in which it is read.
        for _ in range(2):
            await asyncio.sleep(0)
        return not self._gone.is_set()

    def _reset(self) -> None:
        """End with a RST: without lingering, that is what closing sends."""
        self._transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self._transport.abort()

    async def _until(self, event: asyncio.Event) -> bool:
        """Wait for an event, or for the caller to leave."""
        waits = [asyncio.ensure_future(event.wait()), asyncio.ensure_future(self._gone.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self._gone.is_set()


# Replies


def head(status: int | str = 200, *headers: tuple[str, str]) -> bytes:
    """A status line with headers."""
    lines = [f"HTTP/1.1 {status if isinstance(status, str) else f'{status} Whatever'}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "".join(line + "\r\n" for line in lines).encode() + b"\r\n"


def reply(
    body: bytes,
    *,
    status: int | str = 200,
    content_type: str | None = "application/json",
    headers: Iterable[tuple[str, str]] = (),
) -> list[Part]:
    """A whole body with its length."""
    typed = [] if content_type is None else [("Content-Type", content_type)]
    return [head(status, *typed, ("Content-Length", str(len(body))), *headers), body]


def json_reply(
    document: Any, *, status: int | str = 200, headers: Iterable[tuple[str, str]] = (), **named_headers: str
) -> list[Part]:
    """A JSON body; named headers are spelled with underscores."""
    return reply(json.dumps(document).encode(), status=status, headers=[*headers, *_named(named_headers)])


def error_reply(
    status: int, message: str = "no", *, kind: str = "server_error", code: str | None = None, **named_headers: str
) -> list[Part]:
    """An error in OpenAI's shape."""
    document = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return json_reply(document, status=status, headers=_named(named_headers))


def sse_reply(
    *parts: Part, headers: Iterable[tuple[str, str]] = (), content_type: str | None = "text/event-stream"
) -> list[Part]:
    """A chunked body of events, each part in a chunk of its own, ended in an orderly way unless a move ends it."""
    typed = [] if content_type is None else [("Content-Type", content_type)]
    opening = head(200, *typed, ("Transfer-Encoding", "chunked"), *headers)
    return [opening, *(chunked(part) if isinstance(part, bytes) else part for part in parts), b"0\r\n\r\n"]


def _named(headers: dict[str, str]) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in headers.items()]


def chunked(data: bytes) -> bytes:
    """Data as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def byte_by_byte(data: bytes) -> list[Part]:
    """Each byte on its own."""
    return [data[index : index + 1] for index in range(len(data))]


def after(seconds: float) -> asyncio.Event:
    """An event that sets itself; for where time itself is what is tested."""
    set_by_itself = asyncio.Event()
    asyncio.get_running_loop().call_later(seconds, set_by_itself.set)
    return set_by_itself


def cut_at(data: bytes, *places: int) -> list[Part]:
    """Data cut at some places."""
    bounds = [0, *sorted(places), len(data)]
    return [data[start:end] for start, end in pairwise(bounds) if start < end]


# What models say


def completion(
    content: str | None = "Hello",
    *,
    tokens: tuple[int, int] | None = (10, 5),
    cost_msats: int | None = None,
    model: str = MODEL,
    message: dict[str, Any] | None = None,
    finish_reason: str = "stop",
) -> dict[str, Any]:
    """A chat completion; `tokens` are (input, output), `cost_msats` is what a Routstr node says it charged."""
    document: dict[str, Any] = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_755_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **(message or {})},
                "finish_reason": finish_reason,
            }
        ],
    }
    return document | _usage_fields(tokens, cost_msats)


def chunk(
    content: str | None = None,
    *,
    finish_reason: str | None = None,
    delta: dict[str, Any] | None = None,
    model: str = MODEL,
) -> bytes:
    """One event of a streamed completion."""
    given = delta if delta is not None else {} if content is None else {"content": content}
    choices = [{"index": 0, "delta": given, "finish_reason": finish_reason}]
    return event(_chunk_document(model, choices))


def usage_chunk(input_tokens: int = 10, output_tokens: int = 5, *, cost_msats: int | None = None) -> bytes:
    """The event that only carries usage."""
    return event(_chunk_document(MODEL, []) | _usage_fields((input_tokens, output_tokens), cost_msats))


def event(document: Any) -> bytes:
    """A JSON document as an event, in the letters it has."""
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def stream_events(
    *words: str,
    tokens: tuple[int, int] | None = (10, 5),
    cost_msats: int | None = None,
    finish_reason: str | None = "stop",
    done: bool = True,
) -> list[bytes]:
    """The events of a streamed completion: a role, each word, the end, usage if `tokens` are given, `[DONE]`."""
    events = [chunk(delta={"role": "assistant", "content": ""}), *map(chunk, words)]
    if finish_reason is not None:
        events.append(chunk(finish_reason=finish_reason))
    if tokens is not None:
        events.append(usage_chunk(*tokens, cost_msats=cost_msats))
    return [*events, DONE] if done else events


def _chunk_document(model: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_755_000_000,
        "model": model,
        "choices": choices,
    }


def _usage_fields(tokens: tuple[int, int] | None, cost_msats: int | None) -> dict[str, Any]:
    """`usage` as OpenAI has it; with a cost, as Routstr nodes do."""
    if tokens is None:
        return {}
    usage: dict[str, Any] = {
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "total_tokens": sum(tokens),
    }
    if cost_msats is None:
        return {"usage": usage}
    cost = {"base_msats": 0, "input_msats": 0, "output_msats": cost_msats, "total_msats": cost_msats}
    return {"usage": {**usage, "cost": cost, "cost_sats": cost_msats // 1000}, "cost": cost}

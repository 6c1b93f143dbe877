"""The clients of a soak: most ask and read, some leave, dawdle, or ask for what can't be."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
import orjson

from tests.support.serve_process import chat

JSON = {"Content-Type": "application/json"}
ALWAYS = frozenset({200})
# What the provider named "bad" does; the others answer as usual. Behind it the statuses that a client may then see.
FAULTS = {
    "mock-error-503@bad": ALWAYS,
    "mock-error-401@bad": ALWAYS,
    "mock-refuse@bad": ALWAYS,
    "mock-bad-json@bad": ALWAYS,
    "mock-unknown-model@bad": ALWAYS,
    "mock-error-400@bad": frozenset({200, 400}),  # about the request, so it passes
    "mock-drop-stream@bad": ALWAYS,
    "mock-cut-stream@bad": ALWAYS,
}
MISTAKES: tuple[tuple[bytes, dict[str, str], int], ...] = (
    (b'{"model": "gpt-4o", ', {}, 400),
    (orjson.dumps(chat("no-such-model")), {}, 404),
    (orjson.dumps(chat()), {"X-Arbstr-Policy": "no-such-rule"}, 400),
    (orjson.dumps(chat()), {"Content-Type": "text/plain"}, 415),
    (orjson.dumps(chat()) + b" " * 600_000, {}, 413),
)


@dataclass(slots=True)
class Seen:
    """What one client saw: `whole` says whether to its end, `wrong` why it did not deserve it."""

    kind: str
    request_id: str = ""
    status: int = 0
    whole: bool = False
    wrong: str = ""


@dataclass(slots=True)
class Clients:
    """Clients that share a number of requests, and what they saw."""

    url: str
    left: int
    seen: list[Seen] = field(default_factory=list)
    random: Random = field(default_factory=lambda: Random(1))

    async def client(self, session: aiohttp.ClientSession) -> None:
        """Ask until nothing is left to be asked."""
        kinds = (
            self._usual,
            self._slow_reader,
            self._in_pieces,
            self._leaver,
            self._early_leaver,
            self._fault,
            self._mistake,
        )
        while self.left > 0:
            self.left -= 1
            (kind,) = self.random.choices(kinds, (74, 3, 4, 4, 5, 7, 3))
            seen = Seen(kind.__name__.strip("_"))
            self.seen.append(seen)
            try:
                await kind(session, seen)
            except aiohttp.ClientError as error:
                seen.wrong = repr(error)

    def _body(self, model: str = "gpt-4o") -> bytes:
        return orjson.dumps(chat(model, stream=self.random.random() < 0.5, max_tokens=40))

    async def _usual(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        await self._ask(session, seen, self._body())

    async def _slow_reader(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        await self._ask(session, seen, self._body(), pause_s=0.02)

    async def _in_pieces(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        await self._ask(session, seen, _pieces(self._body()))

    async def _fault(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        model = self.random.choice(list(FAULTS))
        seen.kind = model
        breaks = "stream@" in model
        await self._ask(session, seen, self._body(model), FAULTS[model], may_break=breaks)

    async def _mistake(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        body, headers, status = self.random.choice(MISTAKES)
        await self._ask(session, seen, body, frozenset({status}), headers)

    async def _leaver(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        """Leaves once the answer has begun."""
        body = orjson.dumps(chat(stream=True, max_tokens=200))
        async with session.post(self.url, data=body, headers=JSON) as response:
            _note(seen, response, ALWAYS)
            await response.content.readany()
            response.close()

    async def _early_leaver(self, session: aiohttp.ClientSession, seen: Seen) -> None:
        """Leave before the answer; a request already passed on has surely been noticed."""
        wanted = asyncio.Event()
        sent = _pieces(self._body(), wanted)
        asking = asyncio.create_task(self._ask(session, seen, sent, expect100=True))
        await asyncio.wait({asking, noticed := asyncio.create_task(wanted.wait())}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(self.random.uniform(0, 0.02))
        noticed.cancel()
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asking

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        seen: Seen,
        body: Any,
        expected: frozenset[int] = ALWAYS,
        headers: dict[str, str] | None = None,
        *,
        may_break: bool = False,
        pause_s: float = 0,
        expect100: bool = False,
    ) -> None:
        sent = JSON | (headers or {})
        async with session.post(self.url, data=body, headers=sent, expect100=expect100) as response:
            _note(seen, response, expected)
            text = b""
            while piece := await response.content.read(2000 if pause_s else -1):
                text += piece
                await asyncio.sleep(pause_s)
        streamed = "event-stream" in response.headers["Content-Type"]
        seen.whole = text.endswith(b"data: [DONE]\n\n") if streamed else text.endswith(b"}")
        if not (seen.whole or may_break):
            seen.wrong = f"an answer that ends with {text[-100:]!r}"


def _note(seen: Seen, response: aiohttp.ClientResponse, expected: frozenset[int]) -> None:
    seen.status, seen.request_id = response.status, response.headers["X-Arbstr-Request-Id"]
    if seen.status not in expected:
        seen.wrong = f"status {seen.status}"


async def _pieces(body: bytes, wanted: asyncio.Event | None = None) -> AsyncIterator[bytes]:
    """A body that is sent bit by bit; `wanted` is set once it is waited for."""
    if wanted is not None:
        wanted.set()
    for start in range(0, len(body), 40):
        yield body[start : start + 40]
        await asyncio.sleep(0.001)

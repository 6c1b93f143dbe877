"""Asks one Nostr relay for events, and believes it nothing: each event is checked, and it may send only so much."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp
import orjson

from arbstr import __version__
from arbstr.discovery.nostr import Event, genuine
from arbstr.engine import lenient_json
from arbstr.sanitize import sanitize_clause
from arbstr.transport.connector import AddressCheck, Proxy, any_address
from arbstr.transport.resolver import Resolver
from arbstr.transport.websocket import WebSocketConnector

WITHIN_S = 10.0
MOST_BYTES = 8 * 1024 * 1024
MOST_EVENTS = 3000  # genuine or not
MOST_MESSAGE_BYTES = 256 * 1024

_SUBSCRIPTION = "arbstr"
_CLOSED_WITHIN = aiohttp.ClientWSTimeout(ws_close=0.5)  # a relay need not agree to the end


class Heard(NamedTuple):
    """What a relay sent: its genuine events, how many were not, and what cut it short, None if nothing did."""

    relay: str
    events: tuple[Event, ...]
    forged: int = 0
    problem: str | None = None


class _Enough(Exception):
    """The relay has sent more than it may."""


async def ask(
    relay: str,
    filters: Sequence[dict[str, Any]],
    proxy: Proxy | None = None,
    resolver: Resolver | None = None,
    *,
    allows: AddressCheck = any_address,
    within_s: float = WITHIN_S,
) -> Heard:
    """Return a relay's events that match any of the filters; what came until it failed counts. Raises nothing."""
    hearing = _Hearing()
    problem = None
    try:
        async with asyncio.timeout(within_s):
            await _converse(relay, filters, WebSocketConnector(proxy, resolver, allows=allows), hearing)
    except TimeoutError:
        problem = f"it was not done within {within_s:g} s"
    except (aiohttp.ClientError, OSError, ValueError, _Enough) as error:
        problem = sanitize_clause(str(error) or type(error).__name__)
    return Heard(relay, tuple(hearing.events), hearing.forged, problem)


async def _converse(
    relay: str, filters: Sequence[dict[str, Any]], connector: WebSocketConnector, hearing: _Hearing
) -> None:
    agent = {"User-Agent": f"arbstr/{__version__}"}
    async with (
        aiohttp.ClientSession(connector=connector, headers=agent, cookie_jar=aiohttp.DummyCookieJar()) as session,
        # Uncompressed: a small message could unfold to a very large one.
        session.ws_connect(relay, max_msg_size=MOST_MESSAGE_BYTES, compress=0, timeout=_CLOSED_WITHIN) as socket,
    ):
        await socket.send_str(_request(filters))
        async for message in socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                raise _Enough(f"it sent no text ({message.type.name})")
            if hearing.is_over(message.data):
                return
            await asyncio.sleep(0)  # checking signatures leaves the loop to others
    raise _Enough("it closed the connection")


def _request(filters: Sequence[dict[str, Any]]) -> str:
    return orjson.dumps(["REQ", _SUBSCRIPTION, *filters]).decode()


class _Hearing:
    """What a relay has sent so far."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.forged = 0
        self._bytes = 0

    def is_over(self, message: str) -> bool:
        """Take a message; return whether it was the last. Raises `_Enough` if the relay sends too much, or refuses."""
        self._bytes += len(message)
        if self._bytes > MOST_BYTES or len(self.events) + self.forged >= MOST_EVENTS:
            raise _Enough(f"it sent more than {MOST_EVENTS:,} events or {MOST_BYTES // 2**20} MB")
        match lenient_json.loads_or_none(message.encode(errors="replace")):
            case ["EVENT", _, document]:
                self._add(document)
            case ["EOSE", *_]:
                return True
            case ["CLOSED", _, *reason]:
                raise _Enough(f"it refused: {reason[0] if reason else 'no reason'}")
        return False

    def _add(self, document: Any) -> None:
        event = genuine(document)
        if event is None:
            self.forged += 1
        else:
            self.events.append(event)

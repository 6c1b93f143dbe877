"""The lists of models of providers that are configured without models: read at the start, then every `refresh` seconds.

Nothing waits for them: a provider whose list is unknown is asked for any model.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx

from arbstr import __version__
from arbstr.config.schema import LONGEST_MODEL, Provider
from arbstr.engine import lenient_json
from arbstr.engine.routing.names import ModelNames
from arbstr.engine.upstream.response import chunks_of, close
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause

logger = logging.getLogger(__name__)

AGAIN_S = 5.0  # after the first failure; then twice as long each time, up to `refresh`
WAIT_S = 3.0  # after the start, for who wants the first lists
PATIENCE_S = 30.0
MAX_BYTES = 4 * 1024 * 1024  # more than any list; parsing that much stops the loop for some 30 ms
JITTER = 0.2  # up to this share earlier: several arbstrs do not ask at once

_MOST_NAMES = 10_000


class Catalogues:
    """Reads the lists of those `providers` that are configured without models, and tells `names`."""

    def __init__(
        self,
        providers: Iterable[Provider],
        names: ModelNames,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        *,
        random: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._providers = tuple(provider for provider in providers if not provider.models)
        self._names = names
        self._transport = transport
        self._redactor = redactor
        self._random = random
        self._sleep = sleep
        self._asked: set[str] = set()
        self._settled = asyncio.Event()

    async def run(self) -> None:
        """Read all lists, again and again."""
        try:
            async with asyncio.TaskGroup() as group:
                for provider in self._providers:
                    group.create_task(self._follow(provider))
                if self._providers:
                    await self._sleep(WAIT_S)
                self._settled.set()
        finally:
            self._settled.set()

    async def first_lists(self) -> None:
        """Wait until every provider has been asked once, at most until `WAIT_S` after the start."""
        await self._settled.wait()

    async def _follow(self, provider: Provider) -> None:
        failures = 0
        while True:
            problem = await self._read(provider)
            self._asked.add(provider.name)
            if len(self._asked) == len(self._providers):
                self._settled.set()
            if problem and not failures:
                logger.warning("provider %s does not say which models it has: %s", provider.name, problem)
            failures = failures + 1 if problem else 0
            await self._sleep(self._pause_s(provider, failures))

    def _pause_s(self, provider: Provider, failures: int) -> float:
        """Return how long to wait before a list is read again, in seconds."""
        most_s = AGAIN_S * 2.0 ** min(failures - 1, 16) if failures else provider.refresh
        return min(most_s, provider.refresh) * (1 - JITTER * self._random())

    async def _read(self, provider: Provider) -> str | None:
        """Read one provider's list; return what went wrong, None if nothing did. No fault in it ends the reading."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                models = self._models(lenient_json.loads_or_none(await self._fetch(_request(provider))))
        except Exception as error:
            return sanitize_clause(self._redactor.text(str(error) or type(error).__name__))
        if not models:
            return "what it answers is no list of models"
        self._names.learn(provider.name, models)
        return None

    async def _fetch(self, request: httpx.Request) -> bytes:
        response = await self._transport.handle_async_request(request)
        try:
            if response.status_code != httpx.codes.OK:
                raise httpx.TransportError(f"HTTP {response.status_code}")
            body = bytearray()
            async for chunk in chunks_of(response):
                body += chunk
                if len(body) > MAX_BYTES:
                    raise httpx.TransportError(f"a list of more than {MAX_BYTES:,} bytes")
            return bytes(body)
        finally:
            await close(response)

    def _models(self, document: Any) -> tuple[str, ...]:
        """Return the names in OpenAI's list shape, or in a bare list; invalid ones are left out."""
        listed = document.get("data", document.get("models")) if isinstance(document, dict) else document
        entries = listed[:_MOST_NAMES] if isinstance(listed, list) else []
        names = (entry.get("id", entry.get("name")) if isinstance(entry, dict) else entry for entry in entries)
        return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and self._is_fit(name)))

    def _is_fit(self, name: str) -> bool:
        return 0 < len(name) <= LONGEST_MODEL and name.isprintable() and self._redactor.text(name) == name


def _request(provider: Provider) -> httpx.Request:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"arbstr/{__version__}"}
    if provider.api_key is not None:
        headers["Authorization"] = f"Bearer {provider.api_key.reveal()}"
    return httpx.Request(
        "GET",
        f"{provider.url}/models",
        headers=headers,
        extensions={"timeout": {"connect": provider.timeouts.connect}, "proxy": provider.proxy},
    )

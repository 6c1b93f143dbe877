"""The model lists of providers configured without models: fetched on demand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import httpx

from arbstr import __version__
from arbstr.config.schema import Provider
from arbstr.engine import lenient_json
from arbstr.engine.upstream.response import chunks_of, close
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause

logger = logging.getLogger(__name__)

FRESH_S = 300.0  # how long a list is used
AGAIN_S = 15.0  # before a provider that returned none is asked again
WAIT_S = 3.0  # how long a caller waits for lists that have never been fetched
PATIENCE_S = 30.0
MAX_BYTES = 8 * 1024 * 1024

_LONGEST_NAME = 300
_MOST_NAMES = 10_000


class ModelLists:
    """The model lists of those `providers` that are configured without models. `clock` is monotonic seconds."""

    def __init__(
        self,
        providers: Iterable[Provider],
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        clock: Callable[[], float],
    ) -> None:
        self._providers = [provider for provider in providers if not provider.models]
        self._transport = transport
        self._redactor = redactor
        self._clock = clock
        self._known: dict[str, tuple[str, ...]] = {}
        self._due_s: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}

    async def get(self) -> dict[str, tuple[str, ...]]:
        """Return the lists by provider; waits up to `WAIT_S` for those never fetched."""
        for provider in self._providers:
            if provider.name not in self._asking and self._clock() >= self._due_s.get(provider.name, 0.0):
                self._asking[provider.name] = asyncio.create_task(self._ask(provider))
        missing = [task for name, task in self._asking.items() if name not in self._known]
        if missing:
            await asyncio.wait(missing, timeout=WAIT_S)
        return dict(self._known)

    async def aclose(self) -> None:
        """Cancel all fetches."""
        tasks = list(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, provider: Provider) -> None:
        """Fetch one provider's list. Any exception costs no more than that list."""
        self._due_s[provider.name] = self._clock() + AGAIN_S
        try:
            async with asyncio.timeout(PATIENCE_S):
                names = self._names(lenient_json.loads_or_none(await self._fetch(_request(provider))))
            if names:
                self._known[provider.name] = names
                self._due_s[provider.name] = self._clock() + FRESH_S
            else:
                logger.info("provider %s lists no models", provider.name)
        except Exception as error:
            message = sanitize_clause(self._redactor.text(str(error) or type(error).__name__))
            logger.info("could not list the models of provider %s: %s", provider.name, message)
        finally:
            del self._asking[provider.name]

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

    def _names(self, document: Any) -> tuple[str, ...]:
        """Return the names in OpenAI's list shape, or in a bare list; invalid ones are left out."""
        listed = document.get("data", document.get("models")) if isinstance(document, dict) else document
        entries = listed[:_MOST_NAMES] if isinstance(listed, list) else []
        names = (entry.get("id", entry.get("name")) if isinstance(entry, dict) else entry for entry in entries)
        return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and self._is_fit(name)))

    def _is_fit(self, name: str) -> bool:
        return 0 < len(name) <= _LONGEST_NAME and name.isprintable() and self._redactor.text(name) == name


def _request(provider: Provider) -> httpx.Request:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"arbstr/{__version__}"}
    if provider.api_key is not None:
        headers["Authorization"] = f"Bearer {provider.api_key.reveal()}"
    return httpx.Request(
        "GET",
        provider.url.rstrip("/") + "/models",
        headers=headers,
        extensions={"timeout": {"connect": provider.timeouts.connect}, "proxy": provider.proxy},
    )


Lists = Callable[[], Awaitable[dict[str, tuple[str, ...]]]]

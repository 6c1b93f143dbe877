"""Posts alerts to a webhook, signed, one after another, from a bounded queue; nothing waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from arbstr import __version__
from arbstr.market.fetching import FetchFailed, fetch
from arbstr.redaction import Redactor, Secret
from arbstr.sanitize import sanitize_clause

logger = logging.getLogger(__name__)

MOST_WAITING = 100  # alerts; the oldest make room
TRIES = 6
FIRST_PAUSE_S = 1.0  # doubled after each further try
PATIENCE_S = 10.0  # for a whole answer
_MOST_BYTES = 64 * 1024  # of an answer, which is not read


class Webhook:
    """The address that alerts are posted to. With a `secret`, `X-Arbstr-Signature` has the HMAC of the body."""

    def __init__(
        self,
        url: Secret,
        secret: Secret | None,
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._url = url
        self._secret = secret
        self._transport = transport
        self._redactor = redactor
        self._sleep = sleep
        self._waiting: deque[bytes] = deque(maxlen=MOST_WAITING)
        self._arrival = asyncio.Event()

    def take_over(self, before: Webhook) -> None:
        """Post what an earlier webhook has not posted yet."""
        self._waiting, self._arrival = before._waiting, before._arrival

    def put(self, document: dict[str, Any]) -> None:
        """Queue an alert; the oldest is dropped if there are too many."""
        if len(self._waiting) == MOST_WAITING:
            logger.warning("alerts: more than %d wait for the webhook; the oldest is dropped", MOST_WAITING)
        text = self._redactor.text(json.dumps(document, ensure_ascii=False, allow_nan=False))
        self._waiting.append(text.encode())
        self._arrival.set()

    async def run(self) -> None:
        """Post the alerts, each until it is taken or has been tried often enough."""
        while True:
            self._arrival.clear()
            while self._waiting:
                body = self._waiting.popleft()
                try:
                    await self._deliver(body)
                except asyncio.CancelledError:  # another webhook may take over
                    self._waiting.appendleft(body)
                    self._arrival.set()
                    raise
            await self._arrival.wait()

    async def _deliver(self, body: bytes) -> None:
        for tries in range(TRIES):
            if tries:
                await self._sleep(FIRST_PAUSE_S * 2.0 ** (tries - 1))
            problem = await self._post(body)
            if problem is None:
                return
        logger.warning("alerts: the webhook did not take one in %d tries: %s", TRIES, problem)

    async def _post(self, body: bytes) -> str | None:
        """Post a body; return what went wrong, None if it was taken. No fault in it ends the posting."""
        try:
            request = httpx.Request(
                "POST",
                self._url.reveal(),
                content=body,
                headers=self._headers(body),
                extensions={"timeout": {"connect": PATIENCE_S}},
            )
            answer = await fetch(self._transport, request, within_s=PATIENCE_S, most_bytes=_MOST_BYTES)
        except FetchFailed as error:
            return sanitize_clause(self._redactor.text(str(error)))
        except Exception as error:
            return type(error).__name__  # its text might quote the URL
        return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"arbstr/{__version__}",
        }
        if self._secret is not None:
            digest = hmac.new(self._secret.reveal().encode(), body, hashlib.sha256).hexdigest()
            headers["X-Arbstr-Signature"] = f"sha256={digest}"
        return headers

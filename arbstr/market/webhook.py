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

from arbstr.market.posting import post
from arbstr.redaction import Redactor, Secret

logger = logging.getLogger(__name__)

MOST_WAITING = 100  # alerts; the oldest make room
TRIES = 6
FIRST_PAUSE_S = 1.0  # doubled after each further try
PATIENCE_S = 10.0  # for an answer

Claim = Callable[[], Awaitable[bool]]  # whether an alert is to be posted from here; another instance may do so


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
        self._waiting: deque[tuple[bytes, Claim | None]] = deque(maxlen=MOST_WAITING)
        self._arrival = asyncio.Event()
        self._is_failing = False  # then it leaves no other instance without an alert by claiming it

    def take_over(self, before: Webhook) -> None:
        """Post what an earlier webhook has not posted yet."""
        self._waiting, self._arrival = before._waiting, before._arrival

    def put(self, document: dict[str, Any], claim: Claim | None = None) -> None:
        """Queue an alert; the oldest is dropped if there are too many. It is posted if its `claim` says so then."""
        if len(self._waiting) == MOST_WAITING:
            logger.warning("alerts: more than %d wait for the webhook; the oldest is dropped", MOST_WAITING)
        text = self._redactor.text(json.dumps(document, ensure_ascii=False, allow_nan=False))
        self._waiting.append((text.encode(), claim))
        self._arrival.set()

    async def run(self) -> None:
        """Post the alerts, each until it is taken or has been tried often enough."""
        while True:
            self._arrival.clear()
            while self._waiting:
                body, claim = alert = self._waiting.popleft()
                try:
                    if self._is_failing or claim is None or await claim():
                        await self._deliver(body)
                except asyncio.CancelledError:  # another webhook may take over
                    self._waiting.appendleft(alert)
                    self._arrival.set()
                    raise
            await self._arrival.wait()

    async def _deliver(self, body: bytes) -> None:
        for tries in range(TRIES):
            if tries:
                await self._sleep(FIRST_PAUSE_S * 2.0 ** (tries - 1))
            problem = await self._post(body)
            self._is_failing = problem is not None
            if problem is None:
                return
        logger.warning("alerts: the webhook did not take one in %d tries: %s", TRIES, problem)

    async def _post(self, body: bytes) -> str | None:
        """Post a body; return what went wrong, None if it was taken."""
        url, headers = self._url.reveal(), self._headers(body)
        return await post(self._transport, self._redactor, url, body, headers, within_s=PATIENCE_S)

    def _headers(self, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._secret is not None:
            digest = hmac.new(self._secret.reveal().encode(), body, hashlib.sha256).hexdigest()
            headers["X-Arbstr-Signature"] = f"sha256={digest}"
        return headers

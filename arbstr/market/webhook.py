"""Posts alerts to a webhook, signed, one after another, from a bounded queue; nothing waits for it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import httpx

from arbstr.market.posting import post
from arbstr.redaction import Redactor, Secret

logger = logging.getLogger(__name__)

MOST_WAITING = 100  # alerts; the oldest make room
TRIES = 6
FIRST_PAUSE_S = 1.0  # doubled after each further try
PATIENCE_S = 10.0  # for an answer

LEAST_WAIT_S = 1.0  # before another instance's claim is looked at again


class Turn(NamedTuple):
    """Whose turn it is to post an alert: this one's, by an `id`; else another's, which may fail to: ask again `in_s`.

    Neither: it is posted.
    """

    id: str | None
    in_s: float | None = None


class Claim(Protocol):
    """An alert that other instances hear of too."""

    async def ask(self, own_id: str) -> Turn:
        """Return whose turn it is; if it is this one's, nobody else's for longer than a webhook is tried."""
        ...

    def posted(self) -> None:
        """Have the others know that it was posted."""
        ...


class _Waiting(NamedTuple):
    """An alert: its JSON, what it is posted by unless that is known otherwise, and whose it may be."""

    text: str
    id: str
    claim: Claim | None


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
        self._waiting: deque[_Waiting] = deque(maxlen=MOST_WAITING)
        self._arrival = asyncio.Event()
        self._is_failing = False  # then it leaves no other instance without an alert by claiming it

    def take_over(self, before: Webhook) -> None:
        """Post what an earlier webhook has not posted yet."""
        self._waiting, self._arrival = before._waiting, before._arrival

    def put(self, document: dict[str, Any], claim: Claim | None = None) -> None:
        """Queue an alert; the oldest is dropped if there are too many. It is posted if its `claim` says so then."""
        text = self._redactor.text(json.dumps(document, ensure_ascii=False, allow_nan=False))
        self._append(_Waiting(text, secrets.token_hex(8), claim))

    def _append(self, alert: _Waiting) -> None:
        if len(self._waiting) == MOST_WAITING:
            logger.warning("alerts: more than %d wait for the webhook; the oldest is dropped", MOST_WAITING)
        self._waiting.append(alert)
        self._arrival.set()

    async def run(self) -> None:
        """Post the alerts, each until it is taken or has been tried often enough."""
        while True:
            self._arrival.clear()
            while self._waiting:
                alert = self._waiting.popleft()
                try:
                    await self._handle(alert)
                except asyncio.CancelledError:  # another webhook may take over
                    self._waiting.appendleft(alert)
                    self._arrival.set()
                    raise
            await self._arrival.wait()

    async def _handle(self, alert: _Waiting) -> None:
        claim = alert.claim
        turn = Turn(alert.id) if self._is_failing or claim is None else await claim.ask(alert.id)
        if turn.id is not None:
            body = json.dumps({"id": turn.id, **json.loads(alert.text)}, ensure_ascii=False).encode()
            if await self._deliver(body) and claim is not None:
                claim.posted()
        elif turn.in_s is not None:
            asyncio.get_running_loop().call_later(max(turn.in_s, LEAST_WAIT_S), self._append, alert)

    async def _deliver(self, body: bytes) -> bool:
        """Post a body; return whether it was taken, at last."""
        for tries in range(TRIES):
            if tries:
                await self._sleep(FIRST_PAUSE_S * 2.0 ** (tries - 1))
            problem = await self._post(body)
            self._is_failing = problem is not None
            if problem is None:
                return True
        logger.warning("alerts: the webhook did not take one in %d tries: %s", TRIES, problem)
        return False

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

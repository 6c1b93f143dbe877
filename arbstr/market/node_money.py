"""A Routstr node's money: balances, deposits by token and by Lightning, refunds, as it is asked for them over HTTP.

Nothing here is repeated or remembered: what may be sent again after a failure, `funding` knows. Tokens, keys and
invoices are secrets; no error's text holds one, even where the node quotes it.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple, TypeGuard
from urllib.parse import quote

import httpx

from arbstr import __version__
from arbstr.clock import wall_ms
from arbstr.config.schema import Provider
from arbstr.engine.upstream import verdict
from arbstr.engine.upstream.retry_after import retry_after_s
from arbstr.errors import ArbstrError
from arbstr.market.balance_reading import parse_balance
from arbstr.market.fetching import Fetched, FetchFailed, fetch
from arbstr.market.lightning_invoice import is_invoice
from arbstr.redaction import Redactor, Secret, fits_header
from arbstr.sanitize import sanitize_clause
from arbstr.types import Balance, JsonObject

PATIENCE_S = 90.0  # a node may have to ask several mints
_INVOICE_PATHS = ("balance/lightning", "/lightning")  # below the base URL, and at the node's root
_USUAL_INVOICE_S = 3600  # how long nodes take money for an invoice
_LONGEST_INVOICE_S = 30 * 86_400
_LONGEST_ID = 200
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class NodeRefusal(ArbstrError):
    """The node answered with an error: its status, its code (empty if none), how long it asks to wait."""

    def __init__(self, status: int, code: str, message: str, wait_s: float | None = None) -> None:
        super().__init__(f"HTTP {status}: {message}")
        self.status = status
        self.code = code
        self.wait_s = wait_s


class NodeSilent(ArbstrError):
    """No answer came. `sent`: the node may have had the request."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class Invoice(NamedTuple):
    """A Lightning invoice; `path` is where the node has its invoices."""

    bolt11: str
    invoice_id: str
    path: str
    expires_at_s: int


class InvoiceState(NamedTuple):
    """What has become of an invoice: `pending`, `paid`, `expired` or another word; the key once it is paid."""

    status: str
    key: str | None


class Refunded(NamedTuple):
    """A refund: the token, or None with the Lightning address to which the node sent it."""

    token: str | None
    recipient: str | None


class NodeMoney:
    """One provider's node. All methods raise NodeRefusal and NodeSilent."""

    def __init__(self, transport: httpx.AsyncBaseTransport, provider: Provider) -> None:
        self._transport = transport
        self._provider = provider

    async def balance(self, key: str) -> Balance:
        """Return what the key holds; an expired one too, if the node says so."""
        balance = parse_balance(await self._ask("GET", "balance/info", key), wall_ms())
        if balance is None:
            raise NodeRefusal(200, "", "what it answers is no balance")
        return balance

    async def create(self, token: str) -> str:
        """Give the node a token for a key of its own, and return that. The same token gives the same key again."""
        document = await self._ask("POST", "balance/create", None, {"initial_balance_token": token}, token)
        key = document.get("api_key")
        if not isinstance(key, str) or not key:
            raise NodeSilent("its answer has no key", sent=True)
        return key

    async def top_up(self, key: str, token: str) -> int:
        """Give the node a token for a key; return the msats that it was worth."""
        document = await self._ask("POST", "balance/topup", key, {"cashu_token": token}, token)
        msats = _whole(document.get("msats"))
        if msats is None:
            raise NodeSilent("its answer does not say how much it took", sent=True)
        return msats

    async def was_refunded(self, key: str) -> bool:
        """Return whether the last thing that happened to the key's money was a refund, by its history.

        Its times are whole seconds: what was paid in and back within one may stand in either order.
        """
        history = await self._history(key)
        last = [entry for entry in history if entry.get("created_at") == history[0].get("created_at")]
        return any(entry.get("type") == "out" for entry in last)

    async def _history(self, key: str) -> list[JsonObject]:
        """Return what was paid in for the key and paid back, the latest first; nothing where the node keeps no list."""
        try:
            listed = (await self._ask("GET", "balance/history", key)).get("transactions")
        except NodeRefusal:
            return []
        return [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []

    async def refund(self, key: str) -> Refunded:
        """Take back all that the key holds. While it holds nothing, the last refund's token is given again."""
        document = await self._ask("POST", "balance/refund", key, {})
        token, recipient = document.get("token"), document.get("recipient")
        if isinstance(token, str) and not fits_header(token):  # it would be shown
            raise NodeSilent("its answer has a token with characters that no token has", sent=True)
        if not isinstance(token, str) and not isinstance(recipient, str):
            raise NodeSilent("its answer has no token", sent=True)
        return Refunded(token if isinstance(token, str) else None, recipient if isinstance(recipient, str) else None)

    async def open_invoice(self, sats: int, key: str | None) -> Invoice:
        """Return an invoice over so many sats, for the key or a first one."""
        asked = {"amount_sats": sats, "purpose": "create" if key is None else "topup"}
        path = _INVOICE_PATHS[0]
        try:
            document = await self._ask("POST", f"{path}/invoice", key, asked)
        except NodeRefusal as error:
            if error.status not in (404, 405):
                raise
            path = _INVOICE_PATHS[1]
            document = await self._ask("POST", f"{path}/invoice", key, asked)
        bolt11, invoice_id = document.get("bolt11"), document.get("invoice_id")
        if not isinstance(bolt11, str) or not is_invoice(bolt11) or not _is_id(invoice_id):
            raise NodeRefusal(200, "", "its answer has no invoice")
        now_s = int(time.time())
        expires_at_s = _whole(document.get("expires_at")) or now_s + _USUAL_INVOICE_S
        return Invoice(bolt11, invoice_id, path, min(expires_at_s, now_s + _LONGEST_INVOICE_S))

    async def invoice_state(self, path: str, invoice_id: str) -> InvoiceState:
        """Return what has become of an invoice."""
        return _state(
            await self._ask("GET", f"{path}/invoice/{quote(invoice_id, safe='')}/status", None, None, invoice_id)
        )

    async def late_invoice_state(self, path: str, bolt11: str) -> InvoiceState:
        """Return what has become of an invoice that the node may have given up."""
        return _state(await self._ask("POST", f"{path}/recover", None, {"bolt11": bolt11}, bolt11))

    async def _ask(
        self, method: str, path: str, key: str | None, body: JsonObject | None = None, secret: str | None = None
    ) -> JsonObject:
        """Return what the node answers. `secret` is what else the answer must not quote."""
        masks = Redactor(Secret(text) for text in (key, secret) if text)
        try:
            request = _request(self._provider, method, path, key, body)
            answer = await fetch(self._transport, request, within_s=PATIENCE_S)
        except FetchFailed as error:
            problem = sanitize_clause(masks.text(str(error)))
            raise NodeSilent(problem, sent=not isinstance(error.__cause__, _NOT_SENT)) from None
        if not 200 <= answer.status < 300:
            raise _refusal(answer, masks)
        if not isinstance(answer.document, dict):  # it may have done what it was asked
            raise NodeSilent("its answer is no JSON object", sent=True)
        document: JsonObject = answer.document
        return document


def _request(provider: Provider, method: str, path: str, key: str | None, body: JsonObject | None) -> httpx.Request:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": f"arbstr/{__version__}"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    base = provider.url.removesuffix("/v1") if path.startswith("/") else f"{provider.url}/"
    extensions = {"timeout": {"connect": provider.timeouts.connect}, "proxy": provider.proxy}
    return httpx.Request(method, f"{base}{path}", headers=headers, json=body, extensions=extensions)


def _refusal(answer: Fetched, masks: Redactor) -> NodeRefusal:
    error = verdict.refusal_of(answer.document)
    code = error.get("code")
    return NodeRefusal(
        answer.status,
        code if isinstance(code, str) else "",
        verdict.error_summary(error, masks.text, default="no reason given"),
        retry_after_s(answer.headers.get("retry-after"), error),
    )


def paid_in_msats(balance: Balance) -> int:
    """Return all that was paid in for a key and not paid back: requests do not change it."""
    return sum(part or 0 for part in (balance.free_msats, balance.reserved_msats, balance.spent_msats))


def _is_id(value: Any) -> TypeGuard[str]:
    """Check that an id fits a path: one that does not would keep all of the journal from being resumed."""
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_ID and fits_header(value)


def _state(document: JsonObject) -> InvoiceState:
    status, key = document.get("status"), document.get("api_key")
    return InvoiceState(sanitize_clause(str(status)), key if isinstance(key, str) and key else None)


def _whole(value: Any) -> int | None:
    """Return a whole number that is not negative; None for all else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None

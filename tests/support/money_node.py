"""A Routstr node's money in a few lines: keys, tokens, invoices and refunds, as real nodes were recorded.

One server has any number of nodes, each below a path of its own, and one mint for all: a token can be spent once. Its
first answers can be scripted, and lost: then the node does what it was asked for and hangs up.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import Any, Self

SPENT = (400, {"error": {"message": "Cashu token already spent", "code": "cashu_token_already_spent"}})
UNKNOWN_KEY = (401, {"error": {"message": "Invalid API key", "code": "invalid_api_key"}})
Answer = tuple[int, dict[str, Any]]


@dataclass
class Account:
    """A key's money, in msats."""

    free: int = 0
    reserved: int = 0
    spent: int = 0
    validity_date: float | None = None
    refund: str | None = None  # the last one's token
    history: list[str] = field(default_factory=list)


@dataclass
class Node:
    """One node. `scripted` answers come first, by path; those of `lost` paths never arrive, once each."""

    mint: Mint
    accounts: dict[str, Account] = field(default_factory=dict)
    invoices: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    scripted: dict[str, list[Answer]] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    makes_keys_once: bool = False  # as older nodes, which refuse a token that they have made a key of
    pays_itself: bool = False  # its invoices
    factor: int = 10  # what they ask for, in tenths of what was wanted
    quotes: bool = False  # its errors quote what was sent

    def answer(self, method: str, path: str, key: str, body: dict[str, Any]) -> Answer:
        self.asked.append(f"{method} {path}")
        if self.scripted.get(path):
            return self.scripted[path].pop(0)
        status, document = self._answer(path, key, body)
        if status >= 400 and self.quotes:
            document = {"error": {"message": f"you sent {key} and {json.dumps(body)}", "code": "quoted"}}
        return status, document

    def _answer(self, path: str, key: str, body: dict[str, Any]) -> Answer:
        if path == "/v1/balance/create":
            return self._create(body["initial_balance_token"])
        if path.endswith("/lightning/invoice"):
            return self._invoice(key, body)
        if "/lightning/invoice/" in path:
            return self._status(path.split("/")[-2])
        if path.endswith("/lightning/recover"):
            (found,) = [one for one, invoice in self.invoices.items() if invoice["bolt11"] == body["bolt11"]]
            return self._status(found)
        account = self.accounts.get(key)
        if account is None:
            return UNKNOWN_KEY
        return self._of_key(path, account, body)

    def _of_key(self, path: str, account: Account, body: dict[str, Any]) -> Answer:
        if path == "/v1/balance/info":
            figures = {"balance": account.free, "reserved": account.reserved, "total_spent": account.spent}
            return 200, {**figures, "validity_date": account.validity_date}
        if path == "/v1/balance/history":
            listed = [{"type": kind, "created_at": at_s} for at_s, kind in enumerate(account.history)]
            return 200, {"transactions": listed[::-1]}
        if path == "/v1/balance/topup":
            if (msats := self.mint.spend(body["cashu_token"])) is None:
                return SPENT
            account.free += msats
            account.history.append("in")
            return 200, {"msats": msats}
        if path == "/v1/balance/refund":
            return self._refund(account)
        return 404, {"detail": "Not found"}

    def _create(self, token: str) -> Answer:
        key = f"sk-{hashlib.sha256(token.encode()).hexdigest()}"
        if key not in self.accounts or self.makes_keys_once:
            if (msats := self.mint.spend(token)) is None:
                return SPENT
            self.accounts[key] = Account(msats, history=["in"])
        return 200, {"api_key": key, "balance": self.accounts[key].free}

    def _refund(self, account: Account) -> Answer:
        if account.reserved:
            return 400, {"detail": "Cannot refund key. There are ongoing requests for this api key."}
        if account.free:
            account.refund = self.mint.token(account.free // 1000)
            account.free = 0
            account.history.append("out")
        if account.refund is None:
            return 400, {"detail": "No balance to refund"}
        return 200, {"token": account.refund, "sats": "1"}

    def _invoice(self, key: str, body: dict[str, Any]) -> Answer:
        if body["purpose"] == "topup" and key not in self.accounts:
            return 404, {"detail": "API key not found"}
        number = f"invoice-{self.mint.next()}"
        self.invoices[number] = {
            "bolt11": f"lnbc{self.factor * body['amount_sats']}n1p{number.replace('-', '')}{'q' * 200}",
            "sats": body["amount_sats"],
            "key": key or None,
            "status": "pending",
            "expires_at": int(time.time()) + 3600,
        }
        made = self.invoices[number]
        if self.pays_itself:
            self.pay()
        return 200, {"invoice_id": number, "bolt11": made["bolt11"], "expires_at": made["expires_at"]}

    def pay(self) -> None:
        """Pay all its invoices, as a wallet that scans them does."""
        for number, invoice in self.invoices.items():
            if invoice["status"] == "pending":
                invoice["status"] = "paid"
                key = invoice["key"] or f"sk-{hashlib.sha256(number.encode()).hexdigest()}"
                invoice["key"] = key
                self.accounts.setdefault(key, Account()).free += 1000 * invoice["sats"]

    def _status(self, number: str) -> Answer:
        if number not in self.invoices:
            return 404, {"detail": "Invoice not found"}
        invoice = self.invoices[number]
        key = invoice["key"] if invoice["status"] == "paid" else None
        return 200, {"status": invoice["status"], "api_key": key, "amount_sats": invoice["sats"]}

    @property
    def msats(self) -> int:
        """All that its keys hold."""
        return sum(account.free + account.reserved for account in self.accounts.values())


class Mint:
    """Tokens: what they are worth, in msats, and which are spent."""

    def __init__(self) -> None:
        self._numbers = count(1)
        self.unspent: dict[str, int] = {}

    def next(self) -> int:
        return next(self._numbers)

    def token(self, sats: int) -> str:
        """A fresh token."""
        digest = hashlib.sha256(f"token {self.next()}".encode()).hexdigest()
        made = f"cashuB{digest}"
        self.unspent[made] = 1000 * sats
        return made

    def spend(self, token: str) -> int | None:
        return self.unspent.pop(token, None)


class MoneyNodes:
    """The server; inside `with` it listens. `nodes` are by the first part of the path, made when they are asked for."""

    def __init__(self) -> None:
        self.mint = Mint()
        self.nodes: dict[str, Node] = {}
        self._lock = threading.Lock()
        nodes = self

        class Served(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                nodes.serve(self)

            def do_POST(self) -> None:
                nodes.serve(self)

            def log_message(self, *_: object) -> None:
                """Nothing: what is asked for here are secrets."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Served)
        self._server.daemon_threads = True

    def url(self, name: str) -> str:
        """A node's address, to be configured."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}/v1"

    def node(self, name: str) -> Node:
        return self.nodes.setdefault(name, Node(self.mint))

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        found = re.fullmatch(r"/([^/]+)(/.*)", request.path)
        assert found is not None
        name, path = found[1], found[2]
        key = (request.headers.get("authorization") or "").removeprefix("Bearer ")
        with self._lock:
            node = self.node(name)
            status, document = node.answer(request.command, path, key, json.loads(body or b"{}"))
            if path in node.lost:
                node.lost.remove(path)
                request.close_connection = True
                return
        data = json.dumps(document).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        if "retry_after" in document:
            request.send_header("Retry-After", str(document["retry_after"]))
        request.end_headers()
        request.wfile.write(data)

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._server.shutdown()
        self._server.server_close()

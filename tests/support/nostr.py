"""A Nostr relay on loopback that sends what a test says, authors who sign events, and nodes that are announced.

author = Author(1)
relay.sends(author.announces("http://127.0.0.1:9000"))
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from typing import Any, Self

from aiohttp import WSMsgType, web
from coincurve import PrivateKey, PublicKeyXOnly

Document = dict[str, Any]


class Author:
    """Someone with a key, which the number decides."""

    def __init__(self, number: int) -> None:
        secret = number.to_bytes(32, "big")
        self._key = PrivateKey(secret)
        self.pubkey = PublicKeyXOnly.from_secret(secret).format().hex()

    def signs(self, kind: int, *tags: tuple[str, ...], content: Any = "", at_s: float | None = None) -> Document:
        """An event, genuine."""
        text = content if isinstance(content, str) else json.dumps(content)
        event: Document = {
            "pubkey": self.pubkey,
            "created_at": int(time.time() if at_s is None else at_s),
            "kind": kind,
            "tags": [list(tag) for tag in tags],
            "content": text,
        }
        parts = [0, *(event[key] for key in ("pubkey", "created_at", "kind", "tags", "content"))]
        serial = json.dumps(parts, separators=(",", ":"), ensure_ascii=False)
        digest = hashlib.sha256(serial.encode()).digest()
        return {**event, "id": digest.hex(), "sig": self._key.sign_schnorr(digest, b"\0" * 32).hex()}

    def announces(
        self, *urls: str, name: str = "Node", d: str = "1", version: str = "0.4.5", at_s: float | None = None
    ) -> Document:
        """A node's announcement."""
        tags = [("d", d), *(("u", url) for url in urls), ("mint", "https://mint.example"), ("version", version)]
        return self.signs(38421, *tags, content={"name": name, "about": "…"}, at_s=at_s)

    def reviews(self, node: Author, label: str, *, at_s: float | None = None) -> Document:
        """A review of a node."""
        return self.signs(38425, ("d", node.pubkey), ("node", node.pubkey), ("t", label), at_s=at_s)

    def maps(self, mappings: Any, *, at_s: float | None = None) -> Document:
        """A table of models' names."""
        return self.signs(38426, ("d", "model-id-mappings"), content={"mappings": mappings}, at_s=at_s)


class _Site:
    """A server on loopback."""

    def __init__(self) -> None:
        self._runner: web.ServerRunner | None = None
        self.port = 0

    async def __aenter__(self) -> Self:
        server = web.Server(self.answer)
        runner = self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        return self

    async def __aexit__(self, *raised: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        raise NotImplementedError


class FakeRelay(_Site):
    """Sends events, and then whatever else it was given, to each subscription. `asked` are the filters it got."""

    def __init__(self, *events: Document) -> None:
        super().__init__()
        self.events = list(events)
        self.texts: list[str | bytes] = []  # after the events
        self.ends = True  # with EOSE
        self.asked: list[list[Document]] = []

    @property
    def url(self) -> str:
        """Its URL."""
        return f"ws://127.0.0.1:{self.port}"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Speak to one subscriber."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is not WSMsgType.TEXT:
                continue
            verb, name, *filters = json.loads(message.data)
            assert verb == "REQ"
            self.asked.append(filters)
            for event in self.events:
                await socket.send_str(json.dumps(["EVENT", name, event]))
            for text in self.texts:
                await (socket.send_str(text) if isinstance(text, str) else socket.send_bytes(text))
            if self.ends:
                await socket.send_str(json.dumps(["EOSE", name]))
        return socket


class FakeNode(_Site):
    """A node that sells models, `{id: (sats a prompt token, sats a completion token)}`; `asked` are its requests.

    All its paths are `below` one.
    """

    def __init__(
        self, models: dict[str, tuple[float, float]] | None = None, *, version: str = "0.4.5", below: str = ""
    ) -> None:
        super().__init__()
        self._below = below
        self.models = {"gpt-4o": (0.01, 0.03)} if models is None else models
        self.version = version
        self.status = 200
        self.body: bytes | None = None  # in place of its list
        self.pause_s = 0.0
        self.keys: dict[str, tuple[int, Document]] = {}  # what it answers about the balance of each key
        self.asked: list[web.BaseRequest] = []

    @property
    def url(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        self.asked.append(request)
        await asyncio.sleep(self.pause_s)
        path = request.path.removeprefix(self._below)
        if path == "/v1/info":
            return web.json_response({"name": "Node", "version": self.version, "mints": []})
        if path == "/v1/models":
            if self.body is not None:
                return web.Response(status=self.status, body=self.body)
            listed = [
                {"id": model, "sats_pricing": {"prompt": prompt, "completion": completion}}
                for model, (prompt, completion) in self.models.items()
            ]
            return web.json_response({"data": listed}, status=self.status)
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if path == "/v1/balance/info" and key in self.keys:
            status, document = self.keys[key]
            return web.json_response(document, status=status)
        return web.json_response({"error": {"message": "no such path"}}, status=400)

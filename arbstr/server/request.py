"""The request type that handlers receive."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from arbstr.engine.clients import KnownClient
from arbstr.server.known_heads import ArrivedBody, Head
from arbstr.types import HeaderList


class Request(web.BaseRequest):
    """aiohttp's request, with an id. `head` is its own, or that of all requests that are alike.

    `common_headers` are on every response to it; `on_disconnect` is called when its client disconnects. `path_policy`
    is the policy that its path names, for clients that can't send headers.
    """

    id = ""
    common_headers: HeaderList = []  # noqa: RUF012 - never changed, each request is given its own
    on_disconnect: Callable[[], None] | None = None
    path_policy: str | None = None

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: web.RequestHandler,
        writer: AbstractStreamWriter,
        task: asyncio.Task[None],
        loop: asyncio.AbstractEventLoop,
        *,
        client_max_size: int = 0,
    ) -> None:
        super().__init__(message, payload, protocol, writer, task, loop, client_max_size=client_max_size)
        self.head = payload.head if type(payload) is ArrivedBody else Head(message)

    @property
    def client(self) -> KnownClient | None:
        """The client whose key it has; None for the owner's, and for none."""
        return self.head.client

    @property
    def policy(self) -> str | None:
        """Its client's policy, else the one that it names, in a header or else in its path."""
        client = self.head.client
        fixed = None if client is None else client.policy
        return fixed or self.head.policy or self.path_policy

    @property
    def content_type(self) -> str:
        """The media type of its body."""
        known = self.head.content_type
        if known is None:
            known = self.head.content_type = super().content_type
        return known

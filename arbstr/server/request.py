"""The request type that handlers receive."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from arbstr.types import HeaderList


class Request(web.BaseRequest):
    """aiohttp's request, with an id.

    `common_headers` are on every response to it; `on_disconnect` is called when its client disconnects. `path_policy`
    is the policy that its path names, for clients that can't send headers.
    """

    id = ""
    common_headers: HeaderList = []  # noqa: RUF012 - never changed, each request is given its own
    on_disconnect: Callable[[], None] | None = None
    path_policy: str | None = None

    @property
    def policy(self) -> str | None:
        """The policy that it names, in a header or else in its path."""
        return self.headers.get("X-Arbstr-Policy", "").strip() or self.path_policy

"""A request as arbstr's handlers get it."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from arbstr.types import HeaderList


class Request(web.BaseRequest):
    """aiohttp's, and what arbstr knows of it besides.

    `every_answer` are the headers that any answer to it carries; `on_leave` is called when its client has left.
    """

    id = ""
    common_headers: HeaderList = []  # noqa: RUF012 - never changed, each request is given its own
    on_disconnect: Callable[[], None] | None = None

"""Which headers pass: a few of the client's go up, most of the provider's come down."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import httpx

from arbstr.secret import Redactor
from arbstr.text import plain
from arbstr.types import HeaderList

# What a provider needs to understand the request. Everything else may be somebody's name, address or credential.
_GO_UP = frozenset({"accept", "content-type", "anthropic-version", "anthropic-beta", "openai-beta"})
_CONNECTION = "connection"
_NAMES_NOTHING = frozenset({"keep-alive", "close"})

# Between hops, about framing, or arbstr's own: never passed on. A provider's cookies and CORS permissions are not the
# client's business, nor what steers a browser, or a server in front of arbstr, to files of its own.
_NOT_DOWN = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
        "date",
        "server",
        "set-cookie",
        "set-cookie2",
        "alt-svc",
        "strict-transport-security",
        "location",
        "refresh",
        "clear-site-data",
        "x-sendfile",
    }
)
_NOT_DOWN_PREFIXES = ("x-arbstr-", "access-control-", "x-accel-")
_LONGEST_DOWN = 4096  # bytes of a header: longer ones make clients refuse an answer that is paid
_REMEMBERED = 1024

# What arbstr reads itself, in the order of `Head`'s fields.
_READ = (b"content-type", b"x-routstr-cost-msats", b"retry-after", b"retry-after-ms", b"x-ms-retry-after-ms")


class Head(NamedTuple):
    """What matters of a response's headers: those that go down, and what it says of body, cost and return."""

    down: HeaderList
    label: str
    charged: str | None
    retry_after: str | None
    retry_after_ms: str | None


class HeadReader:
    """Reads the heads of responses; `redactor` hides keys, in names too."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._names: dict[bytes, str | None] = {}

    def read(self, response: httpx.Response) -> Head:
        """Read a response's headers in one go, as they came where the transport has them so: httpx's own cost more."""
        answer = response.extensions.get("answer")
        down: HeaderList = []
        first: dict[bytes, str] = {}
        for name, value in response.headers.raw if answer is None else answer.headers:
            if len(value) <= _LONGEST_DOWN and (shown := self._name_downstream(name)) is not None:
                down.append((shown, self._shown(value)))
            if (known := name.lower()) in _READ:
                first.setdefault(known, value.decode(errors="replace"))
        label, charged, retry_after, in_ms, in_ms_too = map(first.get, _READ)
        return Head(down, (label or "").lower(), charged, retry_after, in_ms or in_ms_too)

    def _name_downstream(self, name: bytes) -> str | None:
        """A header's name as the client may see it, None if it does not go down: one with a key in it, say."""
        if name in self._names:
            return self._names[name]
        if len(self._names) >= _REMEMBERED:
            self._names.clear()
        text = name.decode(errors="replace")
        lower = text.lower()
        held_back = lower in _NOT_DOWN or lower.startswith(_NOT_DOWN_PREFIXES) or self._shown(name) != text
        shown = None if held_back else text
        self._names[name] = shown
        return shown

    def _shown(self, value: bytes) -> str:
        """A header's text as the client may see it; no server sends control bytes on."""
        text = self._redactor.text(value.decode(errors="replace"))
        return text if text.isprintable() else plain(text, len(text))


def upward(headers: Iterable[tuple[str, str]], forward: tuple[str, ...]) -> HeaderList:
    """The client's headers that go up to a provider whose `forward_headers` are `forward`."""
    allowed = _allowed(forward)
    passing: HeaderList = []
    hop_by_hop: set[str] = set()
    for name, value in headers:
        lower = name.lower()
        if lower in allowed:
            # Bytes that are no text stand as surrogates here, which can't be sent again.
            passing.append((name, value if value.isascii() else value.encode(errors="replace").decode()))
        elif lower == _CONNECTION and value.lower() not in _NAMES_NOTHING:
            hop_by_hop.update(named.strip().lower() for named in value.split(","))
    return [pair for pair in passing if pair[0].lower() not in hop_by_hop] if hop_by_hop else passing


@lru_cache(maxsize=256)
def _allowed(forward: tuple[str, ...]) -> frozenset[str]:
    return _GO_UP | {name.lower() for name in forward}

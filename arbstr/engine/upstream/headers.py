"""Which headers are forwarded: a few of the client's to the provider, most of the provider's to the client."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

import httpx

from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize
from arbstr.types import HeaderList, new_tuple

# What a provider needs to understand the request. Any other may contain a name, an address or a credential.
_FORWARDED = frozenset({"accept", "content-type", "anthropic-version", "anthropic-beta", "openai-beta"})
_CONNECTION = "connection"
_NAMES_NOTHING = frozenset({"keep-alive", "close"})

# Never returned: hop-by-hop, about framing, or arbstr's own. Nor a provider's cookies, CORS permissions, and what
# controls a browser or a server in front of arbstr.
_NOT_RETURNED = frozenset(
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
_NOT_RETURNED_PREFIXES = ("x-arbstr-", "access-control-", "x-accel-")
_LONGEST_RETURNED = 4096  # bytes of a header: longer ones make clients reject a response that is paid for
_REMEMBERED = 1024
_LONGEST_REMEMBERED = 100  # characters of a name, or of a value

# Headers that arbstr reads itself, in the order of `Head`'s fields.
_LABEL = b"content-type"
_LABEL_ONLY = frozenset({_LABEL})
_READ = (_LABEL, b"x-routstr-cost-msats", b"retry-after", b"retry-after-ms", b"x-ms-retry-after-ms")


# Of a header, what goes to the client, None for nothing; its name if arbstr reads it, else empty; and its text then.
_Known = tuple[tuple[str, str] | None, bytes, str]


class Head(NamedTuple):
    """A response's headers: those to forward, and those read: content type, charge, when to retry."""

    forwarded: HeaderList
    label: str
    charged: str | None
    retry_after: str | None
    retry_after_ms: str | None


class HeadReader:
    """Reads the headers of responses; `redactor` hides keys, in names too."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._names: dict[bytes, tuple[str | None, bytes]] = {}
        self._known: dict[tuple[bytes, bytes], _Known] = {}  # most are the same in every response

    def read(self, response: httpx.Response) -> Head:
        """Read a response's headers, the raw ones if the transport has them: httpx's own cost more."""
        stream = response.extensions.get("response")
        forwarded: HeaderList = []
        first: dict[bytes, str] = {}
        known = self._known
        for header in response.headers.raw if stream is None else stream.headers:
            shown, name, text = known.get(header) or self._new(*header)
            if shown is not None:
                forwarded.append(shown)
            if name:
                first.setdefault(name, text)
        if first.keys() <= _LABEL_ONLY:  # as in nearly all answers
            return new_tuple(Head, (forwarded, first.get(_LABEL, "").lower(), None, None, None))
        label, charged, retry_after, in_ms, in_ms_too = map(first.get, _READ)
        return Head(forwarded, (label or "").lower(), charged, retry_after, in_ms or in_ms_too)

    def _new(self, name: bytes, value: bytes) -> _Known:
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        shown, name_read = self._names.get(name) or self._new_name(name)
        forwarded = None if shown is None or len(value) > _LONGEST_RETURNED else (shown, self._shown(value))
        found = forwarded, name_read, value.decode(errors="replace") if name_read else ""
        if len(name) <= _LONGEST_REMEMBERED and len(value) <= _LONGEST_REMEMBERED:
            self._known[name, value] = found
        return found

    def _new_name(self, name: bytes) -> tuple[str | None, bytes]:
        """Return a header's name for the client, None if not forwarded (one that contains a key, say).

        Second, its name in lower case if arbstr reads the header itself, else empty.
        """
        if len(self._names) >= _REMEMBERED:
            self._names.clear()
        text = name.decode(errors="replace")
        lower = text.lower()
        held_back = lower in _NOT_RETURNED or lower.startswith(_NOT_RETURNED_PREFIXES) or self._shown(name) != text
        shown = None if held_back else text
        known = name.lower()
        found = shown, known if known in _READ else b""
        if len(name) <= _LONGEST_REMEMBERED:
            self._names[name] = found
        return found

    def _shown(self, value: bytes) -> str:
        """Return a header's text with keys masked and control characters replaced."""
        text = self._redactor.text(value.decode(errors="replace"))
        return text if text.isprintable() else sanitize(text, len(text))


def forwarded_request_headers(headers: Iterable[tuple[str, str]], forward: tuple[str, ...]) -> HeaderList:
    """Return the client's headers to send to a provider whose `forward_headers` are `forward`."""
    names = _forwarded_names(forward)
    passing: HeaderList = []
    hop_by_hop: set[str] = set()
    for name, value in headers:
        lower = names[name]
        if not lower:
            continue
        if lower != _CONNECTION or names.passes_connection:
            # Undecodable bytes are surrogates here, which can't be encoded again.
            passing.append((name, value if value.isascii() else value.encode(errors="replace").decode()))
        elif value.lower() not in _NAMES_NOTHING:
            hop_by_hop.update(named.strip().lower() for named in value.split(","))
    return [pair for pair in passing if pair[0].lower() not in hop_by_hop] if hop_by_hop else passing


class _ForwardedNames(dict[str, str]):
    """Maps a client's header name to lower case if it may be forwarded (or is `Connection`), else to ""."""

    def __init__(self, forward: tuple[str, ...]) -> None:
        super().__init__()
        self._allowed = _FORWARDED | {name.lower() for name in forward}
        self.passes_connection = _CONNECTION in self._allowed

    def __missing__(self, name: str) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        lower = name.lower()
        found = lower if lower in self._allowed or lower == _CONNECTION else ""
        if len(name) <= _LONGEST_REMEMBERED:
            self[name] = found
        return found


_forwarded_names = lru_cache(maxsize=256)(_ForwardedNames)

"""What texts of the configuration file have to be: each function returns one, or raises ValueError with the reason."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from arbstr.config.address import parse_address
from arbstr.config.levels import parse_levels
from arbstr.config.toml_file import IN_MEMORY
from arbstr.places import PostgresPlace
from arbstr.redaction import Secret
from arbstr.types import NO_GROUP

_PUBLIC_KEY = re.compile(r"[0-9a-f]{64}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")
_NEVER_FORWARDED = frozenset(
    {
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-cashu",
    }
)
_PASSED = re.compile(r"(?=.{1,100}$)[A-Za-z0-9_-]+(?:[./][A-Za-z0-9_-]+)*(?:/\*)?")
_OWN_PATHS = frozenset(
    ("chat", "responses", "messages", "embeddings", "completions", "models", "cost", "stats", "requests", "events")
)
_NEVER_FORWARDED_PREFIXES = ("proxy-", "x-arbstr-")


def printable_name(text: str) -> str:
    """Check a name for use in response headers and on screens: printable, no space that a header would lose."""
    if not text.isprintable() or text != text.strip():
        raise ValueError("has a control character, or a space at an end; use printable characters")
    if text.casefold() == NO_GROUP:
        raise ValueError("is reserved (it labels rows without a name); choose another")
    return text


def database_url(url: Secret) -> Secret:
    """Check the URL of a database of PostgreSQL, without ever repeating it."""
    PostgresPlace.at(url.reveal(), Path())
    return url


def provider_url(text: str) -> str:
    """Check a provider's URL without ever repeating it: a password may be in it. A slash at its end is dropped."""
    if not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("is not a valid URL: it has a space, a backslash or a control character in it; remove it")
    try:
        parts = urlsplit(text)
        problem = _url_problem(parts)
    except ValueError:  # from urlsplit, or from parts.port
        problem = "its host or port is malformed; write it like https://api.example.com/v1"
    if problem:
        raise ValueError(f"is not a valid URL: {problem}")
    return text.rstrip("/")


def _url_problem(parts: SplitResult) -> str | None:
    if "@" in parts.netloc:
        return "it contains credentials; remove them and use api_key"
    if parts.scheme not in ("http", "https"):
        return "it must begin with http:// or https://"
    if not parts.hostname or parts.port == 0:
        return "it lacks a host, or its port is 0; write it like https://api.example.com/v1"
    if parts.query or parts.fragment:
        return "it has a query or a fragment (? or #); remove that"
    return None


def relay_url(text: str) -> str:
    """Check a Nostr relay's URL, as `provider_url` checks a provider's."""
    if not text.startswith(("ws://", "wss://")):
        raise ValueError("is not the URL of a Nostr relay; write it like wss://relay.example.com")
    return "ws" + provider_url("http" + text.removeprefix("ws")).removeprefix("http")


def public_key(text: str) -> str:
    """Check a Nostr public key."""
    if not _PUBLIC_KEY.fullmatch(text):
        raise ValueError("is not a Nostr public key of 64 lower-case hexadecimal digits")
    return text


def key_digest(text: str) -> str:
    """Check the digest of a client's key, without ever repeating it: the key itself may be there."""
    if not _DIGEST.fullmatch(text):
        raise ValueError(
            "is not a SHA-256 digest of 64 lower-case hexadecimal digits; 'arbstr clients add NAME' makes a key and one"
        )
    return text


def listen_address(text: str) -> str:
    """Check an address to listen on."""
    parse_address(text)
    return text


def log_levels(text: str) -> str:
    """Check levels of loggers."""
    parse_levels(text)
    return text


def file_path(text: str) -> str:
    """Check the path of a file, which is no URL."""
    if "://" in text or text in ("", IN_MEMORY) or "\0" in text:
        raise ValueError("must be a file path, as in ./arbstr.db")
    return text


def forwarded_header(name: str) -> str:
    """Check a client header that may be forwarded: no credential for arbstr, nothing about the connection."""
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError("is not a header name such as X-Title")
    lower = name.lower()
    if lower in _NEVER_FORWARDED or lower.startswith(_NEVER_FORWARDED_PREFIXES):
        raise ValueError(f"is never sent to a provider: '{name}' is a credential or a connection header; remove it")
    return name


def passed_path(path: str) -> str:
    """Check a path below `/v1` that is passed through; `/*` at its end stands for all below."""
    if not _PASSED.fullmatch(path):
        raise ValueError("is not a path below /v1 such as moderations, or images/* for all below it")
    if path.removesuffix("/*").partition("/")[0] in _OWN_PATHS:
        raise ValueError("is a path that arbstr answers itself; remove it")
    return path

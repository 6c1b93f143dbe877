"""What Nostr events say about the market: who sells where, what others think of them, what models are called.

============  ====================================================================================
kind          says
============  ====================================================================================
38421         a node's addresses (`u`), mints (`mint`) and version; another protocol uses it without `u`
38425         a review of the node `node`, in one word (`t`): `lgtm`, `avoid`, …
38426         `{"mappings": {id at nodes: canonical id}}`, believed of trusted authors only
============  ====================================================================================

Of several events of one author for one thing the newest counts, whatever the relays still have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from arbstr.config.schema import LONGEST_MODEL
from arbstr.config.validators import provider_url
from arbstr.discovery.nostr import Event
from arbstr.sanitize import json_or_none, sanitize

ANNOUNCEMENT, REVIEW, MODEL_IDS = 38421, 38425, 38426
AHEAD_S = 15 * 60  # how far an event may be ahead of the clock

_MODEL_IDS_NAME = "model-id-mappings"
_MOST_URLS = 8  # of one node
_MOST_MINTS = 16
_MOST_MAPPINGS = 20_000
_LONGEST_URL = 300
_LONGEST_NAME = 60
_LONGEST_VERSION = 40
_LGTM, _AVOID = "lgtm", "avoid"


class Announcement(NamedTuple):
    """What a node says of itself; `author` is its public key, `at_s` when it said so. All texts are sanitized."""

    event: str
    author: str
    name: str
    urls: tuple[str, ...]
    mints: tuple[str, ...]
    version: str
    at_s: int


class Reviews(NamedTuple):
    """How many authors recommend a node and warn of it; `trusted` is the last word of those who are trusted."""

    good: int = 0
    bad: int = 0
    trusted: str | None = None


def filters(trusted: Sequence[str]) -> list[dict[str, Any]]:
    """Return what to ask relays for."""
    model_ids = {"kinds": [MODEL_IDS], "authors": list(trusted), "#d": [_MODEL_IDS_NAME], "limit": 10}
    wanted: list[dict[str, Any]] = [{"kinds": [ANNOUNCEMENT], "limit": 500}, {"kinds": [REVIEW], "limit": 1000}]
    return [*wanted, model_ids] if trusted else wanted


def announcements(events: Iterable[Event], now_s: float) -> list[Announcement]:
    """Return the nodes that are announced, those with an address that can be asked."""
    newest = _newest((event for event in events if event.kind == ANNOUNCEMENT), "d", now_s)
    found = (_announcement(event) for event in newest)
    return [each for each in found if each.urls]


def reviews(events: Iterable[Event], now_s: float, trusted: Sequence[str]) -> dict[str, Reviews]:
    """Return what is said of nodes, by their public keys."""
    said: dict[str, Reviews] = {}
    by_others = (event for event in events if event.kind == REVIEW and event.value("node") != event.author)
    for event in _newest(by_others, "node", now_s):
        node, label = event.value("node"), event.value("t").lower()
        known = said.get(node, Reviews())
        said[node] = Reviews(
            known.good + (label == _LGTM),
            known.bad + (label == _AVOID),
            sanitize(label, _LONGEST_NAME) if event.author in trusted else known.trusted,
        )
    return said


def model_ids(events: Iterable[Event], now_s: float, trusted: Sequence[str]) -> Mapping[str, str]:
    """Return the canonical ids of models by their ids at nodes: of the newest event by a trusted author."""
    by_trusted = (event for event in events if event.kind == MODEL_IDS and event.author in trusted)
    for event in sorted(_newest(by_trusted, "d", now_s), key=lambda event: -event.created_at):
        document = json_or_none(event.content)
        mappings = document.get("mappings") if isinstance(document, dict) else None
        if event.value("d") == _MODEL_IDS_NAME and isinstance(mappings, dict):
            pairs = list(mappings.items())[:_MOST_MAPPINGS]
            return {id_: canonical for id_, canonical in pairs if _is_model(id_) and _is_model(canonical)}
    return {}


def _newest(events: Iterable[Event], tag: str, now_s: float) -> list[Event]:
    """Return the newest event of each author and value of a tag, of those that are not ahead of the clock."""
    newest: dict[tuple[str, str], Event] = {}
    for event in events:
        if event.created_at > now_s + AHEAD_S:
            continue
        key = event.author, event.value(tag)
        known = newest.get(key)
        if known is None or (-event.created_at, event.id) < (-known.created_at, known.id):
            newest[key] = event
    return list(newest.values())


def _announcement(event: Event) -> Announcement:
    about = json_or_none(event.content)
    name = about.get("name") if isinstance(about, dict) else None
    return Announcement(
        event=event.id,
        author=event.author,
        name=sanitize(name.strip(), _LONGEST_NAME) if isinstance(name, str) else "",
        urls=tuple(dict.fromkeys(url for text in event.values("u") if (url := _url(text))))[:_MOST_URLS],
        mints=tuple(dict.fromkeys(sanitize(text, _LONGEST_URL) for text in event.values("mint")))[:_MOST_MINTS],
        version=sanitize(event.value("version"), _LONGEST_VERSION),
        at_s=event.created_at,
    )


def _url(text: str) -> str | None:
    """Return a node's address without what requests add to it, None if it can't be one."""
    if len(text) > _LONGEST_URL or not text.isascii():
        return None
    try:
        return provider_url(text).removesuffix("/v1").rstrip("/")
    except ValueError:
        return None


def _is_model(name: Any) -> bool:
    return isinstance(name, str) and 0 < len(name) <= LONGEST_MODEL and name.isprintable()

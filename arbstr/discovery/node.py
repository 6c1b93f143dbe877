"""Asks an announced node what it sells. No secret goes there, and no address of a private network is asked."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from arbstr.config.proxies import ProxyUrl, is_this_machine
from arbstr.discovery.announcements import Announcement
from arbstr.engine.routing.listing import ListedModel, Listing
from arbstr.market.fetching import FetchFailed, fetch, get_request
from arbstr.market.model_lists import read_priced
from arbstr.sanitize import sanitize, sanitize_clause
from arbstr.transport.hosts import is_onion

WITHIN_S = 10.0
MOST_MODELS_BYTES = 2 * 1024 * 1024
MOST_INFO_BYTES = 64 * 1024

_LONGEST_VERSION = 40
_UNICAST = ipaddress.IPv6Network("2000::/3")  # all of IPv6 that is in use on the internet
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")  # IPv4 addresses, as networks without IPv4 write them


class Node(NamedTuple):
    """An announced node as it answered: at which address, how fast, with which models; or why it did not."""

    announcement: Announcement
    url: str
    latency_ms: int | None = None
    listing: Listing | None = None
    version: str = ""
    problem: str | None = None


def is_public(ip: str) -> bool:
    """Check whether an IP address is on the internet: no private network, no loopback, nothing reserved."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TRANSLATED:
            return is_public(str(ipaddress.IPv4Address(address.packed[-4:])))
        inner = address.sixtofour or (address.teredo or (None, None))[1]
        if address not in _UNICAST or (inner is not None and not is_public(str(inner))):
            return False
    return address.is_global and not address.is_multicast


async def visit(
    transport: httpx.AsyncBaseTransport,
    announcement: Announcement,
    canonical: Mapping[str, str],
    proxy: ProxyUrl | None,
    *,
    within_s: float = WITHIN_S,
    clock: Callable[[], float] = time.monotonic,
) -> Node:
    """Return what the node at the first of its addresses that answers sells.

    `proxy` is used for all of them but those on this machine; an `.onion` address needs it.
    """
    problems = []
    for url in _in_order(announcement.urls):
        host = urlsplit(url).hostname or ""
        if is_onion(host) and proxy is None:
            problems.append("its .onion address takes a SOCKS proxy; set discovery.proxy")
            continue
        own = None if is_this_machine(host) else proxy
        node = await _visit(transport, Node(announcement, url), canonical, own, within_s, clock)
        if node.listing is not None:
            return node
        problems.append(node.problem or "")
    return Node(announcement, _in_order(announcement.urls)[0], problem=problems[0])


def _in_order(urls: tuple[str, ...]) -> list[str]:
    """Return addresses in the order to try them: encrypted ones first, then those through Tor."""
    return sorted(urls, key=lambda url: (not url.startswith("https:"), not is_onion(urlsplit(url).hostname or "")))


async def _visit(
    transport: httpx.AsyncBaseTransport,
    node: Node,
    canonical: Mapping[str, str],
    own: ProxyUrl | None,
    within_s: float,
    clock: Callable[[], float],
) -> Node:
    begun_s = clock()
    try:
        models = await fetch(
            transport, get_request(f"{node.url}/v1/models", proxy=own), within_s=within_s, most_bytes=MOST_MODELS_BYTES
        )
        latency_ms = round((clock() - begun_s) * 1000)
        listed = read_priced(models.content(), str.isprintable)
    except FetchFailed as error:
        return node._replace(problem=sanitize_clause(str(error)))
    if not listed:
        return node._replace(problem="it lists no model with a price")
    return node._replace(
        latency_ms=latency_ms,
        listing=Listing(tuple(_also_named(model, canonical) for model in listed), cuts_dates=True),
        version=await _version(transport, f"{node.url}/v1/info", own, within_s) or node.announcement.version,
    )


async def _version(transport: httpx.AsyncBaseTransport, url: str, proxy: ProxyUrl | None, within_s: float) -> str:
    """Return the version that a node says it has, empty if it does not say."""
    try:
        request = get_request(url, proxy=proxy)
        info = (await fetch(transport, request, within_s=within_s, most_bytes=MOST_INFO_BYTES)).content()
    except FetchFailed:
        return ""
    version = info.get("version") if isinstance(info, dict) else None
    return sanitize(version, _LONGEST_VERSION) if isinstance(version, str) else ""


def _also_named(model: ListedModel, canonical: Mapping[str, str]) -> ListedModel:
    name = canonical.get(model.id)
    return model if name is None else model._replace(names=(*model.names, name))

"""A look at the whole market: relays are asked at once, then the nodes that they announce."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

import httpx

from arbstr.config.proxies import EnvironmentProxies, ProxyUrl, is_this_machine
from arbstr.config.schema import Discovery
from arbstr.discovery import announcements as said
from arbstr.discovery.announcements import Announcement, Reviews
from arbstr.discovery.mix import Mix, Quote, quotes
from arbstr.discovery.node import Node, is_public, visit
from arbstr.discovery.relay import Heard, ask
from arbstr.transport.connector import any_address
from arbstr.transport.pool import PooledTransport
from arbstr.transport.resolver import Resolver

MOST_NODES = 200
MOST_PER_HOST = 5  # announcements of one host: nobody can have others asked again and again
AT_ONCE = 32
NODE_WITHIN_S = 20.0  # at all of its addresses
ALL_WITHIN_S = 60.0  # hundreds that never answer would take minutes
_SHORTEST_S = 0.01  # in which anything could be asked


class Offer(NamedTuple):
    """A node of the market: what it answered, what is said of it, and what the user's mix costs there."""

    node: Node
    reviews: Reviews
    quote: Quote | None


class Survey(NamedTuple):
    """The market as found: nodes from best to worst, what relays said, and how many nodes were left out."""

    offers: tuple[Offer, ...]
    relays: tuple[Heard, ...]
    left_out: int


async def survey(
    settings: Discovery,
    mix: Mix,
    proxies: EnvironmentProxies,
    *,
    now_s: float,
    private: bool = False,
    resolver: Resolver | None = None,
) -> Survey:
    """Return the market. With `private` nodes in private networks are asked too, whichever relay announces them.

    A relay on this machine may announce such nodes in any case: who runs it could ask them as well.
    """
    resolver = resolver or Resolver()
    heard = await asyncio.gather(*(_ask(relay, settings, proxies, resolver) for relay in settings.relays))
    events = list({event.id: event for each in heard for event in each.events}.values())
    known = said.reviews(events, now_s, settings.trusted)
    announced = _in_order(said.announcements(events, now_s), known)
    chosen = _chosen(announced)
    trusted = {event.id for each in heard if private or _is_local(each.relay) for event in each.events}
    canonical = said.model_ids(events, now_s, settings.trusted)
    nodes = await _visit_all(chosen, trusted, canonical, settings.proxy, proxies, resolver)
    prices = quotes([node.listing for node in nodes], mix)
    offers = [
        Offer(node, known.get(node.announcement.author, Reviews()), quote)
        for node, quote in zip(nodes, prices, strict=True)
    ]
    return Survey(tuple(sorted(offers, key=_rank)), tuple(heard), len(announced) - len(chosen))


async def _ask(relay: str, settings: Discovery, proxies: EnvironmentProxies, resolver: Resolver) -> Heard:
    try:
        proxy = proxies.choose(_as_http(relay), None if _is_local(relay) else settings.proxy)
    except ValueError as error:
        return Heard(relay, (), problem=str(error))
    return await ask(relay, said.filters(settings.trusted), proxy, resolver)


def _as_http(relay: str) -> str:
    return "http" + relay.removeprefix("ws")


def _is_local(relay: str) -> bool:
    return is_this_machine(urlsplit(relay).hostname or "")


def _in_order(announced: Iterable[Announcement], reviews: dict[str, Reviews]) -> list[Announcement]:
    """Return nodes in the order to ask them, should they be too many: anyone can announce any number of new ones."""

    def order(one: Announcement) -> tuple[bool, int, int]:
        reviewed = reviews.get(one.author, Reviews())
        return reviewed.trusted is None, -reviewed.good, -one.at_s

    return sorted(announced, key=order)


def _chosen(announced: Sequence[Announcement]) -> list[Announcement]:
    hosts: Counter[str] = Counter()
    chosen = []
    for one in announced:
        named = {urlsplit(url).hostname or "" for url in one.urls}
        hosts.update(named)
        if max(hosts[host] for host in named) <= MOST_PER_HOST:
            chosen.append(one)
    return chosen[:MOST_NODES]


async def _visit_all(
    announced: Sequence[Announcement],
    trusted: set[str],
    canonical: Mapping[str, str],
    proxy: ProxyUrl | None,
    proxies: EnvironmentProxies,
    resolver: Resolver,
) -> list[Node]:
    places = asyncio.Semaphore(AT_ONCE)
    clock = asyncio.get_running_loop().time
    until_s = clock() + ALL_WITHIN_S
    anywhere, public = (PooledTransport(proxies.choose, resolver, allows=allows) for allows in (any_address, is_public))

    async def one(announcement: Announcement) -> Node:
        transport: httpx.AsyncBaseTransport = anywhere if announcement.event in trusted else public
        async with places:
            left_s = min(NODE_WITHIN_S, until_s - clock())
            with suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    return await visit(transport, announcement, canonical, proxy)
            return Node(announcement, announcement.urls[0], problem=_too_late(left_s))

    try:
        return await asyncio.gather(*map(one, announced))
    finally:
        await asyncio.gather(anywhere.aclose(), public.aclose())


def _too_late(within_s: float) -> str:
    """Return what is said of a node that has not answered, given how long it was waited for."""
    if within_s == NODE_WITHIN_S:
        return f"it did not answer within {NODE_WITHIN_S:g} s"
    return "it was not asked: others took the time" if within_s < _SHORTEST_S else "it did not answer in the time left"


def _rank(offer: Offer) -> tuple[bool, bool, float, float]:
    """Order offers: those that answer and that no trusted author warns of, then by share of the mix, and price."""
    quote = offer.quote
    return (
        offer.node.listing is None,
        offer.reviews.trusted == "avoid",
        -round(quote.covered, 1) if quote else 0.0,
        (quote.times_cheapest or 1.0) if quote else float("inf"),
    )

"""The order in which offers are tried. A strategy gives each a number, and the smallest goes first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Protocol

from arbstr.engine.routing.offer import Offer


class Strategy(Protocol):
    """Orders the offers for a request. Equal keys keep the configuration's order."""

    name: str

    def key(self, offer: Offer, weight_msats: float, output_tokens: float) -> float:
        """Return an offer's sort key, smallest first; `weight_msats` is its expected price, learning included."""
        ...

    def chosen(self, offer: Offer) -> None:
        """Record that an offer came first and will be tried."""
        ...


class Cheapest:
    """By expected price."""

    name = "cheapest"

    def key(self, offer: Offer, weight_msats: float, output_tokens: float) -> float:
        """See `Strategy`."""
        return weight_msats

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""


class LowestLatency:
    """By expected time to the whole response.

    An offer never measured comes first, so that each is tried; if it only failed it comes last.
    """

    name = "lowest_latency"

    def key(self, offer: Offer, weight_msats: float, output_tokens: float) -> float:
        """See `Strategy`."""
        latency = offer.latency_ms(output_tokens)
        if latency is None:
            return math.inf if offer.never_succeeded else 0.0
        return latency

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""


class RoundRobin:
    """Each in turn: the least recently chosen first."""

    name = "round_robin"

    def __init__(self) -> None:
        self._turns = itertools.count(1)

    def key(self, offer: Offer, weight_msats: float, output_tokens: float) -> float:
        """See `Strategy`."""
        return offer.turn

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""
        offer.turn = next(self._turns)


class Weighted:
    """At random, with probability proportional to the configured weight."""

    name = "weighted"

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def key(self, offer: Offer, weight_msats: float, output_tokens: float) -> float:
        """Return an exponential variate: the smallest is drawn in proportion to its rate."""
        return -math.log(1.0 - self._random()) / offer.share

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""


def strategies(random: Callable[[], float]) -> dict[str, Strategy]:
    """Return every strategy by its names in the configuration."""
    cheapest = Cheapest()
    known: list[Strategy] = [cheapest, LowestLatency(), RoundRobin(), Weighted(random)]
    return {"lowest_cost": cheapest} | {strategy.name: strategy for strategy in known}

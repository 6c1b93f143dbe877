"""The order in which offers are tried. A strategy gives each a number, and the smallest goes first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Protocol

from arbstr.engine.routing.offer import Offer


class Strategy(Protocol):
    """Orders the offers for a request. Equal keys keep the configuration's order."""

    name: str

    def keys(self, offers: Sequence[Offer], weights: list[float], output_tokens: float) -> list[float]:
        """Return the offers' sort keys, smallest first; `weights` are their expected prices, learning included."""
        ...

    def chosen(self, offer: Offer) -> None:
        """Record that an offer came first and will be tried."""
        ...


class Cheapest:
    """By expected price."""

    name = "cheapest"

    def keys(self, offers: Sequence[Offer], weights: list[float], output_tokens: float) -> list[float]:
        """See `Strategy`."""
        return weights

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""


class LowestLatency:
    """By expected time to the whole response.

    An offer never measured comes first, so that each is tried; if it only failed it comes last.
    """

    name = "lowest_latency"

    def keys(self, offers: Sequence[Offer], weights: list[float], output_tokens: float) -> list[float]:
        """See `Strategy`."""
        return [_latency_key(offer, output_tokens) for offer in offers]

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""


def _latency_key(offer: Offer, output_tokens: float) -> float:
    latency = offer.latency_ms(output_tokens)
    if latency is None:
        return math.inf if offer.never_succeeded else 0.0
    return latency


class RoundRobin:
    """Each in turn: the least recently chosen first."""

    name = "round_robin"

    def __init__(self) -> None:
        self._turns = itertools.count(1)

    def keys(self, offers: Sequence[Offer], weights: list[float], output_tokens: float) -> list[float]:
        """See `Strategy`."""
        return [offer.turn for offer in offers]

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""
        offer.turn = next(self._turns)


class Weighted:
    """At random, with probability proportional to the configured weight."""

    name = "weighted"

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def keys(self, offers: Sequence[Offer], weights: list[float], output_tokens: float) -> list[float]:
        """Return exponential variates: the smallest is drawn in proportion to its rate."""
        random = self._random
        return [-math.log(1.0 - random()) / offer.share for offer in offers]

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""


def strategies(random: Callable[[], float]) -> dict[str, Strategy]:
    """Return every strategy by its names in the configuration."""
    cheapest = Cheapest()
    known: list[Strategy] = [cheapest, LowestLatency(), RoundRobin(), Weighted(random)]
    return {"lowest_cost": cheapest} | {strategy.name: strategy for strategy in known}

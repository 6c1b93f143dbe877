"""In which order sellers are tried. A strategy gives each a number, and the smallest goes first."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Protocol

from arbstr.engine.routing.offer import Offer


class Strategy(Protocol):
    """Orders the sellers of a request. Equal keys keep the order of the configuration."""

    name: str

    def key(self, offer: Offer, weight_msats: float, output_tokens: float) -> float:
        """Where an offer stands, smallest first; `weight_msats` is its expected price after all that was learned."""
        ...

    def chosen(self, offer: Offer) -> None:
        """An offer came first, and its seller will be asked."""
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
    """By expected time to the whole answer.

    A seller that was never measured comes first, so that each is tried; unless it only failed: then it comes last.
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
    """Each in turn: the one that has waited longest."""

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
    """At random, each with a chance in proportion to its configured weight."""

    name = "weighted"

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random

    def key(self, offer: Offer, weight_msats: float, output_tokens: float) -> float:
        """See `Strategy`. Exponential waiting times: the first to arrive is drawn in proportion to its rate."""
        return -math.log(1.0 - self._random()) / offer.share

    def chosen(self, offer: Offer) -> None:
        """See `Strategy`."""


def strategies(random: Callable[[], float]) -> dict[str, Strategy]:
    """Every strategy by the names that the configuration knows it by."""
    cheapest = Cheapest()
    known: list[Strategy] = [cheapest, LowestLatency(), RoundRobin(), Weighted(random)]
    return {"lowest_cost": cheapest} | {strategy.name: strategy for strategy in known}

"""Expected costs with prompt caches in mind: what is warm where now, and what that will be worth to the next requests.

A request costs less where its prompt is warm. Where it goes, the conversation's next request will find it warm: with
likelihood p that request comes in time, and is made again where it is warm, or wherever it is cheapest as if nothing
had been bought now. What comes after that is less certain, and counts with the square of p.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from arbstr.engine.learning.conversations import Conversations
from arbstr.engine.learning.prefix_index import Known, PrefixIndex, Visit
from arbstr.engine.routing.offer import Offer
from arbstr.types import Candidate, InferenceRequest, Prefix

_MOST_CERTAIN = 0.9  # that a conversation goes on for ever: ten requests ahead
_REMEMBERED = 4096  # requests whose ends are awaited

Ranked = list[tuple[float, int, Candidate]]


class Outlook(NamedTuple):
    """What a request's prompt is known to find, and its conversation expected to become.

    `plain_output_tokens` is the expected length of the answer by its kind alone, `output_tokens` with the answer before.
    """

    prefix: Prefix
    known: Known
    goes_on: float
    input_tokens: float
    plain_output_tokens: float
    output_tokens: float
    at_s: float

    @property
    def turn(self) -> int:
        """The request's number in its conversation; 0 where none can be told."""
        if self.known.parent is not None:
            return self.known.parent.turn + 1
        return 0 if self.known.places and self.known.share == self.prefix.ends[-1] / self.prefix.size else 1


class CacheCosts:
    """Prices requests by what providers' prompt caches hold, and learns what they found."""

    def __init__(self) -> None:
        self.index = PrefixIndex()
        self.conversations = Conversations()
        self._awaited: dict[str, Outlook] = {}  # by request id

    def look(
        self,
        request: InferenceRequest,
        prefix: Prefix,
        policy: str | None,
        input_tokens: float,
        output_tokens: float,
        now_s: float,
    ) -> Outlook:
        """Return what is known of a request's prompt."""
        known = self.index.find(prefix, now_s)
        parent, longer = known.parent, output_tokens
        if parent is not None and request.choices == 1:
            longer = self.conversations.output_tokens(parent, output_tokens)
            if request.max_tokens is not None:
                longer = min(longer, float(request.max_tokens))
        outlook = Outlook(prefix, known, 0.0, input_tokens, output_tokens, longer, now_s)
        return outlook._replace(goes_on=self.conversations.goes_on(policy, outlook.turn, input_tokens))

    def expect(self, request_id: str, outlook: Outlook) -> None:
        """Remember the outlook of a request that is sent, until `learn` is told of its end."""
        if len(self._awaited) >= _REMEMBERED:
            self._awaited.clear()  # their requests never ended
        self._awaited[request_id] = outlook

    def ranked(self, outlook: Outlook, offers: Sequence[Offer], entries: Ranked) -> Ranked:
        """Return entries by expected cost, what is warm now and worth later included."""
        tokens, goes_on = outlook.input_tokens, outlook.goes_on
        certain = min(goes_on * goes_on, _MOST_CERTAIN)
        ahead, pause_s = 1.0 / (1.0 - certain), self.conversations.pause_s
        repeated, held, at_s = self.conversations.repeated * tokens, outlook.known.held, outlook.at_s
        priced, elsewhere = [], float("inf")
        for _, place, candidate in entries:
            offer = offers[place]
            discount, cached, warm = offer.discount, 0.0, candidate.weight_msats
            now = warm
            if discount:
                factor = offer.ratio / offer.success
                if offer in held:
                    cached = _expected_tokens(offer, held[offer], tokens, at_s)
                    now -= cached * discount * factor
                if offer.surcharge:
                    now += (tokens - cached) * offer.cache.written * offer.surcharge * factor
                warm -= repeated * offer.cache.expected(pause_s, repeated) * discount * factor
            warm *= ahead
            if now + certain * warm < elsewhere:
                elsewhere = now + certain * warm
            priced.append((now, warm, cached, place, candidate))
        ranked = []
        for now, warm, cached, place, candidate in priced:
            weight = now + goes_on * (warm if warm < elsewhere else elsewhere)
            if cached:
                cost = candidate.expected_cost_msats - cached * offers[place].discount
                candidate = Candidate(candidate.provider, cost, weight, candidate.note, candidate.early, int(cached))
            else:
                candidate = candidate._replace(weight_msats=weight)
            ranked.append((weight, place, candidate))
        ranked.sort()
        return ranked

    def learn(
        self,
        request_id: str,
        policy: str | None,
        offer: Offer,
        used: tuple[int, int],
        cached_tokens: int,
        written_tokens: int,
        now_s: float,
    ) -> None:
        """Learn from the tokens of an answered request: `used` input and output, of the input those cached and written."""
        outlook = self._awaited.pop(request_id, None)
        if outlook is None:
            return
        input_tokens, output_tokens = used
        known, parent, prefix = outlook.known, outlook.known.parent, outlook.prefix
        if offer in known.held and input_tokens:
            share, seen_s = _best(offer, known.held[offer], input_tokens, outlook.at_s)
            offer.cache.add(outlook.at_s - seen_s, share * input_tokens, cached_tokens)
        if offer.surcharge and input_tokens > cached_tokens:
            offer.cache.add_written(written_tokens / (input_tokens - cached_tokens))
        if parent is not None:
            repeated = known.share * prefix.size / parent.size if parent.size else 1.0
            self.conversations.continued(parent, outlook.at_s, repeated, outlook.plain_output_tokens, output_tokens)
        visit = Visit(offer, now_s, prefix.hashes[-1], outlook.turn, prefix.size, output_tokens)
        self.index.add(prefix, known, visit)
        self.conversations.add(visit, policy, input_tokens)


def _expected_tokens(offer: Offer, held: list[tuple[float, float]], tokens: float, at_s: float) -> float:
    """Return how many tokens of a prompt an offer's cache is expected to find."""
    share, seen_s = held[0] if len(held) == 1 else _best(offer, held, tokens, at_s)
    return share * tokens * offer.cache.expected(at_s - seen_s, share * tokens)


def _best(offer: Offer, held: list[tuple[float, float]], tokens: float, at_s: float) -> tuple[float, float]:
    """Return which of the beginnings that an offer has seen is expected to bring most."""
    if len(held) == 1:
        return held[0]
    return max(held, key=lambda seen: seen[0] * offer.cache.expected(at_s - seen[1], seen[0] * tokens))

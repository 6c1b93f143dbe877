"""Expected costs with prompt caches in mind: what is warm where now, and what that will be worth to the next requests.

A request costs less where its prompt is warm. Where it goes, the conversation's next request will find it warm: with
likelihood p that request comes in time, and is made again where it is warm, or wherever it is cheapest as if nothing
had been bought now. What comes after that is less certain, and counts with the square of p.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from arbstr.config.schema import Config, Provider
from arbstr.engine.dialects.fields import named_model
from arbstr.engine.learning.cache_stats import kind_of
from arbstr.engine.learning.conversations import Conversations, Outlook, groups_of
from arbstr.engine.learning.prefix_index import RETAIN_S, Known, PrefixIndex, Visit
from arbstr.engine.prefixes import prefix_of
from arbstr.engine.routing.candidates import CandidateSet
from arbstr.engine.routing.names import ModelNames
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.ranked import Ranked
from arbstr.types import InferenceRequest, JsonObject, Prefix, RequestRecord, Reuse

_MOST_CERTAIN = 0.9  # that a conversation goes on for ever: ten requests ahead
_REMEMBERED = 4096  # requests whose ends are awaited


class CacheCosts:
    """Prices requests by what providers' prompt caches hold, and learns what they found."""

    def __init__(self, config: Config, names: ModelNames) -> None:
        self.index = PrefixIndex()
        self.conversations = Conversations()
        self._providers = config.providers
        self._names = names
        policies = config.policies
        self._is_ignored = {policies.default_affinity, *[rule.affinity for rule in policies.rules]} <= {"none", None}
        self._is_ignored |= not any(map(_may_price_caches, config.providers))
        self._asked: dict[str, bool] = {}  # by model as asked for: whether its caches may have to be counted
        self._version = names.version
        self._awaited: dict[str, Outlook] = {}  # by request id

    def take_over(self, before: CacheCosts) -> None:
        """Go on with what was learned of prompt caches; both learn more from now on."""
        self.index, self.conversations, self._awaited = before.index, before.conversations, before._awaited

    def prefix_of(self, document: JsonObject, fields: tuple[str, ...]) -> Prefix | None:
        """Return the places of a prompt, which is in these fields; None where no cache can matter."""
        if self._is_ignored or not fields or not self._is_priced(named_model(document)):
            return None
        return prefix_of(document, fields)

    def _is_priced(self, asked: str) -> bool:
        """Return whether a model has several providers, of which one asks less for what it has cached."""
        if self._version != self._names.version:
            self._asked.clear()
            self._version = self._names.version
        priced = self._asked.get(asked)
        if priced is None:
            if len(self._asked) >= _REMEMBERED:
                self._asked.clear()
            model = self._names.resolve(asked)
            selling = [one for one in self._providers if self._names.standing(one, model) != "absent"]
            rates = [self._names.rates(one, model) for one in selling]
            priced = len(rates) > 1 and any(rate.cached_input not in (None, rate.input) for rate in rates)
            self._asked[asked] = priced
        return priced

    def look(
        self,
        request: InferenceRequest,
        candidate_set: CandidateSet,
        input_tokens: float,
        output_tokens: float,
        now_s: float,
    ) -> Outlook | None:
        """Return what is known of a request's prompt; None where no cache matters."""
        prefix = request.prefix
        if prefix is None or not candidate_set.has_caches:
            return None
        known = self.index.find(prefix, now_s)
        parent = known.parent
        expected, turn = output_tokens, 0  # unknown, because others have sent all of it
        if parent is not None:
            turn = parent.turn + 1
            if request.choices == 1:
                expected = self.conversations.output_tokens(parent, output_tokens)
                if request.max_tokens is not None:
                    expected = min(expected, float(request.max_tokens))
        elif known.share * prefix.size < prefix.ends[-1]:
            turn = 1
        found = _found(known, input_tokens, now_s)
        groups = groups_of(candidate_set.policy, turn, input_tokens)
        goes_on = self.conversations.goes_on(groups)
        return Outlook(prefix, known, found, turn, groups, goes_on, input_tokens, output_tokens, expected, now_s)

    def expect(self, request_id: str, outlook: Outlook) -> None:
        """Remember the outlook of a request that is sent, until `learn` gets its end."""
        if len(self._awaited) >= _REMEMBERED:
            self._awaited.clear()  # their requests never ended
        self._awaited[request_id] = outlook

    def count(
        self, outlook: Outlook, candidate_set: CandidateSet, ranked: Ranked, kept: Sequence[bool] | None = None
    ) -> None:
        """Count prompt caches in the prices of ranked offers, and in the order where they decide.

        The offers are those of the candidate set, or of them those `kept`.
        """
        tokens, goes_on, offers, weights = outlook.input_tokens, outlook.goes_on, ranked.offers, ranked.weights
        cached: dict[int, float] = {}
        differences: dict[int, float] = {}
        warm: list[tuple[int, float]] = []
        for offer, found in outlook.found.items():  # by few of them
            if offer in offers:
                place = offers.index(offer)
                cached[place], differences[place] = found, -found * offer.discount
                warm.append((place, found * offer.saves))
        ranked.cached, ranked.differences = cached, differences
        if candidate_set.writes_caches:
            _count_writing(ranked, tokens)
            weights = [weight + tokens * offer.writes for weight, offer in zip(weights, offers, strict=True)]
        if not candidate_set.counts_caches:
            return
        repeated = self.conversations.repeated * tokens
        saved = candidate_set.savings.of(kind_of(self.conversations.pause_s, repeated))
        if kept is not None:
            saved = list(compress(saved, kept))
        certain = min(goes_on * goes_on, _MOST_CERTAIN)
        then, times = certain * repeated, goes_on / (1.0 - certain)
        # What each request costs on the whole, this one and those to come, if all are made there.
        costs = [weight - then * each for weight, each in zip(weights, saved, strict=True)]
        for place, less in warm:
            costs[place] -= (1.0 - certain) * less
        elsewhere = min(ranked.of_first_tier(costs))
        keys = ranked.weights = ranked.keys = [
            weight + times * (here if (here := weight - repeated * each) < elsewhere else elsewhere)
            for weight, each in zip(weights, saved, strict=True)
        ]
        for place, less in warm:
            keys[place] -= less

    def learn_from(self, record: RequestRecord, offer: Offer | None, now_s: float) -> None:
        """Learn from a request that has ended, at an offer if any was asked."""
        if offer is None or record.input_tokens is None or record.output_tokens is None or record.implausible:
            self._awaited.pop(record.request_id, None)
            return
        used, cached = (record.input_tokens, record.output_tokens), record.cached_tokens or 0
        self.learn(record.request_id, offer, used, cached, record.cache_write_tokens or 0, now_s)

    def learn(
        self,
        request_id: str,
        offer: Offer,
        used: tuple[int, int],
        cached_tokens: int,
        written_tokens: int,
        now_s: float,
    ) -> None:
        """Learn from an answered request: `used` input and output tokens, and of the input those cached and written."""
        outlook = self._awaited.pop(request_id, None)
        if outlook is None:
            return
        input_tokens, output_tokens = used
        known, parent, prefix = outlook.known, outlook.known.parent, outlook.prefix
        held = known.held_by(offer, outlook.at_s - RETAIN_S)
        if held and input_tokens:
            share, seen_s = _best(offer, held, input_tokens, outlook.at_s)
            offer.record_cached(outlook.at_s - seen_s, share * input_tokens, cached_tokens)
        if offer.surcharge and input_tokens > cached_tokens:
            offer.record_written(written_tokens / (input_tokens - cached_tokens))
        if parent is not None:
            repeated = known.share * prefix.size / parent.size if parent.size else 1.0
            self.conversations.continued(parent, outlook.at_s, repeated, outlook.plain_output_tokens, output_tokens)
        usual = float(output_tokens) if parent is None else (parent.usual_output + output_tokens) / 2.0
        visit = Visit(offer, now_s, prefix.hashes[-1], outlook.turn, prefix.size, usual)
        self.index.add(prefix, known, visit)
        self.conversations.add(visit, outlook.groups)


def _count_writing(ranked: Ranked, tokens: float) -> None:
    """Add what it costs by the rates to write to the caches what they do not find of a prompt."""
    found, known = ranked.cached, ranked.differences
    ranked.differences = {
        place: known.get(place, 0.0) + (tokens - found.get(place, 0.0)) * offer.cache.written * offer.surcharge
        for place, offer in enumerate(ranked.offers)
    }


def _may_price_caches(provider: Provider) -> bool:
    """Return whether a provider may have a price for what is cached: nodes say so themselves."""
    priced = (provider.cached_input_rate, *[model.cached_input_rate for model in provider.models])
    return provider.kind == "routstr" or any(rate is not None for rate in priced)


def reuse_of(outlook: Outlook) -> Reuse:
    """Return what an outlook adds beside the routing decision."""
    parent = outlook.known.parent
    if parent is None:
        return Reuse(outlook.goes_on)
    offer = parent.offer
    return Reuse(outlook.goes_on, offer.provider, int(outlook.found.get(offer, 0.0) * offer.discount))


def _found(known: Known, tokens: float, at_s: float) -> dict[Offer, float]:
    """Return how many tokens of a prompt the caches of offers are expected to find that have seen some of it."""
    found: dict[Offer, float] = {}
    latest: dict[Offer, float] = {}
    oldest_s = at_s - RETAIN_S
    for share, visits in known.seen:
        held = share * tokens
        for visit in visits:
            offer, seen_s = visit.offer, visit.at_s
            if offer.discount and seen_s > latest.get(offer, oldest_s):
                latest[offer] = seen_s
                expected = held * offer.cache.expected(at_s - seen_s, held)
                if expected > found.get(offer, 0.0):
                    found[offer] = expected
    return found


def _best(offer: Offer, held: list[tuple[float, float]], tokens: float, at_s: float) -> tuple[float, float]:
    """Return which of the beginnings that an offer has seen is expected to bring most."""
    if len(held) == 1:
        return held[0]
    return max(held, key=lambda seen: seen[0] * offer.cache.expected(at_s - seen[1], seen[0] * tokens))

"""Expected costs with prompt caches in mind: what is warm where now, and what that will be worth to the next requests.

A request costs less where its prompt is warm. Where it goes, the conversation's next request will find it warm: with
likelihood p that request comes in time, and is made again where it is warm, or wherever it is cheapest as if nothing
had been bought now. What comes after that is less certain, and counts with the square of p.
"""

from __future__ import annotations

from arbstr.config.schema import Config, Provider
from arbstr.engine.dialects.fields import named_model
from arbstr.engine.learning.cache_stats import kind_of
from arbstr.engine.learning.conversations import Conversations, Outlook, groups_of
from arbstr.engine.learning.prefix_index import PrefixIndex, Visit
from arbstr.engine.prefixes import prefix_of
from arbstr.engine.routing.candidates import CandidateSet
from arbstr.engine.routing.names import ModelNames
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.ranked import Ranked
from arbstr.types import InferenceRequest, JsonObject, Prefix, RequestRecord, Reuse

_MOST_CERTAIN = 0.9  # that a conversation goes on for ever: ten requests ahead
_REMEMBERED = 4096  # requests whose ends are awaited

_new = tuple.__new__  # a NamedTuple's own constructor takes three times as long


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
        parent, held, share, _ = known
        expected, turn = output_tokens, 0  # unknown, because others have sent all of it
        if parent is not None:
            turn = parent.turn + 1
            if request.choices == 1:
                expected = self.conversations.output_tokens(parent, output_tokens)
                if request.max_tokens is not None:
                    expected = min(expected, float(request.max_tokens))
        elif share * prefix.size < prefix.ends[-1]:
            turn = 1
        found = {offer: _expected_tokens(offer, seen, input_tokens, now_s) for offer, seen in held.items()}
        groups = groups_of(candidate_set.policy, turn, input_tokens)
        goes_on = self.conversations.goes_on(groups)
        return _new(
            Outlook, (prefix, known, found, turn, groups, goes_on, input_tokens, output_tokens, expected, now_s)
        )

    def expect(self, request_id: str, outlook: Outlook) -> None:
        """Remember the outlook of a request that is sent, until `learn` gets its end."""
        if len(self._awaited) >= _REMEMBERED:
            self._awaited.clear()  # their requests never ended
        self._awaited[request_id] = outlook

    def count(self, outlook: Outlook, candidate_set: CandidateSet, ranked: Ranked) -> None:
        """Count prompt caches in the prices of a candidate set's ranked offers, and in the order where they decide."""
        tokens, goes_on, offers = outlook.input_tokens, outlook.goes_on, ranked.offers
        repeated = self.conversations.repeated * tokens
        kind = kind_of(self.conversations.pause_s, repeated)
        certain = min(goes_on * goes_on, _MOST_CERTAIN)
        ahead = 1.0 / (1.0 - certain)
        now = list(ranked.weights)
        later = [
            (weight - repeated * shares[kind] * cut) * ahead
            for weight, (shares, cut) in zip(now, ranked.columns.caches, strict=True)
        ]
        cached: dict[int, float] = {}
        differences: dict[int, float] = {}
        for offer, found in outlook.found.items():  # by few of them
            if found and offer in offers:
                place = offers.index(offer)
                now[place] -= found * offer.cut
                cached[place], differences[place] = found, -found * offer.discount
        if candidate_set.writes_caches:
            for place, offer in enumerate(offers):
                each, fresh = offer.cache.written * offer.surcharge, tokens - cached.get(place, 0.0)
                differences[place] = differences.get(place, 0.0) + fresh * each
                each *= offer.tag.ratio / offer.tag.success
                now[place] += fresh * each
                later[place] += (tokens - repeated * offer.cache.shares[kind]) * each * ahead
        ranked.cached, ranked.differences = cached, differences
        if not candidate_set.counts_caches:
            return
        elsewhere = min(ranked.of_first_tier([cost + certain * after for cost, after in zip(now, later, strict=True)]))
        ranked.weights = ranked.keys = [
            cost + goes_on * (after if after < elsewhere else elsewhere)  # noqa: FURB136 - a call takes thrice as long
            for cost, after in zip(now, later, strict=True)
        ]

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
        if offer in known.held and input_tokens:
            share, seen_s = _best(offer, known.held[offer], input_tokens, outlook.at_s)
            offer.cache.add(outlook.at_s - seen_s, share * input_tokens, cached_tokens)
        if offer.surcharge and input_tokens > cached_tokens:
            offer.cache.add_written(written_tokens / (input_tokens - cached_tokens))
        if parent is not None:
            repeated = known.share * prefix.size / parent.size if parent.size else 1.0
            self.conversations.continued(parent, outlook.at_s, repeated, outlook.plain_output_tokens, output_tokens)
        usual = float(output_tokens) if parent is None else (parent.usual_output + output_tokens) / 2.0
        visit = Visit(offer, now_s, prefix.hashes[-1], outlook.turn, prefix.size, usual)
        self.index.add(prefix, known, visit)
        self.conversations.add(visit, outlook.groups)


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


def _expected_tokens(offer: Offer, held: list[tuple[float, float]], tokens: float, at_s: float) -> float:
    """Return how many tokens of a prompt an offer's cache is expected to find."""
    if not offer.discount:
        return 0.0
    share, seen_s = held[0] if len(held) == 1 else _best(offer, held, tokens, at_s)
    return share * tokens * offer.cache.expected(at_s - seen_s, share * tokens)


def _best(offer: Offer, held: list[tuple[float, float]], tokens: float, at_s: float) -> tuple[float, float]:
    """Return which of the beginnings that an offer has seen is expected to bring most."""
    if len(held) == 1:
        return held[0]
    return max(held, key=lambda seen: seen[0] * offer.cache.expected(at_s - seen[1], seen[0] * tokens))

"""Whom a request goes to, with prompt caches in mind."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.config.schema import Provider, Rule
from arbstr.engine.learning.cache_stats import kind_of
from arbstr.engine.routing.changes import Changes
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.router import Router
from arbstr.engine.routing.savings import Savings
from arbstr.errors import NoProviderWithinPolicy
from arbstr.types import Prefix, Routing
from tests.support.clock import Clock
from tests.support.engine_builders import chat, order, provider, router

CHEAP = provider("cheap", 10, 30)
CACHING = provider("caching", 12, 30, cached_input_rate=1)


def prefix(*messages: str) -> Prefix:
    """A prompt of messages of 4000 characters each."""
    hashes = tuple(map(hash, accumulate(messages, lambda before, message: f"{before}/{message}")))
    return Prefix(hashes, tuple(range(4000, 4000 * len(messages) + 1, 4000)), 4000 * len(messages))


class Market:
    """A router whose requests are all answered; caches find all that was seen, but for that of `forgetful`."""

    def __init__(self, *providers: Provider, rules: tuple[Rule, ...] = ()) -> None:
        self.clock = Clock()
        self.router: Router = router(providers, *rules, clock=self.clock)
        self.forgetful = ""

    def ask(self, *messages: str, **fields: Any) -> Routing:
        """What would be decided for a prompt."""
        one = chat(prefix=prefix(*messages), prompt_chars=4000 * len(messages), max_tokens=100, **fields)
        return self.router.preview(one)

    def send(self, *messages: str, to: str | None = None, **fields: Any) -> Routing:
        """Route a prompt, and learn from the answer of its first candidate, or of `to`."""
        one = chat(prefix=prefix(*messages), prompt_chars=4000 * len(messages), max_tokens=100, **fields)
        routing = self.router.route(one)
        chosen = next(c for c in routing.candidates if to in (None, c.provider))
        offer = self.router.learner.offer(chosen.provider, routing.model)
        used = (1000 * len(messages), 100)
        cached = 1000 * self._seen(chosen.provider, messages)
        self.router.caches.learn("r-1", offer, used, cached, 0, self.clock.now)
        self.clock.now += 30
        return routing

    def _seen(self, name: str, messages: tuple[str, ...]) -> int:
        offer = self.router.learner.offer(name, "gpt-4o")
        held = self.router.caches.index.find(prefix(*messages), self.clock.now).held_by(offer, since_s=-1)
        return round(held[0][0] * len(messages)) if held and name != self.forgetful else 0

    def converse(self, turns: int) -> None:
        """Hold a conversation, at whom the router chooses."""
        messages = [f"{self.clock.now}"]
        for turn in range(turns):
            self.send(*messages)
            messages += [f"answer {turn}", f"question {turn}"]


def test_a_conversation_goes_on_where_its_prompt_is_warm_although_another_is_cheaper_for_new_ones() -> None:
    market = Market(CHEAP, CACHING)
    market.send("system", "hello", to="caching")
    assert order(market.ask("system", "hello", "answer", "more")) == ["caching", "cheap"]


def test_the_cached_tokens_are_predicted_and_the_cost_with_them() -> None:
    market = Market(CHEAP, CACHING)
    market.send("system", "hello", to="caching")
    warm, cold = market.ask("system", "hello", "answer", "more").candidates
    assert (warm.cached_tokens, cold.cached_tokens) == (2000, 0)
    assert warm.expected_cost_msats == pytest.approx(2000 * 12 + 2000 * 1 + 100 * 30)
    assert cold.expected_cost_msats == pytest.approx(4000 * 10 + 100 * 30)


def test_a_new_conversation_begins_where_it_will_be_cheap_to_go_on_once_conversations_are_known_to_do_so() -> None:
    market = Market(CHEAP, CACHING)
    for _ in range(40):
        market.converse(10)
    assert order(market.ask("a new one"))[0] == "caching"


def test_a_new_conversation_begins_where_it_is_cheap_now_once_none_is_known_to_go_on() -> None:
    market = Market(CHEAP, CACHING)
    for _ in range(300):
        market.converse(1)
    assert order(market.ask("a new one"))[0] == "cheap"


def test_a_provider_that_stops_finding_what_it_has_seen_is_left_for_one_that_finds_it() -> None:
    honest = provider("honest", 12, 30, cached_input_rate=3)
    market = Market(CACHING, honest)
    market.converse(10)
    assert order(market.ask("a new one"))[0] == "caching"
    market.forgetful = "caching"
    for _ in range(10):
        market.converse(10)
    assert order(market.ask("a new one"))[0] == "honest"


def test_a_cache_that_was_found_out_is_known_after_a_restart() -> None:
    honest = provider("honest", 12, 30, cached_input_rate=3)
    market, restarted = Market(CACHING, honest), Market(CACHING, honest)
    market.forgetful = "caching"
    for _ in range(10):
        market.converse(10)
    assert order(restarted.ask("a new one"))[0] == "caching"
    restarted.router.learner.restore(*market.router.learner.export())
    assert order(restarted.ask("a new one"))[0] == "honest"


def test_a_fallback_goes_to_the_next_warmest() -> None:
    market = Market(CHEAP, CACHING, provider("other", 12, 30, cached_input_rate=1))
    market.send("system", "hello", to="caching")
    market.send("system", "hello", to="other")
    assert order(market.ask("system", "hello", "more")) == ["caching", "other", "cheap"]


def test_what_a_provider_writes_to_its_cache_counts_at_its_rate() -> None:
    writer = provider("writer", 10, 30, cached_input_rate=9, cache_write_rate=20)
    market = Market(writer, provider("plain", 12, 30))
    offer = market.router.learner.offer("writer", "gpt-4o")
    assert order(market.ask("a", "b")) == ["writer", "plain"]
    for _ in range(10):
        offer.record_written(1)
    assert order(market.ask("a", "b")) == ["plain", "writer"]


def test_what_caches_are_expected_to_save_is_as_if_it_were_computed_for_each_request() -> None:
    market = Market(CHEAP, CACHING, provider("other", 12, 30, cached_input_rate=1, cache_write_rate=14))
    sold = [market.router.learner.offer(name, "gpt-4o") for name in ("cheap", "caching", "other")]
    savings = Savings(sold, sold[0].changes)
    changes: list[tuple[int, Callable[[Offer], object]]] = [
        (1, lambda offer: offer.record_cached(30, 5000, 0)),
        (1, lambda offer: offer.record_written(0.5)),
        (1, lambda offer: offer.restore_cache([[1, 2]] * 13, 0)),
        (10, lambda offer: offer.record_charge(1500, 1000, 0)),
        (1, lambda offer: offer.age(1e4)),
        (300, lambda offer: offer.record_cached(30, 5000, 5000)),
    ]
    for times, change in changes:
        for offer in sold:
            for _ in range(times):
                change(offer)
            for kind in (kind_of(30, 5000), kind_of(400, 500)):
                assert savings.of(kind) == Savings(sold, Changes()).of(kind)


def test_a_model_without_cache_prices_and_a_request_without_a_prefix_are_routed_as_ever() -> None:
    market = Market(CHEAP, provider("dearer", 11, 30))
    market.send("system", "hello", to="dearer")
    assert (
        market.ask("system", "hello").candidates
        == router([CHEAP, provider("dearer", 11, 30)]).preview(chat(prompt_chars=8000, max_tokens=100)).candidates
    )
    assert len(market.router.caches.index) == 0


@pytest.mark.parametrize("rule", [Rule(name="r", strategy="lowest_latency"), Rule(name="r", affinity="none")])
def test_where_caches_do_not_decide_they_are_known_for_others_and_predicted_all_the_same(rule: Rule) -> None:
    market = Market(CHEAP, CACHING, rules=(rule,))
    market.send("system", "hello", to="caching", policy="r")
    unmoved = market.ask("system", "hello", "more", policy="r")
    assert order(unmoved) == ["cheap", "caching"]
    assert [candidate.cached_tokens for candidate in unmoved.candidates] == [0, 2000]
    assert order(market.ask("system", "hello", "more")) == ["caching", "cheap"]


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["cheap", "caching", None])), max_size=8))
def test_no_warmth_takes_a_request_beyond_its_policy(sent: list[tuple[str, str | None]]) -> None:
    limits = (
        Rule(name="named", exclude_providers=("caching",)),
        Rule(name="cost", max_sats_per_request=45),
        Rule(name="rate", max_sats_per_1k_output=30),
    )
    dear = provider("dear", 1, 31, cached_input_rate=0)
    market = Market(CHEAP, CACHING, dear, rules=limits)
    for message, to in sent:
        market.send("system", message, to=to)
    assert "caching" not in order(market.ask("system", "a", policy="named"))
    assert "dear" not in order(market.ask("system", "a", policy="rate"))
    within = market.ask("system", "a", "b", "c", policy="cost").candidates
    assert [candidate.provider for candidate in within if candidate.provider == "caching"] == []
    with pytest.raises(NoProviderWithinPolicy):
        market.ask(*"abcdefghijklmnopqrstuvwxyz" * 3, policy="cost")

"""Which prompts, and which beginnings of them, providers have seen."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.engine.learning.prefix_index import RETAIN_S, Known, PrefixIndex, Visit
from arbstr.engine.routing.offer import Offer
from arbstr.types import Prefix
from tests.support.engine_builders import config, provider

OFFERS = [Offer(provider(name), "m", config([]).policies) for name in ("alpha", "beta", "gamma")]


def prompt(*messages: str, length: int = 1000) -> Prefix:
    """A prompt of messages, each of that length; the tests' messages are known by their names."""
    hashes = tuple(map(hash, accumulate(messages, lambda before, message: f"{before}/{message}")))
    return Prefix(hashes, tuple(length * place for place in range(1, len(messages) + 1)), length * len(messages))


def visit(index: PrefixIndex, prefix: Prefix, offer: Offer = OFFERS[0], now_s: float = 0.0, turn: int = 1) -> Visit:
    visited = Visit(offer, now_s, prefix.hashes[-1], turn, prefix.size, 100)
    index.add(prefix, index.find(prefix, now_s), visited)
    return visited


def held(index: PrefixIndex, prefix: Prefix, now_s: float = 0.0) -> dict[Offer, list[tuple[float, float]]]:
    """The shares of a prompt that offers have seen, and when."""
    known = index.find(prefix, now_s)
    return {offer: held for offer in OFFERS if (held := known.held_by(offer, now_s - RETAIN_S))}


def shares(index: PrefixIndex, prefix: Prefix, now_s: float = 0.0) -> dict[str, float]:
    """The largest share of a prompt that each provider has seen."""
    return {offer.provider: seen[0][0] for offer, seen in held(index, prefix, now_s).items()}


def test_nothing_is_known_of_a_prompt_that_nobody_has_sent() -> None:
    index = PrefixIndex()
    visit(index, prompt("system", "hello"))
    known = index.find(prompt("another", "hello"), 1)
    assert (known.parent, known.seen, known.share) == (None, [], 0)


def test_a_prompt_that_goes_on_is_known_as_far_as_it_was_sent_and_continues_that_request() -> None:
    index = PrefixIndex()
    first = visit(index, prompt("system", "hello"))
    longer = prompt("system", "hello", "answer", "and then?")
    assert index.find(longer, 1).parent is first
    assert held(index, longer, 1) == {OFFERS[0]: [(0.5, 0.0)]}


def test_what_only_begins_alike_is_known_as_far_as_it_is_and_continues_nothing() -> None:
    index = PrefixIndex()
    visit(index, prompt("tools", "system", "hello"))
    known = index.find(prompt("tools", "system", "good morning"), 1)
    assert known.parent is None
    assert known.share == 2 / 3


def test_every_provider_is_known_for_what_it_has_seen_itself() -> None:
    index = PrefixIndex()
    visit(index, prompt("system", "hello"), OFFERS[0], now_s=0)
    visit(index, prompt("system", "bye"), OFFERS[1], now_s=5)
    assert shares(index, prompt("system", "hello", "answer", "more")) == {"alpha": 0.5, "beta": 0.25}


def test_a_shorter_beginning_that_was_seen_later_is_known_too() -> None:
    index = PrefixIndex()
    visit(index, prompt("system", "hello"), now_s=0)
    visit(index, prompt("system", "bye"), now_s=400)
    assert held(index, prompt("system", "hello", "more"), 500) == {OFFERS[0]: [(2 / 3, 0), (1 / 3, 400)]}


def test_a_long_conversation_is_known_at_a_dozen_places_where_it_branches() -> None:
    index = PrefixIndex()
    messages = [f"message {number}" for number in range(200)]
    visit(index, prompt(*messages))
    assert len(index) < 16
    assert shares(index, prompt(*messages[:100], "instead")) == {"alpha": 65 / 101}


def test_a_prompt_is_forgotten_an_hour_after_it_was_last_sent() -> None:
    index = PrefixIndex()
    visit(index, prompt("system", "hello"), now_s=0)
    visit(index, prompt("system", "hello"), now_s=3000)
    assert shares(index, prompt("system", "hello"), 2999 + RETAIN_S) == {"alpha": 1}
    known = index.find(prompt("system", "hello"), 3000 + RETAIN_S)
    assert (known.parent, known.seen, known.share) == (None, [], 0)


def test_memory_is_given_back_to_prompts_that_are_not_sent_again() -> None:
    index = PrefixIndex()
    for number in range(100):
        visit(index, prompt(f"prompt {number}"), now_s=0)
    visit(index, prompt("later"), now_s=RETAIN_S)
    visit(index, prompt("later still"), now_s=2 * RETAIN_S)
    assert len(index) <= 3


words = st.lists(st.sampled_from("abc"), min_size=1, max_size=12)


@given(st.lists(st.tuples(words, st.integers(0, 2), st.integers(0, 900), st.booleans()), max_size=30), words)
def test_no_provider_is_ever_claimed_to_have_seen_what_it_was_not_sent(
    sent: list[tuple[list[str], int, int, bool]], asked: list[str]
) -> None:
    index, now_s = PrefixIndex(), 0.0
    history: list[tuple[Offer, list[str], float]] = []
    in_flight: list[tuple[Offer, list[str], Known]] = []
    for messages, place, pause_s, is_slow in sent:
        now_s += pause_s
        in_flight.append((OFFERS[place], messages, index.find(prompt(*messages), now_s)))
        while in_flight and not is_slow:
            offer, its_messages, known = in_flight.pop()
            one = prompt(*its_messages)
            index.add(one, known, Visit(offer, now_s, one.hashes[-1], 1, one.size, 100))
            history.append((offer, its_messages, now_s))
    for offer, seen in held(index, prompt(*asked), now_s).items():
        for share, at_s in seen:
            beginning = asked[: round(share * len(asked))]
            assert now_s - at_s <= RETAIN_S
            assert any(
                who is offer and when == at_s and messages[: len(beginning)] == beginning
                for who, messages, when in history
            )


def test_prompts_that_are_answered_at_once_are_each_known() -> None:
    index, first, second = PrefixIndex(), prompt("system", "hello"), prompt("system", "hello", "answer", "more")
    known = index.find(first, 0), index.find(second, 0), index.find(second, 0)
    for offer, one, found in zip(OFFERS, (first, second, second), known, strict=True):
        index.add(one, found, Visit(offer, 1.0, one.hashes[-1], 1, one.size, 100))
    assert shares(index, second) == {"alpha": 0.5, "beta": 1, "gamma": 1}


class PlainIndex:
    """Every place that is kept of each prompt, with when each offer saw it: what the index must know, slowly."""

    def __init__(self) -> None:
        self.seen: dict[int, dict[Offer, float]] = {}

    def places(self, prefix: Prefix) -> list[int]:
        """The places where a prompt is known, the last one first."""
        known = [place for place, key in enumerate(prefix.hashes) if key in self.seen]
        return [] if not known else [known[-1], *[place for place in prefix.kept if place < known[-1]]]

    def add(self, prefix: Prefix, offer: Offer, now_s: float) -> None:
        for place in {*prefix.kept, *self.places(prefix)[:1]}:
            self.seen.setdefault(prefix.hashes[place], {})[offer] = now_s

    def held(self, prefix: Prefix) -> dict[Offer, list[tuple[float, float]]]:
        held: dict[Offer, list[tuple[float, float]]] = {}
        for place in self.places(prefix):
            for offer, at_s in self.seen.get(prefix.hashes[place], {}).items():
                known = held.setdefault(offer, [])
                if not known or at_s > known[-1][1]:
                    known.append((prefix.ends[place] / prefix.size, at_s))
        return held


turns = st.lists(st.tuples(st.integers(0, 30), st.text("abc", min_size=2, max_size=2), st.integers(0, 2)), max_size=30)


@given(turns)
def test_everything_is_known_that_a_look_at_each_place_would_find_while_conversations_go_on_or_branch(
    turns: list[tuple[int, str, int]],
) -> None:
    index, plain = PrefixIndex(), PlainIndex()
    prompts = [["system"]]
    for now_s, (before, more, place) in enumerate(turns):
        messages = [*prompts[before % len(prompts)], *more]  # a question and its answer
        one = prompt(*messages)
        known = held(index, one, now_s)
        for offer, seen in plain.held(one).items():
            for share, at_s in seen:
                assert any(knows >= share and since_s >= at_s for knows, since_s in known[offer])
        visit(index, one, OFFERS[place], float(now_s))
        plain.add(one, OFFERS[place], float(now_s))
        prompts.append(messages)


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(), min_size=1, max_size=200), min_size=50, max_size=100))
def test_it_never_holds_more_places_than_it_may(prompts: Sequence[Sequence[int]]) -> None:
    index = PrefixIndex(most=400)
    for number, hashes in enumerate(prompts):
        ends = tuple(range(1000, 1000 * len(hashes) + 1, 1000))
        visit(index, Prefix(tuple(hashes), ends, ends[-1]), OFFERS[number % 3], float(number))
        assert len(index) <= 400


@pytest.mark.no_cover  # what it runs is covered by others
def test_ten_thousand_conversations_of_100_kb_take_less_than_20_mb() -> None:
    index = PrefixIndex()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(10_000):
            hashes = tuple(range(number * 1000, number * 1000 + 200))
            visit(index, Prefix(hashes, tuple(range(500, 100_001, 500)), 100_000), now_s=number / 100)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    conversation = Prefix(hashes, tuple(range(500, 100_001, 500)), 100_000)
    assert shares(index, conversation, 100) == {"alpha": 1}
    assert used < 20e6

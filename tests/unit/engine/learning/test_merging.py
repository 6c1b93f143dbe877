"""What several arbstrs learn adds up: each observation once, in whatever order they tell each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.config.schema import Breaker
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.learning.cache_stats import CacheStats
from arbstr.engine.learning.codec import CACHES, CHARGES, COUNTS, HEALTH, LENGTHS, RATIOS, TEXTS, dumps
from arbstr.engine.learning.lengths import MEMORY, Lengths, Texts
from arbstr.engine.learning.merging import is_same, merge
from arbstr.engine.learning.provider_stats import MOST_CHARGES, ChargeRatio, Counts
from arbstr.errors import AttemptError

PROVIDERS = ("alpha", "beta")
# Who does what: an observation of a provider, or None to tell the others.
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.none() | st.tuples(st.sampled_from(PROVIDERS), st.integers(1, 4000))), max_size=60
)


class Instances:
    """Three arbstrs that learn lengths, and what they share."""

    def __init__(self) -> None:
        self.shared: str | None = None
        self.known: list[str | None] = [None] * 3
        self.own = [Lengths() for _ in range(3)]

    def state(self, one: int) -> str | None:
        state = self.own[one].state()
        return dumps(state) if state else None

    def sync(self, one: int) -> None:
        self.shared = merge(LENGTHS, self.shared, self.known[one], self.state(one))
        self.known[one] = self.shared
        self.own[one] = Lengths.restored(None if self.shared is None else json.loads(self.shared)) or Lengths()

    def settle(self) -> None:
        for one in (0, 1, 2, 0, 1, 2):
            self.sync(one)


@given(STEPS)
def test_any_interleaving_of_instances_counts_what_one_would(
    steps: list[tuple[int, tuple[str, int] | None]],
) -> None:
    instances, alone = Instances(), Lengths()
    for one, observed in steps:
        if observed is None:
            instances.sync(one)
        else:
            instances.own[one].add(*observed)
            alone.add(*observed)
    instances.settle()
    shared = json.loads(instances.shared or "{}")
    expected = alone.state()
    assert {provider: state[0] for provider, state in shared.items()} == {
        provider: state[0] for provider, state in expected.items()
    }
    for provider, (_, mean, _) in shared.items():  # few enough that nothing is forgotten yet
        assert mean == pytest.approx(expected[provider][1])
    assert all(is_same(known, instances.shared) for known in instances.known)
    instances.settle()
    assert json.loads(instances.shared or "{}") == shared  # nothing is added twice


@given(st.lists(st.floats(0, 5000), min_size=1, max_size=300), st.lists(st.floats(0, 5000), min_size=1, max_size=300))
def test_a_mean_that_forgets_stays_within_what_was_seen(ours: list[float], theirs: list[float]) -> None:
    mine, others = Lengths(), Lengths()
    for tokens in ours:
        mine.add("alpha", tokens)
    for tokens in theirs:
        others.add("alpha", tokens)
    merged = json.loads(merge(LENGTHS, dumps(others.state()), None, dumps(mine.state())) or "")
    seen, mean, longest = merged["alpha"]
    assert seen == len(ours) + len(theirs)
    assert min(*ours, *theirs) - 1e-6 <= mean <= max(*ours, *theirs) + 1e-6
    assert longest <= max(*ours, *theirs) + 1e-6


def test_many_new_requests_outweigh_what_was_there() -> None:
    merged = merge(RATIOS, dumps([MEMORY, 1.0]), None, dumps([10 * MEMORY, 3.0]))
    assert json.loads(merged or "") == [11 * MEMORY, pytest.approx(3.0, rel=0.01)]


def test_who_has_begun_again_is_taken_for_new() -> None:
    merged = merge(RATIOS, dumps([10, 2.0]), dumps([8, 2.0]), dumps([5, 5.0]))
    assert json.loads(merged or "") == [15, pytest.approx(3.0)]


def test_characters_and_tokens_are_added() -> None:
    base = Texts()
    base.add("alpha", 4000, 1000)
    mine, theirs = Texts.restored(base.state()), Texts.restored(base.state())
    assert mine is not None
    assert theirs is not None
    mine.add("alpha", 800, 400)
    theirs.add("beta", 500, 100)
    merged = json.loads(merge(TEXTS, dumps(theirs.state()), dumps(base.state()), dumps(mine.state())) or "")
    assert merged == {**mine.state(), "beta": [500, 100]}


def test_counted_tokens_are_those_of_one_that_has_seen_all() -> None:
    base, alone = Counts(), Counts()
    for counts in (base, alone):
        counts.add(100, 50)
    mine, theirs = Counts(), Counts()
    for counts in (mine, theirs):
        counts.restore(base.state())
    for counted in (300, 200):
        theirs.add(counted, 50)
        alone.add(counted, 50)
    mine.add(80, 40)
    alone.add(80, 40)
    merged = json.loads(merge(COUNTS, dumps(theirs.state()), dumps(base.state()), dumps(mine.state())) or "")
    assert merged[:3] == pytest.approx(alone.state()[:3])


def charges_of(*pairs: tuple[int, int]) -> str:
    charges = ChargeRatio()
    for pair in pairs:
        charges.add(*pair, 0.0)
    return dumps(charges.pairs)


def test_charges_follow_those_of_others_the_latest_are_kept() -> None:
    base = [(100 + number, 100) for number in range(MOST_CHARGES)]
    theirs, mine = charges_of(*base, (7, 1)), charges_of(*base, (8, 1), (9, 1))
    merged = json.loads(merge(CHARGES, theirs, charges_of(*base), mine) or "")
    assert merged == [*map(list, base[3:]), [7, 1], [8, 1], [9, 1]]


def test_charges_that_were_dropped_on_purpose_are_dropped_for_all() -> None:
    base = [(100 + number, 100) for number in range(8)]
    mine = charges_of(*base[-2:], (9, 1))
    assert merge(CHARGES, charges_of(*base, (7, 1)), charges_of(*base), mine) == mine


def test_what_caches_found_fades_once_however_many_have_it() -> None:
    base = CacheStats()
    for _ in range(8):
        base.add(10.0, 2000.0, 1000)
    base.age(0.0)
    before = dumps(base.state())
    theirs, mine = CacheStats(), CacheStats()
    for cache in (theirs, mine):
        cache.restore(json.loads(before), 0.0)
        cache.age(3600.0)
    theirs.add(10.0, 2000.0, 2000)
    mine.add(700.0, 2000.0, 2000)
    merged = json.loads(merge(CACHES, dumps(theirs.state()), before, dumps(mine.state())) or "")
    alone = CacheStats()
    alone.restore(json.loads(before), 0.0)
    alone.age(3600.0)
    alone.add(10.0, 2000.0, 2000)
    alone.add(700.0, 2000.0, 2000)
    assert merged == [pytest.approx(pair) for pair in alone.state()]


@pytest.mark.parametrize("kind", [LENGTHS, TEXTS, CHARGES, COUNTS, CACHES, RATIOS, "another version's"])
@pytest.mark.parametrize("shared", ["", "null", "[1,2", "{}", "[]", '{"alpha":"x"}', "[3,[null]]", "1e999"])
def test_what_is_shared_may_be_garbage(kind: str, shared: str) -> None:
    own: dict[str, Any] = {
        LENGTHS: {"alpha": [1, 2.0, 3.0]},
        TEXTS: {"alpha": [4.0, 1.0]},
        CHARGES: [[5, 4]],
        COUNTS: [1, 2.0, 3.0, 0.0],
        CACHES: [[1.0, 1.0]],
        RATIOS: [1, 2.0],
    }
    mine = dumps(own.get(kind, "theirs"))
    assert merge(kind, shared, None, mine) == mine


def test_nothing_is_changed_by_who_has_nothing_to_add() -> None:
    assert merge(LENGTHS, '{"a":1}', "{}", "{}") == '{"a":1}'
    assert merge(LENGTHS, '{"a":1}', "{}", None) == '{"a":1}'
    assert merge(LENGTHS, '{"a": 1.0}', '{"a":1}', '{"b":1}') == '{"b":1}'
    assert merge(LENGTHS, None, None, "{}") == "{}"


DOWN = AttemptError("status", "503 Service Unavailable", status=503, retryable=True)
Attempts = list[tuple[bool, int]]  # whether it succeeded, and its latency in ms
ATTEMPTS = st.lists(st.tuples(st.booleans(), st.integers(1, 9000)), max_size=30)


def healthy() -> CircuitBreakers:
    return CircuitBreakers(
        ["alpha"],
        Breaker(),
        clock=lambda: 0.0,
        now_ms=lambda: 0,
        random=lambda: 0.0,
        on_change=lambda event: None,
    )


def attempted(breakers: CircuitBreakers, attempts: Attempts) -> str | None:
    for succeeded, latency_ms in attempts:
        permit = breakers.acquire("alpha", early=True)
        assert permit is not None
        permit.succeeded(latency_ms) if succeeded else permit.failed(DOWN)
    figures = breakers.figures().get("alpha")
    return None if figures is None else dumps(figures)


@given(ATTEMPTS, ATTEMPTS, ATTEMPTS)
def test_success_rates_and_latencies_are_those_of_one_that_has_made_all_attempts(
    before: Attempts, theirs: Attempts, ours: Attempts
) -> None:
    before = [(True, 500), *before]  # a first one counts for all: who had none knows no more of it
    known = attempted(healthy(), before)
    shared, own, alone = (attempted(healthy(), [*before, *more]) for more in (theirs, ours, [*theirs, *ours]))
    merged, expected = (json.loads(state or "{}") for state in (merge(HEALTH, shared, known, own), alone))
    assert merged == pytest.approx(expected)


def test_an_arbstr_that_starts_without_what_was_learned_adds_to_it_all_the_same() -> None:
    shared, own = attempted(healthy(), [(True, 100)] * 4), attempted(healthy(), [(False, 0)])
    merged = json.loads(merge(HEALTH, shared, None, own) or "{}")
    assert (merged["attempts"], merged["success_rate"]) == (5, pytest.approx(0.8))
    assert (merged["answers"], merged["latency_ms"]) == (4, 100)

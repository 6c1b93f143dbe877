"""Candidates that are made when they are looked at."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.config.schema import Provider
from arbstr.engine.routing.columns import columns_of
from arbstr.engine.routing.offer import Offer
from arbstr.engine.routing.price_tag import Expected
from arbstr.engine.routing.ranked import Ranked
from arbstr.events import RouteChosen
from arbstr.ledger.row_json import read_routing
from arbstr.ledger.row_mapping import COLUMNS, RowValues, facet_key, row_of, storable
from arbstr.monitoring.wire_format import encode
from arbstr.types import Price, Routing
from tests.support.engine_builders import answered, chat, config, order, provider, router

EXPECTED = Expected(1000, 100, 1e9)
NAMES = ("alpha", "beta", "gamma", "delta")


def offers(*providers: Provider) -> list[Offer]:
    return [Offer(one, "m", config([]).policies) for one in providers]


def ranked(*keys: float) -> Ranked:
    """One offer for each key, named as in NAMES."""
    sold = offers(*[provider(name, 10 + place, 30) for place, name in enumerate(NAMES[: len(keys)])])
    return Ranked(columns_of(sold), keys, keys, EXPECTED)


def names(candidates: Ranked) -> list[str]:
    return [candidate.provider for candidate in candidates]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_the_smallest_key_goes_first_and_equal_ones_keep_their_order(keys: list[int]) -> None:
    candidates = ranked(*map(float, keys))
    expected = [NAMES[place] for place in sorted(range(len(keys)), key=keys.__getitem__)]
    assert candidates[0].provider == expected[0] == NAMES[candidates.first]
    assert names(candidates) == expected
    assert [candidates[place].provider for place in range(len(keys))] == expected
    assert candidates[-1].provider == expected[-1]
    assert [each.provider for each in candidates[1:]] == expected[1:]


def test_a_candidate_is_put_first_with_the_reason_and_the_others_stay_in_their_order() -> None:
    candidates = ranked(1, 2, 3, 4)
    candidates.put_first(2, "for once")
    assert names(candidates) == ["gamma", "alpha", "beta", "delta"]
    assert [candidate.note for candidate in candidates] == ["for once", "", "", ""]


def test_all_of_them_at_once_are_as_one_by_one() -> None:
    candidates = ranked(3, 2, 1, 2)
    plain = ranked(3, 2, 1, 2)
    candidates.put_first(3, "for once")
    candidates.put_last({"alpha": "its list does not have this model"})
    candidates.are_tried_anyway({"beta"}, "probed", "no other is left")
    candidates.cached, candidates.differences, candidates.ages = {1: 500.7}, {1: -90.0}, [1, None, 3, 4]
    for some in (candidates, plain, ranked()):
        assert some.rows() == [[tuple(x) if isinstance(x, Price) else x for x in each] for each in some]


def test_who_is_put_last_comes_after_those_who_are_demoted() -> None:
    candidates = ranked(1, 2, 3, 4)
    candidates.demote([True, False, False, False])
    candidates.put_last({"beta": "it does not list this", "nobody": "it is not here"})
    assert names(candidates) == ["gamma", "delta", "alpha", "beta"]
    assert candidates[3].note == "it does not list this"


def test_nobody_is_moved_where_nobody_is_demoted_and_where_everybody_is() -> None:
    for demoted in (False, True):
        candidates = ranked(3, 1, 2)
        candidates.demote([demoted] * 3)
        assert names(candidates) == ["beta", "gamma", "alpha"]


def test_who_is_tried_although_something_holds_it_back_has_a_note_of_that() -> None:
    candidates = ranked(1, 2)
    candidates.put_first(1, "for once")
    candidates.are_tried_anyway(["beta"], "its breaker is open", "it is paused")
    assert [(each.provider, each.early, each.note) for each in candidates] == [
        ("beta", True, "for once; its breaker is open"),
        ("alpha", False, "it is paused"),
    ]


def test_its_candidates_are_as_they_were_whatever_is_learned_later() -> None:
    (offer,) = sold = offers(provider("alpha", 10, 30))
    candidates = Ranked(columns_of(sold), [1.0], [1.0], EXPECTED)
    for _ in range(20):
        offer.record_charge(2000, 1000, 0.0)
    assert offer.tag.note == "charges 2.00 times what its rates say"
    assert (candidates[0].note, candidates[0].expected_cost_msats) == ("", 1000 * 10 + 100 * 30)


def test_it_equals_a_tuple_of_its_candidates_and_is_copied_as_one() -> None:
    candidates = ranked(2, 1)
    plain = tuple(candidates)
    assert candidates == plain
    assert hash(candidates) == hash(plain)
    assert candidates != plain[:1]
    assert candidates != "alpha"
    assert repr(candidates) == repr(list(plain))
    copied = copy.deepcopy(candidates)
    assert isinstance(copied, tuple)
    assert copied == plain


def test_without_candidates_it_is_an_empty_sequence() -> None:
    candidates = ranked()
    assert (len(candidates), list(candidates), bool(candidates)) == (0, [], False)
    with pytest.raises(IndexError):
        candidates[0]


def plain(routing: Routing) -> Routing:
    return Routing(
        routing.strategy,
        routing.policy,
        routing.model,
        routing.expected_input_tokens,
        routing.expected_output_tokens,
        tuple(routing.candidates),
        routing.excluded,
        routing.policy_reason,
        routing.reuse,
    )


def kept(model: str, routing: Routing) -> RowValues:
    record = storable(answered(chat(model), routing))
    return row_of(record, facet_key(record), 1, None, 0)


@pytest.mark.parametrize("model", ["gpt-4o", "half a pair: \ud800"])
def test_a_decision_is_kept_and_sent_as_if_its_candidates_were_a_tuple(model: str) -> None:
    chosen = router([provider("alpha"), provider("beta", 20, 40)])
    routing = chosen.route(chat(model))
    assert isinstance(routing.candidates, Ranked)
    assert order(routing) == ["alpha", "beta"]
    assert encode(RouteChosen("r-1", routing)) == encode(RouteChosen("r-1", plain(routing)))
    assert kept(model, routing) == kept(model, plain(routing))
    shown = read_routing(kept(model, routing)[COLUMNS.index("routing")])
    assert shown is not None
    assert [entry["provider"] for entry in shown["candidates"]] == ["alpha", "beta"]

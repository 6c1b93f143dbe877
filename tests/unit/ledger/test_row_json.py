"""Attempts and decisions as text and back, and what other programs may have put there."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arbstr.ledger.routing_json import routing_json
from arbstr.ledger.row_json import attempts_text, read_routing, routing_text
from arbstr.sanitize import json_or_none
from arbstr.types import Attempt, Candidate, Price, Reuse, Routing

names = st.text(max_size=5) | st.just("half \ud83d")
msats_ = st.floats(0, 1e12)
prices = st.builds(Price, msats_, msats_, msats_, st.sampled_from(["list", "configured", "stale"]))
candidates = st.builds(
    Candidate, names, msats_, msats_, names, st.booleans(), st.none() | prices, st.none() | st.integers(0, 10**9)
)
routings = st.builds(
    Routing,
    strategy=st.sampled_from(["cheapest", "weighted"]),
    policy=st.none() | names,
    model=names,
    expected_input_tokens=st.integers(0, 10**9),
    expected_output_tokens=st.integers(0, 10**9),
    candidates=st.lists(candidates, max_size=3).map(tuple),
    excluded=st.lists(st.tuples(names, names), max_size=2).map(tuple),
    policy_reason=st.none() | names,
    reuse=st.none() | st.builds(Reuse, st.floats(0, 1), st.none() | names, st.integers(0, 10**20)),
)


@given(routings)
def test_a_decision_survives_being_stored(routing: Routing) -> None:
    assert read_routing(routing_text(routing)) == routing_json(routing)


def test_every_field_is_kept_in_order() -> None:
    def named(kind: type[Attempt | Routing | Reuse]) -> list[str]:
        return [field.name for field in fields(kind)]

    decision = json.loads(routing_text(Routing("cheapest", None, "m", 1, 2, (), reuse=Reuse(0.5))))
    [attempt] = json.loads(attempts_text([Attempt("alpha", 1, 2)]))
    assert list(decision) == named(Routing)
    assert list(decision["reuse"]) == named(Reuse)
    assert list(attempt) == named(Attempt)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([field.name for field in fields(Routing)]) | names, inner)
    ),
    max_leaves=10,
)
shaped = st.fixed_dictionaries(
    {"candidates": json_values, "excluded": json_values, "strategy": json_values, "policy": json_values},
    optional=dict.fromkeys(("model", "expected_input_tokens", "expected_output_tokens", "other"), json_values),
)


@given((json_values | shaped).map(json.dumps) | st.text() | st.none() | st.integers() | st.binary())
@example('{"candidates": [["a", 1%s, 1, ""]], "excluded": []}' % ("0" * 400))
@example("[" * 100_000)
@example('{"candidates": [{"provider": "a", "expected_cost_sats": 0.1}], "excluded": []}')
def test_whatever_stands_where_a_decision_belongs_can_be_read(text: object) -> None:
    read = read_routing(text)
    assert read is None or isinstance(read, dict)
    kept = json_or_none(text)
    if isinstance(kept, dict):
        assert read is not None, "what is an object is shown, even if it is somebody else's"


@pytest.mark.parametrize(
    ("candidates", "excluded"),
    [
        ([{"provider": "a", "reason": "number 1"}], []),
        ([], [{"provider": "a", "reason": "too dear"}]),
        ([], ["ab"]),
        (["1234"], []),
    ],
)
def test_a_decision_of_another_shape_is_given_as_it_is(candidates: list[object], excluded: list[object]) -> None:
    shape: dict[str, object] = {
        "strategy": "cheapest",
        "policy": None,
        "model": "m",
        "candidates": candidates,
        "excluded": excluded,
    }
    shape |= {"expected_input_tokens": 1, "expected_output_tokens": 1}
    assert read_routing(json.dumps(shape)) == shape

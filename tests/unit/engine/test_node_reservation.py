"""What nodes reserve for a request: as measured on a real one, and as it follows from any request at all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.completions import COMPLETIONS
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.dialects.embeddings import EMBEDDINGS
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.dialects.responses import RESPONSES
from arbstr.engine.node_reservation import (
    Measure,
    ReservationTerms,
    exact_measure,
    largest_cap,
    measure,
    reserved_msats,
    rough_measure,
)
from arbstr.market.model_lists import read_priced
from arbstr.types import InferenceRequest, JsonObject
from tests.support.paths import DATA
from tests.support.recordings import recording

QUOTES = json.loads((DATA / "routstr" / "reservation_quotes.json").read_text())["quotes_msat"]
LISTED = {model.id: model for model in read_priced(json.loads(recording("models_list").body), lambda name: True)}
MINI = "gpt-4o-mini"


def terms_of(model: str) -> ReservationTerms:
    terms = LISTED[model].terms
    assert terms is not None
    return terms


def reserved(model: str, *, newer: bool = False, **body: Any) -> int:
    return reserved_msats(terms_of(model), measure({"model": model, **body}, newer=newer))


def said(content: Any = "hi") -> list[Any]:
    return [{"role": "user", "content": content}]


# --- as measured


@pytest.mark.parametrize(
    ("quote", "model", "body"),
    [
        ("gpt-4o-mini: no max_tokens", MINI, {}),
        ("gpt-4o-mini: max_tokens=5000", MINI, {"max_tokens": 5000}),
        ("gpt-4o-mini: max_completion_tokens=5000 (ignored)", MINI, {"max_completion_tokens": 5000}),
        ("gpt-4o-mini: max_tokens=5000, 30000-char prompt", MINI, {"max_tokens": 5000, "messages": said("x" * 30_000)}),
        (
            "gpt-4o-mini: max_tokens=5000, tools of 30000 chars (ignored)",
            MINI,
            {"max_tokens": 5000, "tools": ["x" * 30_000]},
        ),
        ("gpt-4o-mini: n=3 max_tokens=5000 (n ignored)", MINI, {"n": 3, "max_tokens": 5000}),
        ("gpt-4o-mini: max_tokens=100000 (above the limit: capped)", MINI, {"max_tokens": 100_000}),
        (
            "responses, max_output_tokens=100 (ignored)",
            MINI,
            {"input": "hi", "messages": None, "max_output_tokens": 100},
        ),
        ("responses, max_tokens=5000", MINI, {"input": "hi", "messages": None, "max_tokens": 5000}),
        ("deepseek-r1: no max_tokens", "deepseek-r1", {}),
        ("claude-sonnet-4: no max_tokens", "claude-sonnet-4", {}),
        ("claude-sonnet-4: max_tokens=4096", "claude-sonnet-4", {"max_tokens": 4096}),
        (
            "claude-sonnet-4 via /v1/messages: max_tokens=4096",
            "claude-sonnet-4",
            {"max_tokens": 4096, "system": "be nice"},
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_is_what_a_node_quoted(quote: str, model: str, body: JsonObject) -> None:
    assert abs(reserved(model, **{"messages": said(), **body}) - QUOTES[quote]) <= 1  # other prompts, of a few letters


def test_a_cap_can_leave_nothing_but_one_msat() -> None:
    assert reserved("deepseek-r1", messages=said(), max_tokens=5000) == 1


def test_an_empty_keys_quote_is_met_to_the_msat() -> None:
    exchange = recording("quote_by_empty_key")
    assert b"(959904 msats) required" in exchange.body
    body = exchange.request["body"]
    assert reserved(**body) == 959_904


def test_a_cap_as_text_counts_and_one_that_is_no_number_does_not() -> None:
    capped, plain = (reserved(MINI, messages=said(), max_tokens=most) for most in (5000, None))
    assert reserved(MINI, messages=said(), max_tokens="5000") == capped
    odd: Any
    for odd in ("many", None, [], {}, float("inf")):
        assert reserved(MINI, messages=said(), max_tokens=odd) == plain


def test_an_image_counts_as_the_largest() -> None:
    parts = [{"type": "text", "text": "x" * 300}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}]
    assert measure({"messages": said(parts)}, newer=False).prompt_tokens == 100 + 765


def test_a_body_without_messages_has_no_prompt_that_counts() -> None:
    body: JsonObject
    for body in ({"input": "x" * 300}, {"prompt": "x"}, {"messages": []}, {"messages": "x"}):
        assert measure(body, newer=False).prompt_tokens is None


# --- newer nodes


def test_newer_nodes_count_every_string_and_key() -> None:
    body = {"model": "m", "tools": [{"name": "abc"}], "messages": said("xyz")}
    letters = "modelmtoolsnameabcmessagesroleusercontentxyz"
    assert measure(body, newer=True).prompt_tokens == len(letters) // 3


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_newer_nodes_count_any_cap_and_of_several_the_largest(name: str) -> None:
    assert measure({name: 500}, newer=True).cap == 500
    assert measure({"max_tokens": 100, "max_output_tokens": 50, name: 500}, newer=True).cap == 500


# --- whatever is asked

prices = st.floats(0, 1, allow_subnormal=False)
all_terms = st.builds(
    ReservationTerms, st.integers(1, 10**7), st.floats(0, 10_000), st.floats(0, 10_000), prices, prices
)
tokens = st.none() | st.integers(0, 2_000_000)
measures = st.builds(Measure, tokens, tokens)


@given(all_terms, measures)
def test_it_is_at_least_a_msat_and_at_most_the_most(terms: ReservationTerms, asked: Measure) -> None:
    assert 1 <= reserved_msats(terms, asked) <= terms.most_msats


@given(all_terms, measures, st.integers(0, 10_000))
def test_more_of_anything_never_costs_less(terms: ReservationTerms, asked: Measure, more: int) -> None:
    least = reserved_msats(terms, asked)
    if asked.prompt_tokens is not None:
        assert reserved_msats(terms, asked._replace(prompt_tokens=asked.prompt_tokens + more)) >= least
        assert reserved_msats(terms, asked._replace(prompt_tokens=None)) >= least
    if asked.cap is not None:
        assert reserved_msats(terms, asked._replace(cap=asked.cap + more)) >= least
        assert reserved_msats(terms, asked._replace(cap=None)) >= least


@given(all_terms, measures, st.integers(0, 10**7))
def test_the_largest_cap_fits_and_one_more_does_not(terms: ReservationTerms, asked: Measure, free_msats: int) -> None:
    largest = largest_cap(terms, asked, free_msats)
    if largest is None:
        assert reserved_msats(terms, asked._replace(cap=1)) > free_msats
    else:
        assert reserved_msats(terms, asked._replace(cap=largest)) <= free_msats
        if largest < 10**9:
            assert reserved_msats(terms, asked._replace(cap=largest + 1)) > free_msats


# --- without reading the body

texts = st.text(max_size=40)
part = st.fixed_dictionaries({"type": st.just("text"), "text": texts}) | st.fixed_dictionaries(
    {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": texts})}
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.just("user"), "content": texts | st.lists(part, max_size=3)}),
    min_size=1,
    max_size=4,
)
cap = st.integers(1, 100_000)
extras = st.fixed_dictionaries(
    {}, optional={"max_tokens": cap, "max_completion_tokens": cap, "tools": st.lists(texts), "user": texts}
)


@given(messages, extras, st.booleans())
def test_the_rough_measure_of_a_chat_never_is_less_than_the_exact_one(
    asked: list[Any], more: JsonObject, newer: bool
) -> None:
    request = parsed(CHAT, {"model": "m", "messages": asked, **more})
    rough, exact = rough_measure(request, newer=newer), exact_measure(request, newer=newer)
    assert (rough.prompt_tokens or 0) >= (exact.prompt_tokens or 0)
    assert rough.cap is None or exact.cap is None or rough.cap >= exact.cap
    assert (rough.cap is None) == (exact.cap is None)


@given(messages, cap)
def test_of_a_plain_chat_it_is_the_exact_one(asked: list[Any], most: int) -> None:
    request = parsed(CHAT, {"model": "m", "messages": asked, "max_completion_tokens": most})
    assert rough_measure(request, newer=False) == exact_measure(request, newer=False)


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (COMPLETIONS, {"prompt": "x" * 300, "max_tokens": 70}),
        (RESPONSES, {"input": "x" * 300, "max_output_tokens": 70}),
        (EMBEDDINGS, {"input": "x" * 300}),
        (MESSAGES, {"messages": said("x" * 300), "max_tokens": 70}),
    ],
    ids=lambda value: value.name if isinstance(value, Dialect) else "",
)
def test_other_dialects_are_measured_alike(dialect: Dialect, body: JsonObject) -> None:
    request = parsed(dialect, {"model": "m", **body})
    assert rough_measure(request, newer=False) == exact_measure(request, newer=False)
    rough, exact = rough_measure(request, newer=True), exact_measure(request, newer=True)
    assert rough.cap == exact.cap
    assert (rough.prompt_tokens or 0) >= (exact.prompt_tokens or 0) >= 100


def test_a_body_that_can_not_be_read_is_measured_roughly() -> None:
    spoiled = replace(parsed(CHAT, {"model": "m", "messages": said()}), body=b"\xff")
    assert exact_measure(spoiled, newer=False) == rough_measure(spoiled, newer=False)


def parsed(dialect: Dialect, body: JsonObject) -> InferenceRequest:
    return dialect.parse(body, json.dumps(body).encode(), request_id="r-1", policy=None)

"""What providers answer when asked for their models: names, rates and other names, whatever else is in it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.engine.node_reservation import ReservationTerms
from arbstr.engine.routing.listing import ListedModel
from arbstr.market.model_lists import MOST_NAMES, MOST_PRICED, read_ids, read_priced
from arbstr.types import Rates
from tests.support.recordings import recording


def anything(name: str) -> bool:
    return True


RECORDED: Any = json.loads(recording("models_list").body)


def test_a_nodes_models_have_its_rates_in_msats_per_token() -> None:
    models = {model.id: model for model in read_priced(RECORDED, anything)}
    assert list(models) == [
        "gpt-4o-mini",
        "claude-sonnet-4",
        "deepseek-r1",
        "request-fee",
        "tiny-ctx",
        "text-embedding-3-small",
    ]
    assert models["gpt-4o-mini"].rates == Rates(
        Decimal("0.1515"), Decimal("0.606"), Decimal(0), cached_input=Decimal("0.07575")
    )
    assert models["claude-sonnet-4"].rates == Rates(
        Decimal("3.03"),
        Decimal("15.15"),
        Decimal(0),
        cached_input=Decimal("0.303"),
        cache_write=Decimal("3.7875"),
    )
    assert models["deepseek-r1"].rates == Rates(Decimal("0.404"), Decimal("2.02"), Decimal(0)), "no float's noise"
    assert models["request-fee"].rates == Rates(Decimal("1.01"), Decimal("2.02"), Decimal(0)), (
        "such a fee is not charged"
    )
    assert models["gpt-4o-mini"].names == ("openai/gpt-4o-mini-2024-07-18",)


def node_model(**fields: Any) -> dict[str, Any]:
    return {"id": "m", "sats_pricing": {"prompt": 0.001, "completion": 0.002}} | fields


PRICED = ListedModel("m", (), Rates(Decimal(1), Decimal(2), Decimal(0)))


@pytest.mark.parametrize(
    "entry",
    [
        node_model(enabled=False),
        node_model(id=""),
        node_model(id=["m"]),
        node_model(id="a\nb"),
        node_model(id="x" * 301),
        node_model(sats_pricing=None),
        node_model(sats_pricing={}),
        node_model(sats_pricing={"prompt": 0.001}),
        node_model(sats_pricing={"prompt": "0.001", "completion": 0.002}),
        node_model(sats_pricing={"prompt": -1, "completion": -1}),
        node_model(sats_pricing={"prompt": True, "completion": 0.002}),
        node_model(sats_pricing={"prompt": 1e300, "completion": 0.002}),
        node_model(sats_pricing={"prompt": float("nan"), "completion": 0.002}),
        node_model(sats_pricing={"prompt": 10**400, "completion": 0.002}),
        node_model(sats_pricing={"prompt": 0.001, "completion": 0.002, "input_cache_read": "x"}),
        "m",
        None,
    ],
)
def test_what_is_no_model_with_a_price_is_left_out(entry: Any) -> None:
    assert read_priced({"data": [entry, node_model(id="other")]}, anything) == (PRICED._replace(id="other"),)


def test_a_price_in_usd_alone_is_converted_as_the_others_are() -> None:
    usd = {"pricing": {"prompt": 0.000002, "completion": 0.000004}}
    listed = [
        node_model(id="usd", sats_pricing=None, **usd),
        node_model(pricing={"prompt": 0.000001, "completion": 2e-6}),
    ]
    assert read_priced({"data": listed}, anything) == (
        ListedModel("usd", (), Rates(Decimal(2), Decimal(4), Decimal(0))),
        PRICED,
    )


def test_an_exchange_rate_that_is_none_prices_nothing() -> None:
    listed = [
        node_model(pricing={"prompt": 1e-300, "completion": 1e-300}),
        node_model(id="usd", sats_pricing=None, pricing={"prompt": 1, "completion": 1}),
    ]
    assert read_priced({"data": listed}, anything) == (PRICED,)


def test_a_models_other_names_are_its_slug_and_its_aliases() -> None:
    entry = node_model(canonical_slug="v/m-2024-07-18", alias_ids=["m", "mm", 7, "", "mm", "secret"])
    (model,) = read_priced({"data": [entry]}, lambda name: name != "secret")
    assert model.names == ("v/m-2024-07-18", "mm")


def test_of_more_models_and_names_than_a_node_can_mean_some_are_read() -> None:
    many = [f"x/{number}" for number in range(3 * MOST_NAMES)]
    entry = {"sats_pricing": {"prompt": 0.001, "completion": 0.002}, "canonical_slug": "slug", "alias_ids": many}
    models = read_priced({"data": [entry | {"id": str(number)} for number in range(2 * MOST_PRICED)]}, anything)
    assert len(models) == MOST_PRICED
    assert {len(model.names) for model in models} == {MOST_NAMES}


@pytest.mark.parametrize(
    "document", [None, 5, "x", {}, {"data": 5}, {"data": {"a": 1}}, [], {"data": [[], {"id": {}}]}]
)
def test_what_is_no_list_has_no_models(document: Any) -> None:
    assert read_ids(document, anything) == ()
    assert read_priced(document, anything) == ()


COSTS = {"prompt": 0.001, "completion": 0.002, "max_cost": 10.0, "max_completion_cost": 4.0, "max_prompt_cost": 6.0}


def terms(costs: dict[str, Any] = COSTS, **fields: Any) -> ReservationTerms | None:
    (model,) = read_priced({"data": [node_model(sats_pricing=costs, **fields)]}, anything)
    return model.terms


@pytest.mark.parametrize(
    ("fields", "longest_prompt"),
    [
        ({"top_provider": {"context_length": 5000, "max_completion_tokens": 1000}, "context_length": 9000}, 4.0),
        ({"top_provider": {"context_length": 5000, "max_completion_tokens": None}}, 5.0),
        ({"top_provider": {"context_length": None, "max_completion_tokens": 1000}}, 0.0),
        ({"top_provider": {"context_length": 500, "max_completion_tokens": 1000}}, 0.0),
        ({"top_provider": {"context_length": None}, "context_length": 9000}, 9.0),
        ({"top_provider": None, "context_length": 9000}, 9.0),
        ({"top_provider": "x", "context_length": True}, 6.0),
        ({}, 6.0),
    ],
)
def test_what_is_reserved_for_a_model_goes_by_its_costs_and_its_longest_prompt(
    fields: dict[str, Any], longest_prompt: float
) -> None:
    expected = ReservationTerms(9900, longest_prompt * 0.99, 4.0 * 0.99, 0.001, 0.002)
    assert terms(**fields) == pytest.approx(expected)


@pytest.mark.parametrize("odd", ["max_cost", "max_completion_cost", "max_prompt_cost"])
@pytest.mark.parametrize("cost", [None, "4", -1, float("nan"), True])
def test_what_is_reserved_is_unknown_where_a_cost_is_none(odd: str, cost: Any) -> None:
    assert terms({**COSTS, odd: cost}) is None


def test_a_cost_that_is_not_said_follows_from_the_lengths() -> None:
    prices = {"prompt": 0.001, "completion": 0.002}
    top = {"context_length": 5000, "max_completion_tokens": 1000}
    assert terms(prices) is None
    assert terms(prices, top_provider=top) == pytest.approx(ReservationTerms(5940, 3.96, 1.98, 0.001, 0.002))
    assert terms(prices, context_length=5000) == pytest.approx(ReservationTerms(14_850, 4.95, 9.9, 0.001, 0.002))


WILD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["id", "name", "data", "sats_pricing", "pricing", "prompt", "completion", "alias_ids"]),
            inner,
            max_size=5,
        ),
    ),
)


@given(WILD)
def test_no_list_is_a_fault(document: Any) -> None:
    for read in (read_ids, read_priced):
        models = read(document, anything)
        assert all(model.id.isprintable() for model in models)

"""What a request has cost and may have cost, attempt by attempt: what budgets count and the row shows."""

from __future__ import annotations

import pytest

from arbstr.engine.claims import Bounds
from arbstr.engine.spend import SpendTracker
from arbstr.errors import AttemptError
from arbstr.types import Doubt, Usage
from tests.support.engine_builders import provider

RATES = provider("alpha", 10, 30, base_fee=1).rates_for("gpt-4o")
BOUNDS = Bounds(prompt=1000, sent=4000, answer=1000)
BUSY = AttemptError("status", "HTTP 500: busy", status=500, retryable=True)
LATE = AttemptError("timeout", "no answer within 9 s", sent=True)
REFUSED = AttemptError("connect", "connection failed: refused", retryable=True)
CLOSED = AttemptError("connect", "connection failed: closed without a response", retryable=True, sent=True)
USELESS = AttemptError("bad_response", "HTTP 200 whose body is not a JSON object", status=200)


@pytest.fixture
def spend() -> SpendTracker:
    return SpendTracker()


def price(spend: SpendTracker, usage: Usage | None, charged_msats: int | None, *, complete: bool = True) -> None:
    spend.price(RATES, usage, charged_msats, BOUNDS, complete=complete)


def failed(spend: SpendTracker, *errors: AttemptError) -> None:
    for error in errors:
        spend.begin_attempt(900.5)
        spend.end_attempt(error, error.status)


@pytest.mark.parametrize(("charged_msats", "spent_msats"), [(None, 26_000), (30_001, 30_001), (0, 26_000)])
def test_what_was_charged_is_spent_or_what_the_rates_say_if_that_is_more(
    spend: SpendTracker, charged_msats: int | None, spent_msats: int
) -> None:
    spend.begin_attempt(900.5)
    price(spend, Usage(1000, 500), charged_msats)
    assert spend.spent_msats == spent_msats


@pytest.mark.parametrize(
    ("error", "spent_msats"), [(BUSY, 0), (REFUSED, 0), (CLOSED, 901), (LATE, 901), (USELESS, 901)], ids=str
)
def test_what_may_have_been_charged_is_spent_as_expected(
    spend: SpendTracker, error: AttemptError, spent_msats: int
) -> None:
    assert spend.spent_msats == 0
    spend.begin_attempt(900.5)
    assert spend.spent_msats == 901  # the provider is at work
    spend.end_attempt(error, error.status)
    assert (spend.spent_msats, spend.may_have_cost) == (spent_msats, spent_msats > 0)


@pytest.mark.parametrize(("charged_msats", "spent_msats"), [(None, 901), (0, 901), (455, 455)])
def test_without_usage_a_charge_of_nothing_says_nothing(
    spend: SpendTracker, charged_msats: int | None, spent_msats: int
) -> None:
    spend.begin_attempt(900.5)
    price(spend, None, charged_msats)
    spend.end_attempt(None, 200)
    assert spend.spent_msats == spent_msats
    assert not spend.may_have_cost  # that is said of failures only


def test_a_refusal_of_the_request_itself_costs_nothing(spend: SpendTracker) -> None:
    spend.begin_attempt(900.5)
    price(spend, None, None)
    spend.end_attempt(None, 418)
    assert spend.spent_msats == 0


def test_who_answered_is_paid_besides_those_that_may_have_charged_before(spend: SpendTracker) -> None:
    failed(spend, LATE, BUSY, LATE)
    spend.begin_attempt(900.5)
    price(spend, Usage(1000, 500), None)
    spend.end_attempt(None, 200)
    assert (spend.spent_msats, spend.doubtful_msats) == (26_000 + 2 * 901, 2 * 901)


def test_a_stream_that_breaks_off_after_its_usage_is_spent_once(spend: SpendTracker) -> None:
    spend.begin_attempt(900.5)
    price(spend, Usage(1000, 500), None)
    spend.end_attempt(USELESS, 200)
    assert spend.spent_msats == 26_000


@pytest.mark.parametrize(("complete", "cost_msats"), [(True, 0), (False, 26_000)])
def test_a_charge_of_zero_counts_only_if_the_response_is_complete(
    spend: SpendTracker, complete: bool, cost_msats: int
) -> None:
    spend.begin_attempt(900.5)
    price(spend, Usage(1000, 500), 0, complete=complete)
    assert (spend.cost_msats, spend.charged_msats, spend.list_cost_msats) == (cost_msats, 0, 26_000)


def test_an_attempt_that_no_provider_can_have_seen_costs_nothing(spend: SpendTracker) -> None:
    failed(spend, LATE)
    spend.begin_attempt(900.5)
    spend.drop_attempt()
    assert (spend.doubtful_msats, spend.in_flight) == (901, False)


# --- what a balance will tell


def asked(spend: SpendTracker, account: str | None = "alpha") -> None:
    spend.begin_attempt(900.5, account)


def test_while_an_attempt_is_in_flight_its_charge_is_in_doubt(spend: SpendTracker) -> None:
    asked(spend)
    assert spend.doubts == (Doubt("alpha", 901),)
    spend.drop_attempt()
    assert not spend.doubts


def test_without_a_balance_nothing_will_be_known(spend: SpendTracker) -> None:
    asked(spend, None)
    spend.end_attempt(LATE, None)
    assert spend.doubts == ()


@pytest.mark.parametrize(
    ("charged_msats", "usage", "doubts"),
    [
        (455, Usage(1000, 500), ()),
        (455, None, ()),
        (0, Usage(1000, 500), (Doubt("alpha", 26_000, 0, answered=True),)),
        (None, Usage(1000, 500), (Doubt("alpha", 26_000, 26_000, answered=True),)),
        (None, None, (Doubt("alpha", 901, 0, answered=True),)),
    ],
)
def test_a_charge_that_is_not_stated_is_in_doubt(
    spend: SpendTracker, charged_msats: int | None, usage: Usage | None, doubts: tuple[Doubt, ...]
) -> None:
    asked(spend)
    price(spend, usage, charged_msats)
    spend.end_attempt(None, 200)
    assert spend.doubts == doubts


def test_a_charge_that_can_not_be_true_is_in_doubt(spend: SpendTracker) -> None:
    asked(spend)
    price(spend, Usage(10, 5), 10**9)
    spend.end_attempt(None, 200)
    assert spend.doubts == (Doubt("alpha", 1250, spend.cost_msats or 0, answered=True),)


def test_refusals_leave_no_doubt(spend: SpendTracker) -> None:
    for error in (BUSY, REFUSED):
        asked(spend)
        spend.end_attempt(error, error.status)
    asked(spend)
    price(spend, None, None)
    spend.end_attempt(None, 418)
    assert spend.doubts == ()


def test_attempts_at_one_provider_are_one_doubt(spend: SpendTracker) -> None:
    for error in (CLOSED, LATE):
        asked(spend)
        spend.end_attempt(error, None)
    asked(spend, "beta")
    price(spend, Usage(1000, 500), 30_000)
    spend.end_attempt(None, 200)
    assert spend.doubts == (Doubt("alpha", 1802),)

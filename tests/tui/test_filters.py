"""The filter language."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.tui.fakes import NOON, Traffic
from tui.filters import Query, parse
from tui.rows import Flight, row_of


def test_every_kind_of_term_is_understood() -> None:
    query = parse("model:GPT provider:alpha status:error policy:code >5sats timed out")
    assert query == Query("gpt", "alpha", "code", success=False, min_cost_msats=5000, texts=("timed", "out"))


def test_costs_may_have_decimals_and_leave_the_unit_out() -> None:
    assert parse(">0.5").min_cost_msats == 500
    assert parse(">=2sats").min_cost_msats == 2000


def test_what_is_not_understood_is_named_and_left_out() -> None:
    assert parse("status:maybe").problems == ("status is ok or error",)
    assert parse(">lots").problems == ("a cost looks like >5sats",)
    assert not parse("status:maybe")


def test_half_typed_terms_are_no_problem() -> None:
    assert parse("model: status: >").problems == ()
    assert not parse("model: status: >")


@given(st.text(max_size=60))
def test_nothing_typed_can_break_it(typed: str) -> None:
    query = parse(typed)
    query.matches(row_of(Flight("id", NOON, "gpt-4o", streaming=True, path=[])))
    query.to_filter(["gpt-4o"], [], [])


def test_parts_become_the_names_that_contain_them() -> None:
    where = parse("model:gpt >5sats status:ok").to_filter(["gpt-4o", "gpt-4o-mini", "claude"], ["alpha"], [])
    assert where.models == ("gpt-4o", "gpt-4o-mini")
    assert (where.providers, where.success, where.min_cost_msats) == (None, True, 5000)
    assert parse("model:zzz").to_filter(["gpt-4o"], [], []).models == ()


def test_rows_match_by_all_terms() -> None:
    traffic = Traffic(5)
    rows = [row_of(traffic.request(NOON)[1].record) for _ in range(200)]
    errors = [row for row in rows if parse("status:error").matches(row)]
    assert errors
    assert all(row.state == "failed" for row in errors)
    dear = [row for row in rows if parse("model:gpt >20sats provider:beta").matches(row)]
    assert dear
    assert all("gpt" in row.model and row.cost_msats >= 20_000 and row.path[-1] == "beta" for row in dear)
    by_text = [row for row in rows if parse("llama").matches(row)]
    assert {row.model for row in by_text} == {"llama-3.3-70b"}


def test_every_word_must_occur_somewhere_in_whatever_order() -> None:
    traffic = Traffic(5)
    rows = [row_of(traffic.request(NOON)[1].record) for _ in range(200)]
    found = [row for row in rows if parse("beta gpt-4o").matches(row)]
    assert found
    assert all("gpt-4o" in row.model and "beta" in row.path for row in found)
    assert found == [row for row in rows if parse("gpt-4o beta").matches(row)]
    assert parse("gpt-4o beta").to_filter([], [], []).texts == ("gpt-4o", "beta")


def test_running_requests_have_no_status_to_match() -> None:
    row = row_of(Flight("id", NOON, "gpt-4o", streaming=True, path=["alpha"]))
    assert not parse("status:ok").matches(row)
    assert not parse("status:error").matches(row)
    assert parse("model:gpt provider:alpha").matches(row)

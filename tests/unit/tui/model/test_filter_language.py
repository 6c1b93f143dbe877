"""The filter language."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.clock import to_ms
from tests.support.dashboard_fakes import NOON, Traffic, matches_filter
from tui.model.filter_language import FIELDS, parse, term
from tui.model.filter_query import NAMES, Choice, Query, Span
from tui.model.request_row import InFlightRequest, RequestRow, row_of

KNOWN = {"model": ["gpt-4o", "gpt-4o-mini", "claude"], "provider": ["alpha", "beta"], "policy": ["code", "chat"]}


def rows() -> list[RequestRow]:
    traffic = Traffic(5)
    return [row_of(traffic.request(NOON)[1].record) for _ in range(300)]


def test_every_kind_of_term_is_understood() -> None:
    query = parse('model:GPT -provider:alpha status:502 policy:- kind:stream >5sats <2s "timed out" -again')
    assert query == Query(
        {
            "model": Choice(("gpt",)),
            "provider": Choice((), ("alpha",)),
            "status": Choice(("502",)),
            "policy": Choice(("-",)),
            "kind": Choice(("stream",)),
        },
        cost=Span(least=5001),
        took=Span(most=1999),
        texts=("timed out",),
        without=("again",),
    )
    assert query.complete


@pytest.mark.parametrize(
    ("typed", "span"),
    [
        (">5sats", Span(5001)),
        (">5", Span(5001)),
        (">= 5", Span(5000)),
        (">5 sats", Span(5001)),
        ("> 5 SATS", Span(5001)),
        ("<1sats", Span(None, 999)),
        ("<=1.5sat", Span(None, 1500)),
        (">1,000", Span(1_000_001)),
        (">500msats", Span(501)),
        (">.0005", Span(1)),
        (">2 <3", Span(2001, 2999)),
        (">99999999999999999999999", Span(2**62)),
    ],
)
def test_costs_are_compared(typed: str, span: Span) -> None:
    query = parse(typed)
    assert query.complete
    assert (query.cost.most, min(query.cost.least or 0, 2**62)) == (span.most, span.least or 0)


@pytest.mark.parametrize(
    ("typed", "span"),
    [(">2s", Span(2001)), ("<200ms", Span(None, 199)), (">=1.5 s", Span(1500)), ("<=2min", Span(None, 120_000))],
)
def test_times_are_compared(typed: str, span: Span) -> None:
    query = parse(typed)
    assert query.complete
    assert (query.took, query.cost) == (span, Span())


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("foo:bar", "model: provider: policy: client: dialect: status: kind:"),
        ("models:gpt", "did you mean model:?"),
        ("latency:5", "latency: is no field"),
        ("since:yesterday", "2025-03-14T13"),
        ("until:2025-02-30", "2025-03-14T13"),
        ("-since:2025-03-14", "leave the minus out"),
        ("status:maybe", "ok, error, left, or a number like 502"),
        ("status:999", "a number like 502"),
        ("status:-", "a number like 502"),
        ("kind:xml", "stream or json"),
        (">lots", ">5sats"),
        (">5apples", ">5sats"),
        (">1.2.3", ">5sats"),
        ("latency>1s", ">2s"),
        ("=5", ">5sats"),
        ("->5", "turn the sign around"),
        ("!gpt", "-model:gpt"),
        ("gpt|claude", "model:a model:b"),
        ("model:gpt|claude", "model:a model:b"),
        ("model:gpt,claude", "model:a model:b"),
        ("gpt OR claude", "model:a model:b"),
        ("NOT gpt", "-model:gpt"),
        ("model:gpt*", "without stars"),
    ],
)
def test_what_means_nothing_is_named_with_what_can_be_typed(typed: str, says: str) -> None:
    query = parse(typed)
    assert says in " ".join(query.problems)
    assert not query.complete


def test_what_means_nothing_is_left_out_and_the_rest_holds() -> None:
    query = parse("model:gpt foo:bar")
    assert query.fields == {"model": Choice(("gpt",))}
    assert not parse("foo:bar")


@pytest.mark.parametrize("typed", ["model:", "model:gpt status:", ">", ">=", "-", 'policy:""', "-kind:"])
def test_a_term_that_has_only_begun_is_no_problem_yet_but_not_complete(typed: str) -> None:
    query = parse(typed)
    assert query.hint
    assert not query.problems
    assert not query.complete


@pytest.mark.parametrize(
    "typed", ["http://x", "127.0.0.1:8080", "12:30", '"foo:bar"', '"gpt|4"', '"!"', "502", "left", "a=b"]
)
def test_plain_text_stays_text(typed: str) -> None:
    query = parse(typed)
    assert query.complete
    assert query.texts == (typed.strip('"'),)


@given(st.text(max_size=60))
def test_no_text_typed_breaks_the_filter_language(typed: str) -> None:
    query = parse(typed)
    query.matches(row_of(InFlightRequest("id", NOON, "gpt-4o", streaming=True, path=[])))
    query.to_filter(KNOWN)


terms = st.sampled_from(
    [
        *(
            "model:gpt",
            'model:"gpt-4o"',
            "model:4o",
            "-model:mini",
            "provider:alpha",
            "provider:beta",
            "-provider:alpha",
            "policy:code",
        ),
        *(
            "policy:-",
            "-policy:-",
            "-policy:code",
            "provider:-",
            "status:ok",
            "status:error",
            "status:left",
            "status:502",
        ),
        *(
            "client:ci",
            "client:-",
            "-client:ci",
            "dialect:chat",
            "-dialect:mess",
            "status:5",
            "-status:ok",
            "-status:error",
            "-status:502",
            "kind:stream",
            "kind:json",
            "-kind:stream",
        ),
        *("since:2025-03-14T14:02", "since:2025-03-15", "until:2025-03-14", "until:2025-03-14T13"),
        *("session:-", "-session:-", "session:ab", "session:1f3a", "-session:ab"),
        *(">5sats", "<20sats", ">300ms", "<2s", "all", "-refused", '"providers failed"', "-failed"),
    ]
)


@given(st.lists(terms, max_size=4))
def test_the_feed_and_the_ledger_understand_a_filter_alike(typed: list[str]) -> None:
    query = parse(" ".join(typed))
    traffic = Traffic(5)
    records = [traffic.request(NOON)[1].record for _ in range(60)]
    records = [
        replace(
            each,
            client=(None, "ci", "me")[n % 3],
            dialect=("chat", "messages")[n % 2],
            session=(None, "abcd", "1f3a", "0000")[n % 4],
        )
        for n, each in enumerate(records)
    ]
    known: dict[str, set[str]] = {
        name: {value for record in records if (value := getattr(record, name)) is not None} for name in NAMES
    }
    where = query.to_filter(known)
    for record in records:
        assert query.matches(row_of(record)) == matches_filter(record, where), (typed, record)


@pytest.mark.parametrize(
    ("typed", "began", "ended"),
    [
        ("since:2025-03-14 until:2025-03-14", "2025-03-14T00:00:00", "2025-03-15T00:00:00"),
        ("since:2025-03-14T13 until:2025-03-14T13Z", "2025-03-14T13:00:00", "2025-03-14T14:00:00"),
        ("since:2025-03-14t13:05 until:2025-03-14T13:05:07z", "2025-03-14T13:05:00", "2025-03-14T13:05:08"),
        ("since:2025-03-01 since:2025-03-02 until:2025-03-03 until:2025-03-09", "2025-03-02", "2025-03-04"),
    ],
)
def test_times_are_periods_in_utc_from_the_beginning_of_one_to_the_end_of_another(
    typed: str, began: str, ended: str
) -> None:
    since, until = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (began, ended))
    where = parse(typed).to_filter({})
    assert (where.since_ms, where.until_ms) == (to_ms(since), to_ms(until) - 1)


def test_a_row_is_matched_by_when_it_was_received() -> None:
    row = row_of(Traffic().request(NOON)[1].record)  # 14:02:11
    assert parse("since:2025-03-14T14:02 until:2025-03-14").matches(row)
    assert not parse("since:2025-03-14T14:03").matches(row)
    assert not parse("until:2025-03-14T13").matches(row)


def test_parts_become_the_names_that_contain_them() -> None:
    where = parse("model:gpt >=5sats status:ok").to_filter(KNOWN)
    assert where.models == ("gpt-4o", "gpt-4o-mini")
    assert (where.providers, where.success, where.statuses, where.min_cost_msats) == (None, True, None, 5000)
    assert parse("model:zzz").to_filter(KNOWN).models == ()
    assert parse("policy:-").to_filter(KNOWN).policies == (None,)
    assert parse("policy:none").to_filter(KNOWN).policies == (None,)
    assert parse("-policy:code").to_filter(KNOWN).policies == ("chat", None)


@pytest.mark.parametrize(
    ("typed", "success", "statuses", "without"),
    [
        ("status:ok", True, None, ()),
        ("status:error", False, None, ()),
        ("status:failed", False, None, ()),
        ("-status:ok", False, None, ()),
        ("-status:error", True, None, ()),
        ("status:502", False, (502,), ()),
        ("status:502 status:left", False, (499, 502), ()),
        ("status:ok status:502", None, (200, 502), ()),
        ("status:error -status:left", False, None, (499,)),
        ("-status:left", None, None, (499,)),
        ("status:ok status:error", None, None, ()),
        ("status:ok -status:ok", None, (), ()),
        ("kind:stream -kind:stream", None, (), ()),
    ],
)
def test_statuses_as_a_question(
    typed: str, success: bool | None, statuses: tuple[int, ...] | None, without: tuple[int, ...]
) -> None:
    where = parse(typed).to_filter(KNOWN)
    assert (where.success, where.statuses, where.without_statuses) == (success, statuses, without)


def test_rows_match_by_all_terms() -> None:
    errors = [row for row in rows() if parse("status:error").matches(row)]
    assert errors
    assert all(row.state == "failed" for row in errors)
    dear = [row for row in rows() if parse("model:gpt >20sats provider:beta").matches(row)]
    assert dear
    assert all("gpt" in row.model and (row.cost_msats or 0) > 20_000 and row.path[-1] == "beta" for row in dear)
    by_text = [row for row in rows() if parse("llama").matches(row)]
    assert {row.model for row in by_text} == {"llama-3.3-70b"}


def test_a_field_named_twice_is_either() -> None:
    found = {row.model for row in rows() if parse("model:llama model:claude").matches(row)}
    assert found == {"llama-3.3-70b", "claude-3.5-sonnet"}


def test_a_session_is_named_by_its_first_digits() -> None:
    digits = "00112233aabbccdd"
    record = Traffic().request(NOON)[1].record
    of_it, of_none = row_of(replace(record, session=digits)), row_of(replace(record, session=None))
    for typed in (f'session:"{digits.upper()}"', "session:0011", "session:ff session:0011", "-session:-"):
        assert parse(typed).matches(of_it)
        assert not parse(typed).matches(of_none)
    for typed in ("session:-", "-session:0011"):
        assert parse(typed).matches(of_none)
        assert not parse(typed).matches(of_it)
    assert parse("session:ff session:0011").to_filter({}).sessions == ("ff", "0011")
    assert "16 digits" in " ".join(parse("session:gpt").problems)


def test_a_quoted_name_is_the_whole_name() -> None:
    known = {"model": ["gpt-4o", "GPT-4o", "gpt-4o-mini"]}
    assert parse('model:"gpt-4o"').to_filter(known).models == ("gpt-4o", "GPT-4o")
    assert parse('-model:"gpt-4o"').to_filter(known).models == ("gpt-4o-mini", None)
    assert parse("model:gpt-4o").to_filter(known).models == ("gpt-4o", "GPT-4o", "gpt-4o-mini")


@pytest.mark.parametrize("name", ["gpt-4o", "a b", "a,b|c", "-", "=x", 'say "hi"', "(none)"])
def test_the_term_for_a_name_finds_it(name: str) -> None:
    query = parse(term("model", name))
    assert query.complete
    wanted = None if name == "(none)" else name
    assert query.to_filter({"model": [name, "other"]}).models == (wanted,)


def test_every_word_must_occur_somewhere_in_whatever_order() -> None:
    found = [row for row in rows() if parse("beta gpt-4o").matches(row)]
    assert found
    assert all("gpt-4o" in row.model and "beta" in row.path for row in found)
    assert found == [row for row in rows() if parse("gpt-4o beta").matches(row)]


def test_running_requests_have_no_status_cost_or_length_to_match() -> None:
    row = row_of(InFlightRequest("id", NOON, "gpt-4o", streaming=True, path=["alpha"]))
    for typed in ("status:ok", "status:error", "-status:ok", ">0sats", "<5sats", ">1ms"):
        assert not parse(typed).matches(row)
    assert parse("model:gpt provider:alpha kind:stream policy:-").matches(row)


def test_every_field_is_explained_when_its_value_is_missing() -> None:
    for name in FIELDS:
        assert name in parse(f"{name}:").hint

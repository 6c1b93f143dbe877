"""Answers about any ledger, over any window, under any filter: the same as from looking at every row."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import product
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arbstr.ledger import session_groups
from arbstr.ledger.latency_histogram import exact_percentiles
from arbstr.ledger.model import Aggregate, Entry, Filter, GroupBy, Order, Sort
from arbstr.ledger.queries import Queries
from arbstr.types import RequestRecord
from tests.support.effort import examples
from tests.support.ledger_builders import DAY, HOUR, MINUTE, NOON, record
from tests.support.ledgers import Ledgers, asked, opened, write_rows

MODELS = ("gpt-4o", "GPT-4O", "claude", "Ünïcode")
PROVIDERS = (None, "alpha", "Beta")
POLICIES = (None, "code")
CLIENTS = (None, "laptop", "Büro")
SESSIONS = (None, "0123456789abcdef", "fedcba9876543210")
DIALECTS = ("chat", "messages")

instants = st.builds(
    lambda hour, offset: NOON + hour * HOUR + offset,
    st.integers(-60, 60),
    st.one_of(st.sampled_from([0, 1, -1, HOUR - 1]), st.integers(0, HOUR)),
)


def some_rows(seed: int, size: int) -> list[RequestRecord]:
    """Requests of five days, many of them at the same moments and with the same figures."""
    random = Random(seed)

    def amount() -> int | None:
        return random.choice([None, 0, 1_000_000, random.randint(0, 2_000_000)])

    return [
        record(
            received_at_ms=NOON + random.randint(-60, 60) * HOUR + random.choice([0, -1, 1, random.randint(0, HOUR)]),
            model=random.choice(MODELS),
            provider=random.choice(PROVIDERS),
            policy=random.choice(POLICIES),
            streaming=random.random() < 0.5,
            success=random.random() < 0.8,
            latency_ms=random.choice([random.randint(0, 60), random.randint(0, 200_000)]),
            stream_duration_ms=random.choice([None, random.randint(0, 10_000)]),
            error_status=random.choice([None, 400, 404, 429, 499, 502]),
            input_tokens=amount(),
            output_tokens=amount(),
            cost_msats=amount(),
            provider_cost_msats=amount(),
            list_cost_msats=amount(),
            implausible=random.choice([None, None, "charge", "charge,tokens"]),
            doubtful_msats=random.choice([0, 0, 901]),
            client=random.choice(CLIENTS),
            session=random.choice(SESSIONS),
            dialect=random.choice(DIALECTS),
            dearest_msats=amount(),
            median_msats=amount(),
            error_message=random.choice([None, "connection refused", "100 % of Everything"]),
        )
        for _ in range(size)
    ]


# Many rows are wanted, and wanted varied: more than hypothesis would draw one by one.
ledger_rows = st.builds(some_rows, st.integers(0, 10**6), st.sampled_from([0, 30, 100, 400]))


def sometimes(*values: object) -> st.SearchStrategy[Any]:
    """Most often None: filters that leave something over."""
    return st.sampled_from([*(None,) * 6 * len(values), *values])


filters = st.builds(
    Filter,
    since_ms=st.one_of(st.none(), st.just(NOON - 2 * DAY), instants),
    until_ms=st.one_of(st.none(), st.just(NOON + 2 * DAY + 1), instants),
    model=sometimes("gpt-4o", "GPT-4o", "ünïcode", "nobody"),
    provider=sometimes("ALPHA"),
    policy=sometimes("Code"),
    success=sometimes(True, False),
    streaming=sometimes(True, False),
    texts=st.sampled_from([(), (), (), ("REFUSED",), ("%",), ("refused", "aLph")]),
    min_cost_msats=sometimes(1_000_000),
    models=sometimes((), ("claude", "GPT-4O")),
    policies=sometimes((None,), ("CODE", None), ("code",)),
    clients=sometimes((None,), ("laptop", None)),
    dialects=sometimes((), ("CHAT",)),
    without_texts=st.sampled_from([(), (), (), ("refused",), ("%", "gpt")]),
    max_cost_msats=sometimes(1_000_000),
    min_took_ms=sometimes(300),
    max_took_ms=sometimes(300, 5000),
    statuses=sometimes((), (200,), (502, 499), (200, 404)),
    without_statuses=st.sampled_from([(), (), (), (502,), (200,)]),
    client=sometimes("LAPTOP", "bÜRO", "nobody"),
    session=sometimes("0123456789ABCDEF"),
    dialect=sometimes("Messages", "embeddings"),
    sessions=sometimes((), (None,), ("0123",), ("FEDC", None), ("0123456789abcdef", "f"), ("01", "0123")),
    without_sessions=st.sampled_from([(), (), (), (None,), ("0123",)]),
)
SORTS: list[Sort] = ["timestamp", "cost_sats", "latency_ms"]
ORDERS: list[Order] = ["asc", "desc"]
GROUPS: list[GroupBy | None] = [None, *get_args(GroupBy)]


def matches(where: Filter, row: RequestRecord) -> bool:
    """The filter, said once more in plain words."""

    def named(name: str | None, wanted: str | None) -> bool:
        return wanted is None or (name is not None and name.casefold() == wanted.casefold())

    texts = (row.model, row.provider, row.policy, row.request_id, row.error_message)
    return (
        (where.since_ms is None or row.received_at_ms >= where.since_ms)
        and (where.until_ms is None or row.received_at_ms <= where.until_ms)
        and named(row.model, where.model)
        and named(row.provider, where.provider)
        and named(row.policy, where.policy)
        and named(row.client, where.client)
        and named(row.session, where.session)
        and named(row.dialect, where.dialect)
        and (where.sessions is None or begins(row.session, where.sessions))
        and not begins(row.session, where.without_sessions)
        and where.success in (None, row.success)
        and where.streaming in (None, row.streaming)
        and among(row.model, where.models)
        and all(any(wanted.casefold() in (text or "").casefold() for text in texts) for wanted in where.texts)
        and not any(wanted.casefold() in (text or "").casefold() for text in texts for wanted in where.without_texts)
        and among(row.policy, where.policies)
        and among(row.client, where.clients)
        and among(row.dialect, where.dialects)
        and within(row.cost_msats, where.min_cost_msats, where.max_cost_msats)
        and within(max(row.latency_ms, row.stream_duration_ms or 0), where.min_took_ms, where.max_took_ms)
        and (where.statuses is None or status(row) in where.statuses)
        and status(row) not in where.without_statuses
    )


def begins(session: str | None, wanted: tuple[str | None, ...]) -> bool:
    return any(session is None if each is None else (session or "").startswith(each.lower()) for each in wanted)


def among(name: str | None, wanted: tuple[str | None, ...] | None) -> bool:
    return wanted is None or (name and name.casefold()) in {each and each.casefold() for each in wanted}


def within(figure: int | None, least: int | None, most: int | None) -> bool:
    if figure is None:
        return least is None and most is None
    return (least is None or figure >= least) and (most is None or figure <= most)


def status(row: RequestRecord) -> int:
    return 200 if row.success else row.error_status or 0


def summed(rows: list[RequestRecord]) -> Aggregate:
    latencies = [row.latency_ms for row in rows]
    p50, p95, p99 = exact_percentiles(latencies, (50, 95, 99))
    priced = [(row, row.cost_msats) for row in rows if row.cost_msats is not None]
    return Aggregate(
        total=len(rows),
        success=sum(row.success for row in rows),
        streaming=sum(row.streaming for row in rows),
        cost_msats=sum(cost for _, cost in priced),
        input_tokens=sum(row.input_tokens or 0 for row in rows),
        output_tokens=sum(row.output_tokens or 0 for row in rows),
        avg_latency_ms=sum(latencies) / len(rows) if rows else 0.0,
        p50_latency_ms=p50,
        p95_latency_ms=p95,
        p99_latency_ms=p99,
        saved_vs_dearest_msats=sum(row.dearest_msats - cost for row, cost in priced if row.dearest_msats is not None),
        saved_vs_median_msats=sum(row.median_msats - cost for row, cost in priced if row.median_msats is not None),
        list_cost_msats=sum(cost if row.list_cost_msats is None else row.list_cost_msats for row, cost in priced),
    )


def without_percentiles(figures: Aggregate) -> tuple[object, ...]:
    return tuple(getattr(figures, name) for name in Aggregate.__slots__ if not name.startswith("p"))


def assert_same(found: Aggregate, wanted: Aggregate) -> None:
    assert without_percentiles(found) == without_percentiles(wanted)
    for name in ("p50_latency_ms", "p95_latency_ms", "p99_latency_ms"):
        assert abs(getattr(found, name) - getattr(wanted, name)) <= 0.02 * getattr(wanted, name)


def label(row: RequestRecord, group: GroupBy) -> str:
    match group:
        case "hour":
            return str(row.received_at_ms - row.received_at_ms % HOUR)
        case "day":
            return str(row.received_at_ms - row.received_at_ms % DAY)
    return getattr(row, group) or "(none)"


Opening = Callable[..., AbstractContextManager[Queries]]


@pytest.fixture(scope="module")
def ledger(ledgers: Ledgers) -> Opening:
    """Opens a ledger of these rows for queries."""

    @contextmanager
    def made(rows: list[RequestRecord], exact: int = 0) -> Iterator[Queries]:
        place = ledgers.place()
        asyncio.run(write_rows(place, rows))
        with asked(ledgers, place, exact) as questions:
            yield questions

    return made


@settings(max_examples=examples(12))
@given(rows=ledger_rows, wheres=st.lists(filters, min_size=1, max_size=4))
def test_sums_are_exact_and_percentiles_within_two_percent(
    ledger: Opening, rows: list[RequestRecord], wheres: list[Filter]
) -> None:
    with ledger(rows) as questions:
        for where in wheres:
            matching = [row for row in rows if matches(where, row)]
            for group in GROUPS:
                answer = questions.stats(where, group)
                assert_same(answer.overall, summed(matching))
                if group is None:
                    continue
                labels = {label(row, group) for row in matching}
                assert labels <= set(answer.groups)
                for name, figures in answer.groups.items():
                    assert_same(figures, summed([row for row in matching if label(row, group) == name]))


def order_key(sort: Sort) -> Callable[[RequestRecord], float]:
    return {
        "timestamp": lambda row: row.received_at_ms,
        "cost_sats": lambda row: -1 if row.cost_msats is None else row.cost_msats,
        "latency_ms": lambda row: row.latency_ms,
    }[sort]


def listed(rows: list[RequestRecord], where: Filter, sort: Sort, order: Order) -> list[str]:
    """Ids of matching rows in order: ties by when they were written, unknown costs last."""
    numbered = [(order_key(sort)(row), number, row) for number, row in enumerate(rows) if matches(where, row)]
    numbered.sort(key=lambda each: each[:2], reverse=order == "desc")
    numbered.sort(key=lambda each: sort == "cost_sats" and each[2].cost_msats is None)
    return [row.request_id for _, _, row in numbered]


def ids(entries: list[Entry]) -> list[str]:
    return [entry.request_id for entry in entries]


@settings(max_examples=examples(8))
@given(
    rows=ledger_rows,
    wheres=st.lists(filters, min_size=6, max_size=6),
    per_page=st.sampled_from([7, 25, 100]),
    read=st.sampled_from([1, 20, 10**9]),
)
def test_pages_put_together_are_the_matching_rows_in_order(
    ledger: Opening, rows: list[RequestRecord], wheres: list[Filter], per_page: int, read: int
) -> None:
    with ledger(rows) as questions, pytest.MonkeyPatch.context() as patch:
        patch.setattr("arbstr.ledger.paging._NEAR", 3)  # so that a few rows are deep
        patch.setattr("arbstr.ledger.paging._SAMPLE", 2)  # of which some tell where a page lies,
        patch.setattr("arbstr.ledger.paging._SPARE", 1)  # right as often as not
        patch.setattr("arbstr.ledger.paging._WALKED", 12)
        patch.setattr("arbstr.ledger.counting.READ", read)  # all are few, or hardly any, or none
        for where, (sort, order) in zip(wheres, product(SORTS, ORDERS), strict=True):
            wanted = listed(rows, where, sort, order)
            found: list[str] = []
            for number in range(1, len(wanted) // per_page + 3):
                page = questions.page(where, sort, order, number, per_page)
                assert page.total == len(wanted)
                assert len(page.entries) <= per_page
                found += ids(page.entries)
            assert found == wanted
            first = questions.slice(where, None, per_page, sort, order)
            assert ids(first) == wanted[:per_page], "the same without counting them"
            deep = questions.slice(where, None, per_page, sort, order, len(wanted) // 2)
            assert ids(deep) == wanted[len(wanted) // 2 :][:per_page]


@settings(max_examples=examples(8))
@given(rows=ledger_rows, where=filters, sort=st.sampled_from(SORTS), order=st.sampled_from(ORDERS))
def test_an_export_is_the_matching_rows_in_order(
    ledger: Opening, rows: list[RequestRecord], where: Filter, sort: Sort, order: Order
) -> None:
    with ledger(rows) as questions:
        wanted = listed(rows, where, sort, order)
        assert [found for chunk in questions.entries(where, sort, order) for found in ids(chunk)] == wanted
        assert questions.count(where) == len(wanted)


@settings(max_examples=examples(10))
@given(rows=ledger_rows, where=filters, limit=st.sampled_from([1, 7, 50]), many=st.booleans())
def test_slices_put_together_are_the_matching_rows_newest_first(
    ledger: Opening, rows: list[RequestRecord], where: Filter, limit: int, many: bool
) -> None:
    with ledger(rows) as questions, pytest.MonkeyPatch.context() as patch:
        if many:  # a few rows count as very many
            patch.setattr("arbstr.ledger.paging._GATHERED", 0)
            patch.setattr("arbstr.ledger.paging._WALKED", 3)
        found: list[str] = []
        before = None
        while part := questions.slice(where, before, limit):
            assert len(part) <= limit
            found += ids(part)
            before = part[-1]
        assert found == listed(rows, where, "timestamp", "desc")


@settings(max_examples=examples(10))
@given(rows=ledger_rows, where=filters)
def test_what_was_spent_is_what_was_charged_or_computed_whichever_is_more(
    ledger: Opening, rows: list[RequestRecord], where: Filter
) -> None:
    with ledger(rows) as questions:
        spent = sum(
            max(
                row.cost_msats or 0,
                row.list_cost_msats or 0,
                row.provider_cost_msats or 0 if row.implausible is None else 0,
            )
            + row.doubtful_msats
            for row in rows
            if matches(where, row)
        )
        assert questions.spent_msats(where) == spent


def test_a_name_that_stands_for_none_is_counted_with_those_that_have_none(ledger: Opening) -> None:
    with ledger([record(policy=None), record(policy="(none)"), record(policy="code")]) as questions:
        groups = questions.stats(Filter(), "policy").groups
    assert {name: figures.total for name, figures in groups.items()} == {"(none)": 2, "code": 1}


@pytest.mark.parametrize("exact", [0, 1000], ids=["from sums", "from rows"])
@pytest.mark.parametrize("nameless", [True, False], ids=["with rows of no session", "all of sessions"])
@pytest.mark.parametrize(
    "where",
    [Filter(), Filter(model="gpt-4o"), Filter(since_ms=NOON + 1)],
    ids=["all", "of a model that was refused too", "of a window"],
)
def test_of_sessions_the_dearest_have_names_and_the_rest_is_one_group(
    ledger: Opening, monkeypatch: pytest.MonkeyPatch, where: Filter, *, nameless: bool, exact: int
) -> None:
    monkeypatch.setattr(session_groups, "NAMED_SESSIONS", 2)
    costs = {"a" * 16: 5, "b" * 16: 7, "c" * 16: 6, "d" * 16: None} | ({None: 1} if nameless else {})
    rows = [
        record(session=session, cost_msats=cost, latency_ms=100 * n, received_at_ms=NOON + n * 2 * HOUR)
        for session, cost in costs.items()
        for n in range(1, 3)
    ]
    # Refused, so in no facet of its model.
    rows.append(record(session="a" * 16, cost_msats=1, success=False, error_status=404, received_at_ms=NOON + DAY))
    with ledger(rows, exact=exact) as questions:
        answer = questions.stats(where, "session")
    assert {name: figures.cost_msats for name, figures in answer.groups.items()} == {
        "(other)": 11,
        "b" * 16: 14,
        "c" * 16: 12,
        **({"(none)": 2} if nameless else {}),
    }
    assert sum(figures.total for figures in answer.groups.values()) == answer.overall.total == len(rows)
    assert answer.groups["(other)"].success == 4
    assert abs(answer.groups["b" * 16].p95_latency_ms - 200) <= 4


@settings(max_examples=examples(8))
@given(
    seed=st.integers(0, 10**6),
    windows=st.lists(st.tuples(instants, instants), min_size=1, max_size=6),
    named=st.sampled_from([1, 3, 10]),
)
def test_sessions_that_go_beyond_the_window_cost_what_their_rows_within_it_do(
    ledger: Opening, seed: int, windows: list[tuple[int, int]], named: int
) -> None:
    random = Random(seed)
    begins = {f"{number:016x}": NOON + random.randint(-60, 60) * HOUR for number in range(12)}
    rows = [
        record(
            session=(session := random.choice([None, *begins])),
            received_at_ms=begins.get(session or "", NOON) + random.randint(0, random.choice([1, 30]) * HOUR),
            cost_msats=random.choice([None, 0, random.randint(0, 1000)]),
            latency_ms=random.randint(0, 1000),
        )
        for _ in range(100)
    ]
    with ledger(rows) as questions, pytest.MonkeyPatch.context() as patch:
        patch.setattr(session_groups, "NAMED_SESSIONS", named)
        for since_ms, until_ms in windows:
            matching = [row for row in rows if since_ms <= row.received_at_ms <= until_ms]
            groups: dict[str, list[RequestRecord]] = {}
            for row in matching:
                groups.setdefault(row.session or "(none)", []).append(row)
            costs = {name: sum(row.cost_msats or 0 for row in group) for name, group in groups.items()}
            dearest = sorted(groups.keys() - {"(none)"}, key=lambda name: (-costs[name], name))
            for name in dearest[named:]:
                groups.setdefault("(other)", []).extend(groups.pop(name))
            answer = questions.stats(Filter(since_ms, until_ms), "session")
            assert answer.groups.keys() == groups.keys()
            for name, group in groups.items():
                assert_same(answer.groups[name], summed(group))


def test_a_series_has_every_hour_of_its_window_oldest_first(ledger: Opening) -> None:
    rows = [record(received_at_ms=NOON + 30 * MINUTE), record(received_at_ms=NOON + 3 * HOUR)]
    with ledger(rows) as questions:
        where = Filter(since_ms=NOON - HOUR + 1, until_ms=NOON + 4 * HOUR)
        series = questions.stats(where, "hour").groups
    assert list(series) == [str(NOON + hour * HOUR) for hour in range(-1, 5)]
    assert [figures.total for figures in series.values()] == [0, 1, 0, 0, 1, 0]


def test_small_sets_have_exact_percentiles(ledger: Opening) -> None:
    rows = [record(received_at_ms=NOON + n * HOUR, latency_ms=1000 + n) for n in range(100)]
    with ledger(rows, exact=1000) as questions:
        figures = questions.stats(Filter()).overall
    assert (figures.p50_latency_ms, figures.p95_latency_ms, figures.p99_latency_ms) == (1049, 1094, 1098)


def test_a_request_is_found_by_its_id_whatever_the_case(ledger: Opening) -> None:
    row = record()
    with ledger([row]) as questions:
        found = questions.request(row.request_id.upper())
        assert found is not None
        assert found.entry.request_id == row.request_id
        assert questions.request("nobody") is None


def test_names_ever_logged_are_known_whatever_the_case(ledger: Opening) -> None:
    with ledger([record(model="Ünïcode", provider=None)]) as questions:
        assert questions.known("model", "üNÏCODE")
        assert not questions.known("model", "unicode")
        assert not questions.known("provider", "alpha")


def test_rows_that_a_clock_stamped_ahead_are_counted_and_listed_where_the_window_ends_now(ledger: Opening) -> None:
    ahead = record(received_at_ms=NOON + 20_000 * DAY)
    rows = [record(received_at_ms=NOON - 2 * HOUR), ahead]
    now = Filter(since_ms=NOON - 3 * HOUR, until_ms=NOON, open_end=True)
    with ledger(rows) as questions:
        assert questions.stats(now).overall.total == 2
        assert [entry.request_id for entry in questions.page(now, "timestamp", "desc", 1, 20).entries] == [
            ahead.request_id,
            rows[0].request_id,
        ]
        assert questions.page(now, "cost_sats", "desc", 1, 20).total == 2
        series = questions.stats(now, "hour").groups
        assert [int(start) for start in series] == [*range(NOON - 3 * HOUR, NOON + 1, HOUR), ahead.received_at_ms]
        assert [figures.total for figures in series.values()] == [0, 1, 0, 0, 1]
        assert questions.stats(Filter(since_ms=NOON - 3 * HOUR, until_ms=NOON)).overall.total == 1


def test_a_text_is_looked_for_in_request_ids_from_four_characters_on(ledger: Opening) -> None:
    row = record(request_id="0a1b2c3d-1111-4111-8111-99999999beef", error_message="a beef of its own")
    other = record(request_id="00000000-1111-4111-8111-000000000000", model="beefy")
    with ledger([row, other]) as questions:
        for text, found in (("2C3D-11", [row]), ("beef", [other, row]), ("d-1", []), ("d-1111-4", [row])):
            where = Filter(texts=(text,))
            assert ids(questions.slice(where, None, 10)) == [each.request_id for each in found]
            assert questions.count(where) == len(found)
            assert questions.count(Filter(without_texts=(text,))) == 2 - len(found)
            assert questions.page(where, "cost_sats", "asc", 1, 10).total == len(found)


@pytest.mark.parametrize("bounds", [(None, 1), (1, None), (1, 1), (2, 1), (None, 0), (999, 1000), (0, None)])
def test_costs_are_counted_from_whichever_side_is_shorter(
    ledger: Opening, bounds: tuple[int | None, int | None]
) -> None:
    least, most = bounds
    costs = [None, 0, 0, 1, 1, 1, 2, 999, 1000, 1001]
    with ledger([record(cost_msats=cost, received_at_ms=NOON + n) for n, cost in enumerate(costs)]) as questions:
        where = Filter(min_cost_msats=least, max_cost_msats=most)
        wanted = [
            cost for cost in costs if cost is not None and (least or 0) <= cost <= (1e9 if most is None else most)
        ]
        assert questions.count(where) == len(wanted)
        assert len(questions.slice(where, None, 100)) == len(wanted)


def refusals(count: int, **changes: Any) -> list[RequestRecord]:
    """Requests for models that there are none of."""
    refused: dict[str, Any] = {"success": False, "error_status": 404, "provider": None, "cost_msats": None} | changes
    return [record(model=f"Made-up-{n}", received_at_ms=NOON + n * HOUR // 50, **refused) for n in range(count)]


@pytest.mark.parametrize("exact", [0, 1000], ids=["from sums", "from rows"])
def test_models_that_are_refused_are_found_by_their_names_all_the_same(ledger: Opening, exact: int) -> None:
    with ledger([record(), *refusals(120)], exact) as questions:
        everything = questions.stats(Filter(), "model")
        assert everything.overall.total == 121
        assert {name: figures.total for name, figures in everything.groups.items()} == {
            "gpt-4o": 1,
            **{f"Made-up-{n}": 1 for n in range(120)},
        }
        one = Filter(model="MADE-UP-77")
        assert questions.stats(one).overall.total == questions.count(one) == 1
        assert [entry.model for entry in questions.slice(one, None, 10)] == ["Made-up-77"]
        assert questions.page(one, "latency_ms", "asc", 1, 10).total == 1
        assert questions.count(Filter(models=("gpt-4o", "made-up-1"))) == 2
        assert questions.count(Filter(texts=("made-up-1",))) == 31
        assert questions.count(Filter(without_texts=("MADE-up",))) == 1
        assert questions.known("model", "made-UP-3")
        assert not questions.known("model", "made-up")
        assert sum(len(chunk) for chunk in questions.entries(one, "timestamp", "desc")) == 1


def test_sessions_are_those_of_rows_that_are_still_there(ledgers: Ledgers) -> None:
    rows = [record(session="a" * 16, received_at_ms=NOON - 10 * DAY), record(session="b" * 16), record(session=None)]
    place = ledgers.place()

    async def keep_five_days() -> None:
        await write_rows(place, rows)
        connection = await opened(place)
        while await connection.prune(NOON - 5 * DAY, NOON):
            pass
        await connection.close()

    asyncio.run(keep_five_days())
    with asked(ledgers, place) as questions:
        answer = questions.stats(Filter(), "session")
    assert answer.overall.total == 3
    assert {name: figures.total for name, figures in answer.groups.items()} == {"b" * 16: 1, "(none)": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"error_status": 400},
        {"error_status": 429},
        {"error_status": 404, "provider": "alpha"},
        {"error_status": 400, "provider": "alpha", "streaming": True},
    ],
)
async def test_models_that_are_refused_cost_neither_facets_nor_sums(ledgers: Ledgers, changes: dict[str, Any]) -> None:
    place = ledgers.place()
    await write_rows(place, [record(), *refusals(1, **changes)])
    sizes = "SELECT (SELECT COUNT(*) FROM facets), (SELECT COUNT(*) FROM rollups)"
    before = ledgers.read(place, sizes)
    await write_rows(place, refusals(40, **changes))
    assert ledgers.read(place, sizes) == before

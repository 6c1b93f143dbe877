"""The ledger over HTTP: `/v1/stats`, `/v1/requests`, `/v1/requests/{id}`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer, TestClient

from arbstr.config.schema import Config
from arbstr.engine.routing.names import ModelNames
from arbstr.ledger.reader import LedgerReader
from arbstr.ledger.writer import LedgerWriter
from arbstr.server.access import AccessControl
from arbstr.server.app import App
from arbstr.server.endpoints import ledger as ledger_api
from arbstr.server.request import Request
from arbstr.server.router import EndpointRouter
from arbstr.types import Attempt, Candidate, RequestRecord, Routing
from tests.support.engine_builders import provider
from tests.support.ledger_builders import DAY, HOUR, MINUTE, NOON, record
from tests.support.patience import PATIENCE_S


def ruin(directory: Path) -> None:
    """Leave something in the ledger's place that can't be one."""
    for file in directory.iterdir():
        file.unlink()
    (directory / "arbstr.db").mkdir()


NAMES = ModelNames(Config(providers=(provider("alpha", models=("gpt-4o", "idle")),)))

Client = TestClient[web.BaseRequest, None]


@asynccontextmanager
async def serving(path: Path, rows: Sequence[RequestRecord] = (), now: int = NOON) -> AsyncIterator[Client]:
    """The endpoints over a ledger with these rows; `gpt-4o`, `idle`, `alpha` and `beta` are configured."""
    ledger = LedgerWriter(path / "arbstr.db")
    await ledger.start()
    reader = LedgerReader(path / "arbstr.db", settle=partial(ledger.settle, PATIENCE_S))
    for row in rows:
        ledger.append(row)
    routes = ledger_api.routes(reader, NAMES, ["alpha", "beta"], lambda: now)
    edge = App(AccessControl("127.0.0.1", None, (), ()), EndpointRouter(routes))
    try:
        handler = cast("Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]", edge.serve)
        server = RawTestServer(handler)
        await server.start_server(request_factory=partial(Request, loop=asyncio.get_running_loop()))
        client: Client = TestClient(server)
        async with client:
            yield client
    finally:
        await reader.close()
        await ledger.close()


async def get(client: Client, path: str, status: int = 200) -> Any:
    async with client.get(path) as response:
        assert response.status == status, await response.text()
        assert response.headers["X-Arbstr-Request-Id"]
        return await response.json()


async def refused(client: Client, path: str, status: int = 400) -> dict[str, str]:
    error: dict[str, str] = (await get(client, path, status))["error"]
    assert error["type"] == "invalid_request_error"
    return error


MORE = {
    "list_cost_msats": 3_000,
    "cached_tokens": 4,
    "cache_write_tokens": 0,
    "predicted_cached_tokens": 5,
    "cache_saved_msats": 36,
    "switching_msats": 0,
    "served_model": "claude-3.5",
    "client": "laptop",
}
FIVE = [
    record(received_at_ms=NOON - 5 * MINUTE, latency_ms=100, cost_msats=1_500, streaming=True),
    record(received_at_ms=NOON - 4 * MINUTE, latency_ms=200, cost_msats=2_001, provider="beta", policy="code"),
    record(received_at_ms=NOON - 3 * MINUTE, latency_ms=310, cost_msats=None, input_tokens=None, output_tokens=None),
    record(received_at_ms=NOON - 2 * MINUTE, latency_ms=900, cost_msats=4_000, model="claude", streaming=True, **MORE),
    record(
        received_at_ms=NOON - 1 * MINUTE,
        latency_ms=990,
        cost_msats=None,
        provider=None,
        success=False,
        error_status=503,
        error_message="no provider",
    ),
]


async def test_stats_sum_up_the_window(tmp_path: Path) -> None:
    async with serving(tmp_path, FIVE) as client:
        assert await get(client, "/v1/stats") == {
            "since": "2025-12-25T12:00:00.000Z",
            "until": "2026-01-01T12:00:00.000Z",
            "counts": {"total": 5, "success": 4, "error": 1, "streaming": 2},
            "costs": {"total_cost_sats": 7.501, "total_input_tokens": 48, "total_output_tokens": 36},
            "performance": {
                "avg_latency_ms": 500.0,
                "p50_latency_ms": 310,
                "p95_latency_ms": 990,
                "p99_latency_ms": 990,
            },
            "saved_sats": {"vs_dearest": 0.0, "vs_median": 0.0},
            "list_cost_sats": 6.501,
            "cache": {"cached_tokens": 4, "cached_share": 0.0833, "saved_sats": 0.036, "switching_sats": 0.0},
        }


async def test_stats_say_what_caches_had_and_saved_and_what_switching_cost(tmp_path: Path) -> None:
    rows = [
        record(input_tokens=100, cached_tokens=80, cache_saved_msats=720, switching_msats=0, session="a" * 16),
        record(input_tokens=60, cached_tokens=0, cache_saved_msats=0, switching_msats=500),
        record(input_tokens=40, cached_tokens=30),  # an earlier arbstr's: not known what that saved
    ]
    expected = {"cached_tokens": 80, "cached_share": 0.4, "saved_sats": 0.72, "switching_sats": 0.5}
    async with serving(tmp_path, rows) as client:
        stats = await get(client, "/v1/stats?group_by=session")
    assert stats["cache"] == expected
    assert stats["sessions"]["a" * 16]["cache"]["cached_tokens"] == 80


async def test_stats_say_what_was_saved(tmp_path: Path) -> None:
    rows = [record(cost_msats=1000, dearest_msats=3500, median_msats=1250), record(cost_msats=1000)]
    async with serving(tmp_path, rows) as client:
        stats = await get(client, "/v1/stats")
    assert stats["saved_sats"] == {"vs_dearest": 2.5, "vs_median": 0.25}


async def test_stats_say_what_it_would_have_cost_by_the_rates(tmp_path: Path) -> None:
    rows = [record(cost_msats=1000, list_cost_msats=875), record(cost_msats=1000), record(cost_msats=None)]
    async with serving(tmp_path, rows) as client:
        stats = await get(client, "/v1/stats?group_by=day")
    assert (stats["costs"]["total_cost_sats"], stats["list_cost_sats"]) == (2.0, 1.875)
    assert sum(day["list_cost_sats"] for day in stats["series"]) == 1.875


async def test_an_empty_window_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        stats = await get(client, "/v1/stats?range=last_1h")
    assert stats["empty"] is True
    assert "2026-01-01T11:00:00.000Z" in stats["message"]
    assert stats["counts"] == {"total": 0, "success": 0, "error": 0, "streaming": 0}
    assert set(stats["performance"].values()) == {0}


async def test_configured_names_are_groups_also_without_traffic(tmp_path: Path) -> None:
    async with serving(tmp_path, FIVE) as client:
        models = (await get(client, "/v1/stats?group_by=model"))["models"]
        providers = (await get(client, "/v1/stats?group_by=provider"))["providers"]
        policies = (await get(client, "/v1/stats?group_by=policy"))["policies"]
    assert {name: group["counts"]["total"] for name, group in models.items()} == {"gpt-4o": 4, "idle": 0, "claude": 1}
    assert {name: group["counts"]["total"] for name, group in providers.items()} == {"alpha": 3, "beta": 1, "(none)": 1}
    assert {name: group["counts"]["total"] for name, group in policies.items()} == {"code": 1, "(none)": 4}
    assert set(models["idle"]) == {"counts", "costs", "performance", "saved_sats", "list_cost_sats", "cache"}


WHO = [
    record(client="laptop", session="0" * 16, dialect="chat"),
    record(client="laptop", session="1" * 16, dialect="messages", cost_msats=5000),
    record(client=None, session=None, dialect="chat"),
]


async def test_rows_are_grouped_by_client_session_and_dialect(tmp_path: Path) -> None:
    async with serving(tmp_path, WHO) as client:
        found = {
            group: {
                name: figures["counts"]["total"]
                for name, figures in (await get(client, f"/v1/stats?group_by={group}"))[f"{group}s"].items()
            }
            for group in ("client", "session", "dialect")
        }
    assert found == {
        "client": {"laptop": 2, "(none)": 1},
        "session": {"0" * 16: 1, "1" * 16: 1, "(none)": 1},
        "dialect": {"chat": 2, "messages": 1},
    }


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ("client=LAPTOP", 2),
        ("client=phone", 0),
        ("session=1111111111111111", 1),
        ("session=unknown", 0),
        ("dialect=Chat", 2),
        ("dialect=embeddings", 0),
        ("dialect=chat&client=laptop", 1),
        ("session=1111111111111111&dialect=chat", 0),
        ("policy=nobody", 0),
    ],
)
async def test_rows_are_those_of_a_client_a_session_or_a_dialect(tmp_path: Path, query: str, total: int) -> None:
    async with serving(tmp_path, WHO) as client:
        assert (await get(client, f"/v1/requests?{query}"))["total"] == total
        assert (await get(client, f"/v1/stats?{query}"))["counts"]["total"] == total
        assert (await get(client, f"/v1/stats?{query}&group_by=model"))["counts"]["total"] == total


async def test_series_have_no_gaps(tmp_path: Path) -> None:
    rows = [record(received_at_ms=NOON - 3 * HOUR), record(received_at_ms=NOON)]
    async with serving(tmp_path, rows) as client:
        hours = (await get(client, "/v1/stats?group_by=hour&since=2026-01-01T08:30:00Z"))["series"]
        days = (await get(client, "/v1/stats?group_by=day&range=last_24h"))["series"]
    assert [hour["start"] for hour in hours] == [f"2026-01-01T{hour:02}:00:00.000Z" for hour in range(8, 13)]
    assert [hour["counts"]["total"] for hour in hours] == [0, 1, 0, 0, 1]
    assert [day["start"] for day in days] == ["2025-12-31T00:00:00.000Z", "2026-01-01T00:00:00.000Z"]


async def test_both_ends_of_a_window_are_in_it(tmp_path: Path) -> None:
    rows = [record(received_at_ms=NOON + offset) for offset in (-1, 0, 1000, 1001)]
    async with serving(tmp_path, rows, now=NOON + DAY) as client:
        window = "since=2026-01-01T12:00:00Z&until=2026-01-01T12:00:01.000Z"
        assert (await get(client, f"/v1/stats?{window}"))["counts"]["total"] == 2


@pytest.mark.parametrize(
    "since",
    [
        "2026-01-01T12:00:00Z",
        "2026-01-01t12:00:00z",
        "2026-01-01T14:00:00%2B02:00",
        "2026-01-01T14:00:00+02:00",
        "2026-01-01T10:30:00-01:30",
        "2026-01-01%2012:00:00.000Z",
        "20260101T120000Z",
    ],
)
async def test_times_may_be_written_in_many_ways(tmp_path: Path, since: str) -> None:
    async with serving(tmp_path, now=NOON + DAY) as client:
        assert (await get(client, f"/v1/stats?since={since}"))["since"] == "2026-01-01T12:00:00.000Z"


async def test_an_until_alone_ends_the_range(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        stats = await get(client, "/v1/stats?range=last_1h&until=2025-06-01T00:00:00Z")
    assert (stats["since"], stats["until"]) == ("2025-05-31T23:00:00.000Z", "2025-06-01T00:00:00.000Z")


@pytest.mark.parametrize(
    ("query", "param", "said"),
    [
        ("range=yesterday", "range", "last_1h, last_24h, last_7d, last_30d"),
        ("since=2026-01-01", "since", "offset or Z"),
        ("since=2026-01-01T12:00:00", "since", "offset or Z"),
        ("since=soon", "since", "ISO 8601"),
        ("since=2026-01-01T12:00:00Z&until=2025-01-01T12:00:00Z", "since", "after until"),
        ("since=2027-01-01T12:00:00Z", "since", "after now"),
        ("until=0001-01-01T00:00:00Z", "until", "years"),
        ("group_by=moon", "group_by", "model, provider, policy, client, session, dialect, hour, day"),
        ("group_by=hour&since=1999-01-01T00:00:00Z", "group_by", "10,000"),
        ("colour=red", "colour", "not a parameter"),
        ("page=1", "page", "not a parameter"),
        ("range=last_1h&range=last_7d", "range", "more than once"),
        ("modle=gpt-4o", "modle", "; did you mean 'model'?"),
        ("range=last_24", "range", "not 'last_24'; did you mean 'last_24h'?"),
        ("model=", "model", "neither configured"),
    ],
)
async def test_stats_refuse_what_they_cannot_read(tmp_path: Path, query: str, param: str, said: str) -> None:
    async with serving(tmp_path) as client:
        error = await refused(client, f"/v1/stats?{query}", 404 if query == "model=" else 400)
    assert error["param"] == param
    assert said in error["message"]
    assert error["code"] == ("model_not_found" if query == "model=" else "invalid_parameter")


@pytest.mark.parametrize(
    ("query", "param", "said"),
    [
        ("sort=colour", "sort", "timestamp, cost_sats, latency_ms"),
        ("order=sideways", "order", "desc, asc"),
        ("success=maybe", "success", "true, false"),
        ("streaming=1", "streaming", "true, false"),
        ("page=0", "page", "from 1"),
        ("page=-1", "page", "from 1"),
        ("page=1.5", "page", "from 1"),
        ("per_page=zero", "per_page", "from 1"),
        ("per_page=", "per_page", "from 1"),
        ("group_by=model", "group_by", "not a parameter"),
    ],
)
async def test_lists_refuse_what_they_cannot_read(tmp_path: Path, query: str, param: str, said: str) -> None:
    async with serving(tmp_path) as client:
        error = await refused(client, f"/v1/requests?{query}")
    assert (error["param"], error["code"]) == (param, "invalid_parameter")
    assert said in error["message"]


async def test_values_are_read_whatever_their_case(tmp_path: Path) -> None:
    async with serving(tmp_path, FIVE) as client:
        stats = await get(client, "/v1/stats?range=LAST_24H&group_by=Model&model=GPT-4O&provider=Alpha")
        page = await get(client, "/v1/requests?sort=COST_SATS&order=ASC&success=TRUE&streaming=False&policy=CODE")
    assert stats["counts"]["total"] == 2
    assert page["total"] == 1


async def test_only_names_neither_configured_nor_logged_are_unknown(tmp_path: Path) -> None:
    async with serving(tmp_path, [record(model="gone", provider="former")]) as client:
        assert (await get(client, "/v1/stats?model=idle"))["empty"]
        assert (await get(client, "/v1/requests?model=GONE"))["total"] == 1
        assert (await get(client, "/v1/requests?provider=Former"))["total"] == 1
        assert (await get(client, "/v1/stats?policy=nobody"))["empty"]
        error = await refused(client, "/v1/stats?model=never", 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        assert "gpt-4o, idle" in error["message"]
        error = await refused(client, "/v1/requests?provider=never", 404)
        assert (error["code"], error["param"]) == ("not_found", "provider")


async def test_a_name_with_a_typo_brings_the_one_that_was_meant(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        error = await refused(client, "/v1/stats?provider=apha", 404)
    message = (
        "The provider 'apha' is neither configured nor in the ledger; configured: alpha, beta; did you mean 'alpha'?"
    )
    assert error["message"] == message


async def test_a_list_has_the_newest_first_and_says_how_many_there_are(tmp_path: Path) -> None:
    async with serving(tmp_path, FIVE) as client:
        page = await get(client, "/v1/requests?per_page=2")
    failed, succeeded = page.pop("data")
    assert page == {
        "page": 1,
        "per_page": 2,
        "total": 5,
        "total_pages": 3,
        "since": "2025-12-25T12:00:00.000Z",
        "until": "2026-01-01T12:00:00.000Z",
    }
    assert succeeded == {
        "id": 4,
        "request_id": FIVE[3].request_id,
        "timestamp": "2026-01-01T11:58:00.000Z",
        "model": "claude",
        "provider": "alpha",
        "policy": None,
        "streaming": True,
        "success": True,
        "served_model": "claude-3.5",
        "dialect": "chat",
        "session": None,
        "client": "laptop",
        "tokens": {"input": 12, "cached": 4, "cache_write": 0, "output": 9},
        "cost": {"sats": 4.0, "provider_sats": None, "list_sats": 3.0},
        "cache": {"predicted_tokens": 5, "saved_sats": 0.036, "switching_sats": 0.0},
        "timing": {"latency_ms": 900, "stream_duration_ms": None},
    }
    assert failed["error"] == {"status": 503, "message": "no provider"}
    assert failed["cost"] == {"sats": None, "provider_sats": None, "list_sats": None}


async def test_a_page_past_the_end_is_empty_and_a_huge_one_is_clamped(tmp_path: Path) -> None:
    async with serving(tmp_path, FIVE) as client:
        past = await get(client, "/v1/requests?page=7")
        far = await get(client, f"/v1/requests?page={10**30}&per_page={10**30}")
    assert (past["data"], past["total"], past["page"]) == ([], 5, 7)
    assert (far["data"], far["per_page"]) == ([], 100)


async def test_a_request_comes_with_its_attempts_and_its_routing(tmp_path: Path) -> None:
    attempt = Attempt("alpha", 0, 310, None, 200)
    routing = Routing("cheapest", None, "gpt-4o", 12, 256, (Candidate("alpha", 420.0, 420.0),), (("beta", "open"),))
    row = record(attempts=(attempt,), routing=routing)
    async with serving(tmp_path, [row]) as client:
        found = await get(client, f"/v1/requests/{row.request_id}")
        listed = await get(client, "/v1/requests")
    assert found["attempts"] == [
        {"provider": "alpha", "started_ms": 0, "duration_ms": 310, "failure": None, "status": 200, "message": ""}
    ]
    assert found["routing"]["candidates"][0]["expected_cost_sats"] == 0.42
    assert found["routing"]["excluded"] == [{"provider": "beta", "reason": "open"}]
    assert [{**listed["data"][0], "attempts": found["attempts"], "routing": found["routing"]}] == [found]


@pytest.mark.parametrize("kept", [{"by": 10**30}, {"by": "half \ud83d"}])
async def test_what_another_program_put_beside_a_row_is_answered_too(tmp_path: Path, kept: dict[str, object]) -> None:
    row = record()
    async with serving(tmp_path, [row]):
        pass
    with closing(sqlite3.connect(tmp_path / "arbstr.db")) as db, db:
        db.execute("UPDATE requests SET routing = ?", (json.dumps(kept),))
    async with serving(tmp_path) as client:
        assert (await get(client, f"/v1/requests/{row.request_id}"))["routing"] == kept


async def test_an_unknown_request_is_not_found(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        for request_id in ("nobody", "%00", "%F0%9F", "a" * 5000):
            assert (await refused(client, f"/v1/requests/{request_id}", 404))["code"] == "not_found"


async def test_a_ledger_that_cannot_be_read_is_a_fault_without_details(tmp_path: Path) -> None:
    async with serving(tmp_path) as client:
        ruin(tmp_path)
        async with client.get("/v1/stats?range=last_1h") as response:
            assert response.status == 500
            error = (await response.json())["error"]
    assert error["code"] == "internal_error"
    assert str(tmp_path) not in error["message"]

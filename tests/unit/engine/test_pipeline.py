"""The life of a request with a clock at hand: backoff, fallback, accounting, events and their order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.bus import EventBus
from arbstr.config.schema import Budget, Config, Provider, Retry
from arbstr.engine.accounts import Accounts
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.budget import Budgets
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.clients import KnownClient
from arbstr.engine.departure import is_drained
from arbstr.engine.dialects.chat import CHAT
from arbstr.engine.dialects.dialect import Dialect
from arbstr.engine.funds_queue import FundsQueue
from arbstr.engine.pipeline import Engine
from arbstr.engine.retries import LONGEST_RETRY_AFTER_S
from arbstr.engine.routing.router import Router
from arbstr.engine.sessions import Sessions
from arbstr.engine.upstream.response import UpstreamResponse, UpstreamStream
from arbstr.errors import ApiError, AttemptError, ClientGone
from arbstr.events import AttemptFailed, AttemptStarted, Event, RequestFinished, RequestReceived, RouteChosen
from arbstr.types import HeaderList, InferenceRequest, RequestRecord, Usage
from tests.support.clock import Clock
from tests.support.engine_builders import chat, provider

BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}).encode()
GOOD = UpstreamResponse(200, [("Content-Type", "application/json")], b"{}", Usage(1000, 500))
UNKNOWN = UpstreamResponse(200, [], b"{}")
TEAPOT = UpstreamResponse(418, [], b"short and stout", client_error="HTTP 418: short and stout")

Outcome = UpstreamResponse | Exception


def status(number: int, *, retryable: bool = True, after_s: float | None = None) -> AttemptError:
    return AttemptError("status", f"HTTP {number}", status=number, retryable=retryable, retry_after_s=after_s)


BUSY = status(500)
BROKE = AttemptError("connect", "connection failed: reset", retryable=True)
CLOSED = AttemptError("connect", "connection failed: closed without a response", retryable=True, sent=True)
LATE = AttemptError("timeout", "no answer within 600 s", sent=True)
USELESS = AttemptError("bad_response", "HTTP 200 whose body is not a JSON object", status=200)
STALE = AttemptError("stale_catalogue", "HTTP 404", status=404)
ACCOUNT = status(402, retryable=False)


async def at_once() -> None:
    """Wait for nothing."""


class FakeClient:
    """A client that notes what it is given. It sends and reads without delay, unless its hooks wait."""

    identity: KnownClient | None = None
    policy: str | None = None
    dialect: Dialect = CHAT
    query: Mapping[str, str] = {}
    content_type = "application/json"

    def __init__(self, body: bytes | Exception = BODY, request_id: str = "r-1") -> None:
        self.request_id = request_id
        self.headers: HeaderList = []
        self.received_at_ms = 1_700_000_000_000
        self.gone = False
        self.status: int | None = None
        self.given: HeaderList = []
        self.refused: ApiError | None = None
        self.sent = True
        self._body = body
        self._callback: Callable[[], None] = lambda: None
        self.on_body: Callable[[], Awaitable[None]] = at_once
        self.on_refusal: Callable[[], Awaitable[None]] = at_once

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def leave(self) -> None:
        self.gone = True
        self._callback()

    async def body(self) -> bytes:
        await self.on_body()
        if isinstance(self._body, Exception):
            raise self._body
        return self._body

    async def answer(self, status: int, headers: HeaderList, body: bytes) -> None:
        self.status, self.given = status, headers

    async def refuse(self, error: ApiError, headers: HeaderList) -> None:
        self.status, self.given, self.refused = error.status, headers, error
        await self.on_refusal()

    async def start(self, headers: HeaderList) -> None:
        raise AssertionError("no stream was asked for")

    async def write(self, data: bytes) -> None:
        raise AssertionError("no stream was asked for")

    async def end(self, data: bytes) -> None:
        raise AssertionError("no stream was asked for")


class FakeUpstream:
    """Providers that give the next outcome of their scripts, each after half a second."""

    def __init__(self, clock: Clock, scripts: dict[str, Sequence[Outcome]]) -> None:
        self.asked: list[str] = []
        self.on_send: Callable[[], Awaitable[None]] = at_once
        self._clock = clock
        self.scripts = {name: iter(script) for name, script in scripts.items()}

    async def send(
        self, provider: Provider, chat: InferenceRequest, dialect: Dialect, headers: HeaderList
    ) -> UpstreamResponse:
        await self.on_send()
        self.asked.append(provider.name)
        self._clock.now += 0.5
        outcome = next(self.scripts[provider.name])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def recalled(self, request: InferenceRequest) -> None:
        return None

    def is_connecting(self, request_id: str) -> bool:
        return False

    def close_in_background(self, stream: UpstreamStream) -> None:
        raise AssertionError("no stream was asked for")


class FakeLedger:
    """Keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[RequestRecord] = []

    def begin(self, record: RequestRecord) -> None:
        raise AssertionError("no stream was asked for")

    def append(self, record: RequestRecord) -> None:
        self.rows.append(record)


class EngineHarness:
    """An engine with fake providers, whose sleep only notes and lets time pass."""

    def __init__(
        self,
        *,
        max_retries: int = 2,
        backoff: float = 1.0,
        sats_a_day: float | None = None,
        **scripts: Sequence[Outcome],
    ) -> None:
        self.config = Config(
            providers=tuple(provider(name, 10, 30) for name in scripts),
            retry=Retry(max_retries=max_retries, backoff=backoff),
            budget=Budget(max_sats_per_day=sats_a_day),
        )
        self.chance = 0.0
        self.slept: list[float] = []
        self.clock = Clock()
        self.upstream = FakeUpstream(self.clock, scripts)
        self.ledger = FakeLedger()
        self.bus = EventBus()
        self.mailbox = self.bus.subscribe()
        self.budgets = Budgets(self.config, clock_ms=lambda: 1_700_000_000_000)
        self.breakers = CircuitBreakers(
            scripts, self.config.breaker, clock=self.clock, now_ms=lambda: 0, random=lambda: 0.0
        )
        self.admission = AdmissionControl(10, 0, self.clock)
        self.router = Router(
            self.config,
            clock=self.clock,
            random=lambda: 0.5,
            unavailable=self.breakers.unavailable,
            cooling=self.breakers.cooldowns.reasons,
            due_next=self.breakers.due_next,
            matchers=[],
        )
        self.engine = Engine(
            self.config,
            admission=self.admission,
            router=self.router,
            breakers=self.breakers,
            budgets=self.budgets,
            sessions=Sessions(),
            accounts=Accounts(self.config.providers),
            drains=lambda provider: is_drained(provider, None),
            funds_queue=FundsQueue(),
            upstream=self.upstream,
            ledger=self.ledger,
            bus=self.bus,
            clock=self.clock,
            sleep=self.sleep,
            random=lambda: self.chance,
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds

    async def serve(self, client: FakeClient | None = None) -> FakeClient:
        client = client or FakeClient()
        await self.engine.handle(client)
        return client

    @property
    def events(self) -> list[Event]:
        return self.mailbox.drain()[0]

    @property
    def spent_msats(self) -> tuple[int, int]:
        """Of the budget: spent and reserved."""
        (budget,) = self.budgets.status()
        return budget.spent_msats, budget.reserved_msats


# Waiting


async def test_the_backoff_doubles_from_try_to_try() -> None:
    harness = EngineHarness(alpha=[BUSY] * 5 + [GOOD], max_retries=5, backoff=0.5)
    client = await harness.serve()
    assert client.status == 200
    assert harness.slept == [0.5, 1, 2, 4, 8]


async def test_chance_lengthens_the_backoff_by_a_quarter_at_most() -> None:
    harness = EngineHarness(alpha=[BUSY] * 2 + [GOOD])
    harness.chance = 1.0
    await harness.serve()
    assert harness.slept == [1.25, 2.5]


async def test_chance_does_not_lengthen_what_a_provider_asks_for() -> None:
    harness = EngineHarness(alpha=[status(429, after_s=7), GOOD])
    harness.chance = 1.0
    await harness.serve()
    assert harness.slept == [7]


async def test_the_backoff_begins_again_with_the_next_provider() -> None:
    harness = EngineHarness(alpha=[BUSY] * 3, beta=[BROKE] * 2 + [GOOD])
    await harness.serve()
    assert harness.upstream.asked == ["alpha"] * 3 + ["beta"] * 3
    assert harness.slept == [1, 2, 1, 2]


async def test_nobody_waits_before_the_next_provider() -> None:
    harness = EngineHarness(alpha=[ACCOUNT], beta=[LATE], gamma=[USELESS], delta=[STALE], epsilon=[GOOD])
    client = await harness.serve()
    assert harness.slept == []
    assert dict(client.given)["X-Arbstr-Retries"] == "1/alpha, 1/beta, 1/gamma, 1/delta"


@pytest.mark.parametrize(
    ("after_s", "waits"),
    [(0.5, [1]), (1, [1]), (7, [7]), (LONGEST_RETRY_AFTER_S, [10]), (10.5, []), (3600, [])],
)
async def test_what_a_provider_asks_is_waited_for_up_to_ten_seconds(after_s: float, waits: list[float]) -> None:
    harness = EngineHarness(alpha=[status(429, after_s=after_s), GOOD], beta=[GOOD])
    await harness.serve()
    assert harness.slept == waits
    assert harness.upstream.asked == (["alpha", "alpha"] if waits else ["alpha", "beta"])


async def test_a_longer_backoff_is_not_shortened_by_retry_after() -> None:
    harness = EngineHarness(alpha=[status(429, after_s=2), status(429, after_s=2), GOOD], backoff=3)
    await harness.serve()
    assert harness.slept == [3, 6]


async def test_without_retries_the_next_provider_is_asked_at_once() -> None:
    harness = EngineHarness(alpha=[BUSY], beta=[GOOD], max_retries=0)
    await harness.serve()
    assert harness.upstream.asked == ["alpha", "beta"]


async def test_time_spent_waiting_is_part_of_the_latency() -> None:
    harness = EngineHarness(alpha=[BUSY, GOOD])
    client = await harness.serve()
    assert harness.ledger.rows[0].latency_ms == 2000  # two attempts of half a second, one second between
    assert dict(client.given)["X-Arbstr-Latency-Ms"] == "2000"


async def test_who_became_unavailable_meanwhile_is_passed_over() -> None:
    harness = EngineHarness(alpha=[ACCOUNT], beta=[GOOD], gamma=[GOOD])

    async def beta_goes() -> None:
        harness.breakers.set_in_rotation("beta", in_rotation=False)

    harness.upstream.on_send = beta_goes
    client = await harness.serve()
    assert harness.upstream.asked == ["alpha", "gamma"]
    assert dict(client.given)["X-Arbstr-Retries"] == "1/alpha"


# Telling


async def test_events_are_published_in_order() -> None:
    harness = EngineHarness(alpha=[BUSY, BUSY, BUSY], beta=[GOOD])
    await harness.serve()
    events = harness.events
    kinds = [type(event) for event in events]
    assert kinds == [RequestReceived, RouteChosen] + [AttemptStarted, AttemptFailed] * 3 + [
        AttemptStarted,
        RequestFinished,
    ]
    assert [event.retry_in_ms for event in events if isinstance(event, AttemptFailed)] == [1000, 2000, None]
    assert isinstance(events[-1], RequestFinished)
    assert events[-1].record is harness.ledger.rows[0]


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"nonsense", 400), (b"{}", 400), (ClientGone("left"), 499), (RuntimeError("a fault"), 500)],
)
async def test_a_request_without_a_provider_has_its_events_and_its_row(body: bytes | Exception, code: int) -> None:
    harness = EngineHarness(alpha=[GOOD])
    await harness.serve(FakeClient(body))
    assert [type(event) for event in harness.events] == [RequestReceived, RequestFinished]
    assert [row.error_status for row in harness.ledger.rows] == [code]
    assert harness.admission.in_flight == 0


async def test_what_fails_at_the_end_takes_neither_row_nor_event_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*given: object) -> None:
        raise RuntimeError("broken")

    for step in ("baselines", "learn"):
        harness = EngineHarness(alpha=[GOOD])
        monkeypatch.setattr(harness.router, step, fails)
        assert (await harness.serve()).status == 200
        assert [row.success for row in harness.ledger.rows] == [True]
        assert [type(event) for event in harness.events][-1] is RequestFinished
        assert harness.breakers.view("alpha").in_flight == 0
    assert len(caplog.records) == 2


async def test_a_listener_that_fails_stops_no_request() -> None:
    class Listener:
        def put(self, event: Event) -> None:
            raise RuntimeError("broken")

    harness = EngineHarness(alpha=[GOOD])
    harness.bus.attach(Listener())
    assert (await harness.serve()).status == 200
    assert [row.success for row in harness.ledger.rows] == [True]


async def test_a_request_refused_by_admission_has_a_row_with_its_model_if_that_is_there_to_read() -> None:
    harness = EngineHarness(alpha=[GOOD])
    harness.admission.close()
    slow = FakeClient()
    slow.sent = False
    refused = [await harness.serve(client) for client in (FakeClient(), slow, FakeClient(b"nonsense"))]
    assert [client.status for client in refused] == [503, 503, 503]
    assert [row.model for row in harness.ledger.rows] == ["gpt-4o", "", ""]
    assert {type(event) for event in harness.events} == {RequestReceived, RequestFinished}
    assert harness.admission.in_flight == 0


async def test_candidates_that_are_gone_when_asked_say_when_to_come_back() -> None:
    harness = EngineHarness(alpha=[GOOD])
    routing = harness.router.preview(chat())
    harness.router.route = lambda request, client=None: routing  # type: ignore[method-assign]  # decided while alpha still took requests
    permit = harness.breakers.acquire("alpha")
    assert permit is not None
    permit.failed(status(429, after_s=42))
    client = await harness.serve()
    assert client.status == 503
    assert client.refused is not None
    assert client.refused.retry_after_s == 42
    assert harness.upstream.asked == []


# Money


async def test_the_expected_cost_is_set_aside_and_the_real_one_spent() -> None:
    harness = EngineHarness(alpha=[GOOD], sats_a_day=100)
    await harness.serve()
    assert harness.spent_msats == (25_000, 0)


async def test_what_was_charged_is_spent_if_that_was_said() -> None:
    harness = EngineHarness(
        alpha=[UpstreamResponse(200, [], b"{}", Usage(1000, 500), charged_msats=30_001)], sats_a_day=100
    )
    await harness.serve()
    assert harness.spent_msats == (30_001, 0)


@pytest.mark.parametrize("outcome", [ACCOUNT, BUSY, BROKE, STALE, TEAPOT], ids=str)
async def test_what_surely_costs_nothing_is_given_back(outcome: Outcome) -> None:
    harness = EngineHarness(alpha=[outcome] * 3, sats_a_day=100)
    await harness.serve()
    assert harness.spent_msats == (0, 0)


@pytest.mark.parametrize("outcome", [LATE, USELESS, UNKNOWN], ids=["late", "useless", "usage unknown"])
async def test_what_may_have_been_charged_counts_as_expected(outcome: Outcome) -> None:
    harness = EngineHarness(alpha=[outcome], sats_a_day=100)
    await harness.serve()
    spent, reserved = harness.spent_msats
    assert reserved == 0
    assert 7_000 < spent < 9_000  # 256 tokens out, one in


async def test_attempts_before_the_answer_that_may_have_been_charged_count_as_expected() -> None:
    harness = EngineHarness(alpha=[CLOSED, LATE], beta=[GOOD], sats_a_day=100)
    await harness.serve()
    spent, reserved = harness.spent_msats
    assert reserved == 0
    assert 25_000 + 2 * 7_000 < spent < 25_000 + 2 * 9_000


async def test_a_provider_that_claims_to_charge_nothing_is_stopped_all_the_same() -> None:
    free = UpstreamResponse(200, [], b"{}", Usage(1000, 500), charged_msats=0)
    harness = EngineHarness(alpha=[free, free], sats_a_day=30)
    assert [(await harness.serve()).status for _ in range(2)] == [200, 402]


async def test_a_retry_reserves_what_it_may_cost_beside_what_may_have_been_charged() -> None:
    """One try fits into ten sats, two do not: the second is not made."""
    harness = EngineHarness(alpha=[CLOSED, GOOD], beta=[BUSY], sats_a_day=10)
    client = await harness.serve()
    assert client.status == 402
    assert harness.upstream.asked == ["alpha"]
    spent, reserved = harness.spent_msats
    assert 7_000 < spent < 9_000
    assert reserved == 0
    assert all(harness.breakers.view(name).in_flight == 0 for name in harness.upstream.scripts)


async def test_a_budget_that_does_not_hold_the_request_refuses_it() -> None:
    harness = EngineHarness(alpha=[GOOD], sats_a_day=5)
    client = await harness.serve()
    assert client.status == 402
    assert harness.upstream.asked == []


# Departures


async def test_a_client_that_leaves_while_a_provider_fails_ends_the_request() -> None:
    harness = EngineHarness(alpha=[BUSY, GOOD], beta=[GOOD])
    client = FakeClient()

    async def its_client_leaves() -> None:
        client.leave()

    harness.upstream.on_send = its_client_leaves
    await harness.serve(client)
    assert harness.upstream.asked == ["alpha"]
    assert [row.error_status for row in harness.ledger.rows] == [499]
    assert harness.breakers.view("alpha").failure_count == 0


async def test_arbstr_that_stops_says_so_in_the_row() -> None:
    harness = EngineHarness(alpha=[GOOD], sats_a_day=100)
    started = asyncio.Event()

    async def never() -> None:
        started.set()
        await asyncio.Future()

    harness.upstream.on_send = never
    task = asyncio.create_task(harness.engine.handle(FakeClient()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(row.error_status, row.provider) for row in harness.ledger.rows] == [(503, "alpha")]
    assert harness.admission.in_flight == 0
    assert harness.breakers.view("alpha").in_flight == 0
    spent, reserved = harness.spent_msats
    assert (spent > 0, reserved) == (True, 0)  # alpha was at work


async def test_a_client_that_left_is_in_the_row_although_arbstr_stops_at_that_moment() -> None:
    harness = EngineHarness(alpha=[GOOD])
    started = asyncio.Event()

    async def never() -> None:
        started.set()
        await asyncio.Future()

    client = FakeClient()
    client.on_body = never
    task = asyncio.create_task(harness.engine.handle(client))
    await started.wait()
    client.leave()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [row.error_status for row in harness.ledger.rows] == [499]


async def test_a_client_that_leaves_while_it_is_refused_ends_the_refusal() -> None:
    harness = EngineHarness(alpha=[GOOD])
    client = FakeClient(b"nonsense")

    async def slowly() -> None:
        client.leave()
        await asyncio.Future()

    client.on_refusal = slowly
    await harness.serve(client)
    assert [row.error_status for row in harness.ledger.rows] == [400]


# The invariant

OUTCOMES = st.sampled_from(
    [GOOD, UNKNOWN, TEAPOT, BUSY, BROKE, LATE, USELESS, STALE, ACCOUNT, status(429, after_s=60), KeyError("x")]
)


@given(st.lists(st.lists(OUTCOMES, min_size=30, max_size=30), min_size=1, max_size=3), st.integers(1, 8))
def test_every_request_has_one_row_and_leaves_nothing_behind(scripts: list[list[Outcome]], requests: int) -> None:
    async def scenario() -> None:
        named: dict[str, Any] = {f"p{number}": script for number, script in enumerate(scripts)}
        harness = EngineHarness(sats_a_day=1000, **named)
        clients = [await harness.serve(FakeClient(request_id=str(number))) for number in range(requests)]
        assert [row.request_id for row in harness.ledger.rows] == [str(number) for number in range(requests)]
        for client, row in zip(clients, harness.ledger.rows, strict=True):
            assert client.status == (200 if row.success else row.error_status)
        finished = [event for event in harness.events if isinstance(event, RequestFinished)]
        assert [event.record for event in finished] == harness.ledger.rows
        assert harness.spent_msats[1] == 0
        assert harness.admission.in_flight == 0
        assert all(harness.breakers.view(name).in_flight == 0 for name in harness.upstream.scripts)

    asyncio.run(scenario())

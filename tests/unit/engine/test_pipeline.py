"""A request's life with time in hand: what is waited for, what is set aside, what is told and when."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.bus import EventBus
from arbstr.config.schema import Budget, Config, Retry
from arbstr.engine.admission import AdmissionControl
from arbstr.engine.budget import Budgets
from arbstr.engine.circuit_breaker import CircuitBreakers
from arbstr.engine.pipeline import LONGEST_RETRY_AFTER_S, Engine
from arbstr.engine.routing.router import Router
from arbstr.engine.sessions import Sessions
from arbstr.engine.upstream.caller import UpstreamCaller
from arbstr.engine.upstream.response import UpstreamResponse
from arbstr.errors import ApiError, AttemptError, ClientGone
from arbstr.events import AttemptFailed, AttemptStarted, Event, RequestFinished, RequestReceived, RouteChosen
from arbstr.types import HeaderList, RequestRecord, Usage
from tests.support.engine_builders import Clock, chat, provider

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


class Talker:
    """A client that notes what it is given."""

    policy: str | None = None

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

    def on_disconnect(self, callback: Callable[[], None]) -> None:
        self._callback = callback

    def leave(self) -> None:
        self.gone = True
        self._callback()

    async def body(self) -> bytes:
        if isinstance(self._body, Exception):
            raise self._body
        return self._body

    async def answer(self, status: int, headers: HeaderList, body: bytes) -> None:
        self.status, self.given = status, headers

    async def refuse(self, error: ApiError, headers: HeaderList) -> None:
        self.status, self.given, self.refused = error.status, headers, error

    async def start(self, headers: HeaderList) -> None:
        raise AssertionError("no stream was asked for")

    async def write(self, data: bytes) -> None:
        raise AssertionError("no stream was asked for")

    async def end(self, data: bytes) -> None:
        raise AssertionError("no stream was asked for")


class Market:
    """An engine whose providers give the next outcome of their scripts, whose sleep only notes and lets time pass."""

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
        self.scripts: dict[str, Iterator[Outcome]] = {name: iter(script) for name, script in scripts.items()}
        self.chance = 0.0
        self.connecting: set[str] = set()
        self.asked: list[str] = []
        self.slept: list[float] = []
        self.rows: list[RequestRecord] = []
        self.clock = Clock()
        self.bus = EventBus()
        self.mailbox = self.bus.subscribe()
        self.budgets = Budgets(self.config, clock_ms=lambda: 1_700_000_000_000)
        self.health = CircuitBreakers(
            scripts, self.config.breaker, clock=self.clock, now_ms=lambda: 0, random=lambda: 0.0
        )
        self.gate = AdmissionControl(10, 0, self.clock)
        self.router = Router(
            self.config,
            clock=self.clock,
            random=lambda: 0.5,
            is_available=self.health.available,
            cooling=self.health.cooldowns.reasons,
            due_next=self.health.due_next,
            matchers=[],
        )
        self.engine = Engine(
            self.config,
            admission=self.gate,
            router=self.router,
            breakers=self.health,
            budgets=self.budgets,
            sessions=Sessions(),
            upstream=cast("UpstreamCaller", self),
            ledger=self,
            bus=self.bus,
            clock=self.clock,
            sleep=self.sleep,
            random=lambda: self.chance,
        )

    async def send(self, provider: Any, chat: Any, headers: HeaderList) -> UpstreamResponse:
        """In place of `UpstreamCaller.send`: half a second for each attempt."""
        self.asked.append(provider.name)
        self.clock.now += 0.5
        outcome = next(self.scripts[provider.name])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.now += seconds

    def begin(self, record: RequestRecord) -> None:
        raise AssertionError("no stream was asked for")

    def append(self, record: RequestRecord) -> None:
        self.rows.append(record)

    async def serve(self, client: Talker | None = None) -> Talker:
        client = client or Talker()
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
    market = Market(alpha=[BUSY] * 5 + [GOOD], max_retries=5, backoff=0.5)
    client = await market.serve()
    assert client.status == 200
    assert market.slept == [0.5, 1, 2, 4, 8]


async def test_chance_lengthens_the_backoff_by_a_quarter_at_most() -> None:
    market = Market(alpha=[BUSY] * 2 + [GOOD])
    market.chance = 1.0
    await market.serve()
    assert market.slept == [1.25, 2.5]


async def test_chance_does_not_lengthen_what_a_provider_asks_for() -> None:
    market = Market(alpha=[status(429, after_s=7), GOOD])
    market.chance = 1.0
    await market.serve()
    assert market.slept == [7]


async def test_it_begins_anew_with_the_next_provider() -> None:
    market = Market(alpha=[BUSY] * 3, beta=[BROKE] * 2 + [GOOD])
    await market.serve()
    assert market.asked == ["alpha"] * 3 + ["beta"] * 3
    assert market.slept == [1, 2, 1, 2]


async def test_nobody_waits_before_the_next_provider() -> None:
    market = Market(alpha=[ACCOUNT], beta=[LATE], gamma=[USELESS], delta=[STALE], epsilon=[GOOD])
    client = await market.serve()
    assert market.slept == []
    assert dict(client.given)["X-Arbstr-Retries"] == "1/alpha, 1/beta, 1/gamma, 1/delta"


@pytest.mark.parametrize(
    ("after_s", "waits"),
    [(0.5, [1]), (1, [1]), (7, [7]), (LONGEST_RETRY_AFTER_S, [10]), (10.5, []), (3600, [])],
)
async def test_what_a_provider_asks_is_waited_for_up_to_ten_seconds(after_s: float, waits: list[float]) -> None:
    market = Market(alpha=[status(429, after_s=after_s), GOOD], beta=[GOOD])
    await market.serve()
    assert market.slept == waits
    assert market.asked == (["alpha", "alpha"] if waits else ["alpha", "beta"])


async def test_a_longer_backoff_is_not_shortened_by_it() -> None:
    market = Market(alpha=[status(429, after_s=2), status(429, after_s=2), GOOD], backoff=3)
    await market.serve()
    assert market.slept == [3, 6]


async def test_without_retries_the_next_is_asked_at_once() -> None:
    market = Market(alpha=[BUSY], beta=[GOOD], max_retries=0)
    await market.serve()
    assert market.asked == ["alpha", "beta"]


async def test_time_spent_waiting_is_part_of_the_latency() -> None:
    market = Market(alpha=[BUSY, GOOD])
    client = await market.serve()
    assert market.rows[0].latency_ms == 2000  # two attempts of half a second, one second between
    assert dict(client.given)["X-Arbstr-Latency-Ms"] == "2000"


async def test_who_became_unavailable_meanwhile_is_passed_over() -> None:
    market = Market(alpha=[ACCOUNT], beta=[GOOD], gamma=[GOOD])

    async def asks_while_beta_goes(provider: Any, chat: Any, headers: HeaderList) -> UpstreamResponse:
        market.health.set_in_rotation("beta", in_rotation=False)
        return await Market.send(market, provider, chat, headers)

    market.send = asks_while_beta_goes  # type: ignore[method-assign]  # a market with a manner of its own
    client = await market.serve()
    assert market.asked == ["alpha", "gamma"]
    assert dict(client.given)["X-Arbstr-Retries"] == "1/alpha"


# Telling


async def test_what_happens_is_told_in_order() -> None:
    market = Market(alpha=[BUSY, BUSY, BUSY], beta=[GOOD])
    await market.serve()
    events = market.events
    kinds = [type(event) for event in events]
    assert kinds == [RequestReceived, RouteChosen] + [AttemptStarted, AttemptFailed] * 3 + [
        AttemptStarted,
        RequestFinished,
    ]
    assert [event.retry_in_ms for event in events if isinstance(event, AttemptFailed)] == [1000, 2000, None]
    assert isinstance(events[-1], RequestFinished)
    assert events[-1].record is market.rows[0]


@pytest.mark.parametrize(
    ("body", "code"),
    [(b"nonsense", 400), (b"{}", 400), (ClientGone("left"), 499), (RuntimeError("a fault"), 500)],
)
async def test_a_request_that_gets_nowhere_is_told_and_recorded_too(body: bytes | Exception, code: int) -> None:
    market = Market(alpha=[GOOD])
    await market.serve(Talker(body))
    assert [type(event) for event in market.events] == [RequestReceived, RequestFinished]
    assert [row.error_status for row in market.rows] == [code]
    assert market.gate.in_flight == 0


async def test_what_fails_at_the_end_takes_neither_row_nor_event_with_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*given: object) -> None:
        raise RuntimeError("broken")

    for step in ("baselines", "learn"):
        market = Market(alpha=[GOOD])
        monkeypatch.setattr(market.router, step, fails)
        assert (await market.serve()).status == 200
        assert [row.success for row in market.rows] == [True]
        assert [type(event) for event in market.events][-1] is RequestFinished
        assert market.health.view("alpha").in_flight == 0
    assert len(caplog.records) == 2


async def test_a_listener_that_fails_stops_no_request() -> None:
    class Listener:
        def put(self, event: Event) -> None:
            raise RuntimeError("broken")

    market = Market(alpha=[GOOD])
    market.bus.attach(Listener())
    assert (await market.serve()).status == 200
    assert [row.success for row in market.rows] == [True]


async def test_who_is_turned_away_at_the_gate_has_a_row_with_the_model_if_that_is_there_to_read() -> None:
    market = Market(alpha=[GOOD])
    market.gate.close()
    slow = Talker()
    slow.sent = False
    refused = [await market.serve(client) for client in (Talker(), slow, Talker(b"nonsense"))]
    assert [client.status for client in refused] == [503, 503, 503]
    assert [row.model for row in market.rows] == ["gpt-4o", "", ""]
    assert {type(event) for event in market.events} == {RequestReceived, RequestFinished}
    assert market.gate.in_flight == 0


async def test_candidates_that_are_gone_when_asked_say_when_to_come_back() -> None:
    market = Market(alpha=[GOOD])
    routing = market.router.preview(chat())
    market.router.route = lambda request: routing  # type: ignore[method-assign]  # decided while alpha still took requests
    permit = market.health.acquire("alpha")
    assert permit is not None
    permit.failed(status(429, after_s=42))
    client = await market.serve()
    assert client.status == 503
    assert client.refused is not None
    assert client.refused.retry_after_s == 42
    assert market.asked == []


# Money


async def test_the_expected_cost_is_set_aside_and_the_real_one_spent() -> None:
    market = Market(alpha=[GOOD], sats_a_day=100)
    await market.serve()
    assert market.spent_msats == (25_000, 0)


async def test_what_was_charged_is_spent_if_that_was_said() -> None:
    market = Market(alpha=[UpstreamResponse(200, [], b"{}", Usage(1000, 500), charged_msats=30_001)], sats_a_day=100)
    await market.serve()
    assert market.spent_msats == (30_001, 0)


@pytest.mark.parametrize("outcome", [ACCOUNT, BUSY, BROKE, STALE, TEAPOT], ids=str)
async def test_what_surely_costs_nothing_is_given_back(outcome: Outcome) -> None:
    market = Market(alpha=[outcome] * 3, sats_a_day=100)
    await market.serve()
    assert market.spent_msats == (0, 0)


@pytest.mark.parametrize("outcome", [LATE, USELESS, UNKNOWN], ids=["late", "useless", "usage unknown"])
async def test_what_may_have_been_charged_counts_as_expected(outcome: Outcome) -> None:
    market = Market(alpha=[outcome], sats_a_day=100)
    await market.serve()
    spent, reserved = market.spent_msats
    assert reserved == 0
    assert 7_000 < spent < 9_000  # 256 tokens out, one in


async def test_so_does_every_attempt_before_the_answer_that_may_have_been_charged() -> None:
    market = Market(alpha=[CLOSED, LATE], beta=[GOOD], sats_a_day=100)
    await market.serve()
    spent, reserved = market.spent_msats
    assert reserved == 0
    assert 25_000 + 2 * 7_000 < spent < 25_000 + 2 * 9_000


async def test_a_seller_that_claims_to_charge_nothing_is_stopped_all_the_same() -> None:
    free = UpstreamResponse(200, [], b"{}", Usage(1000, 500), charged_msats=0)
    market = Market(alpha=[free, free], sats_a_day=30)
    assert [(await market.serve()).status for _ in range(2)] == [200, 402]


async def test_a_retry_reserves_what_it_may_cost_beside_what_may_have_been_charged() -> None:
    """One try fits into ten sats, two do not: the second is not made."""
    market = Market(alpha=[CLOSED, GOOD], beta=[BUSY], sats_a_day=10)
    client = await market.serve()
    assert client.status == 402
    assert market.asked == ["alpha"]
    spent, reserved = market.spent_msats
    assert 7_000 < spent < 9_000
    assert reserved == 0
    assert all(market.health.view(name).in_flight == 0 for name in market.scripts)


async def test_a_budget_that_does_not_hold_the_request_refuses_it() -> None:
    market = Market(alpha=[GOOD], sats_a_day=5)
    client = await market.serve()
    assert client.status == 402
    assert market.asked == []


# Departures


async def test_a_client_that_leaves_while_a_provider_fails_ends_it() -> None:
    market = Market(alpha=[BUSY, GOOD], beta=[GOOD])
    client = Talker()

    async def asks_and_loses_its_client(provider: Any, chat: Any, headers: HeaderList) -> UpstreamResponse:
        client.leave()
        return await Market.send(market, provider, chat, headers)

    market.send = asks_and_loses_its_client  # type: ignore[method-assign]  # a market with a manner of its own
    await market.serve(client)
    assert market.asked == ["alpha"]
    assert [row.error_status for row in market.rows] == [499]
    assert market.health.view("alpha").failure_count == 0


async def test_arbstr_that_stops_says_so_in_the_row() -> None:
    market = Market(alpha=[GOOD], sats_a_day=100)
    started = asyncio.Event()

    async def never(provider: Any, chat: Any, headers: HeaderList) -> UpstreamResponse:
        started.set()
        return await asyncio.Future()

    market.send = never  # type: ignore[method-assign]  # a market with a manner of its own
    task = asyncio.create_task(market.engine.handle(Talker()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(row.error_status, row.provider) for row in market.rows] == [(503, "alpha")]
    assert market.gate.in_flight == 0
    assert market.health.view("alpha").in_flight == 0
    spent, reserved = market.spent_msats
    assert (spent > 0, reserved) == (True, 0)  # alpha was at work


# The invariant

OUTCOMES = st.sampled_from(
    [GOOD, UNKNOWN, TEAPOT, BUSY, BROKE, LATE, USELESS, STALE, ACCOUNT, status(429, after_s=60), KeyError("x")]
)


@given(st.lists(st.lists(OUTCOMES, min_size=30, max_size=30), min_size=1, max_size=3), st.integers(1, 8))
def test_every_request_has_one_row_and_leaves_nothing_behind(scripts: list[list[Outcome]], requests: int) -> None:
    async def scenario() -> None:
        named: dict[str, Any] = {f"p{number}": script for number, script in enumerate(scripts)}
        market = Market(sats_a_day=1000, **named)
        clients = [await market.serve(Talker(request_id=str(number))) for number in range(requests)]
        assert [row.request_id for row in market.rows] == [str(number) for number in range(requests)]
        for client, row in zip(clients, market.rows, strict=True):
            assert client.status == (200 if row.success else row.error_status)
        finished = [event for event in market.events if isinstance(event, RequestFinished)]
        assert [event.record for event in finished] == market.rows
        assert market.spent_msats[1] == 0
        assert market.gate.in_flight == 0
        assert all(market.health.view(name).in_flight == 0 for name in market.scripts)

    asyncio.run(scenario())

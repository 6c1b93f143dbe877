"""Balances at nodes: read in the background, when it matters, whatever the nodes answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest

from arbstr.config.schema import Provider
from arbstr.engine.node_funds import Hold, NodeFunds
from arbstr.market.balances import STALE_MS, Balances, Reading
from arbstr.redaction import Redactor, Secret
from arbstr.types import Balance
from tests.support.engine_builders import chat, provider
from tests.support.virtual_time import run_in_virtual_time

KEY = Secret("sk-0123456789abcdef")
NODE = provider("node", kind="routstr", api_key=KEY, refresh=120)
INFO = httpx.Response(200, json={"version": "0.4.5"})


def holding(msats: int, reserved: int = 0, spent: int = 0) -> httpx.Response:
    return httpx.Response(200, json={"balance": msats, "reserved": reserved, "total_spent": spent})


class Market:
    """Balances of one node, whose answers are `account` and `info`; `read_s` is when its balance was asked for."""

    def __init__(self, account: httpx.Response | Exception, *providers: Provider) -> None:
        self.account = account
        self.info: httpx.Response | Exception = INFO
        self.asked: list[httpx.Request] = []
        self.read_s: list[float] = []
        self.readings: list[Reading] = []
        self.on_asked: Callable[[], object] = lambda: None
        self.funds = NodeFunds(self.now_s)
        self.balances = Balances(
            providers or (NODE,),
            {"node": self.funds},
            httpx.MockTransport(self._reply),
            Redactor([KEY]),
            clock=self.now_s,
            now_ms=lambda: int(self.now_s() * 1000),
            random=lambda: 0.0,
        )
        self.balances.on_reading(self.readings.append)

    @staticmethod
    def now_s() -> float:
        return asyncio.get_running_loop().time()

    @property
    def balance(self) -> Balance:
        known = self.balances.of("node")
        assert known is not None
        return known

    def begun(self) -> Hold:
        """A request goes there."""
        return self.funds.hold(None, chat())

    def lives(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Read in the background while a story happens, on a clock of its own."""

        async def reading() -> None:
            task = asyncio.create_task(self.balances.run())
            await asyncio.sleep(0.5)
            await story()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        run_in_virtual_time(reading())

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self.info
        if request.url.path.endswith("balance/info"):
            self.read_s.append(round(self.now_s(), 3))
            self.on_asked()
            reply = self.account
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, content=reply.content)


def until(second: float) -> Callable[[], Coroutine[Any, Any, None]]:
    async def waits() -> None:
        await asyncio.sleep(second - Market.now_s())

    return waits


def test_a_balance_is_read_at_the_start_with_the_nodes_version() -> None:
    market = Market(holding(5000, reserved=10, spent=90))
    market.lives(until(1))
    assert market.balance == Balance("known", 5000, 10, 90, 0, 0, "0.4.5")


def test_only_those_are_asked_whose_funds_are_to_be_known() -> None:
    market = Market(holding(1), provider("plain", api_key=KEY))
    market.lives(until(1000))
    assert market.asked == []
    assert [market.balances.of(name) for name in ("plain", "other")] == [None, None]


def test_only_a_node_with_a_key_has_funds() -> None:
    others = provider("plain", api_key=KEY), provider("new", kind="routstr")
    assert NODE.has_account
    assert not any(other.has_account for other in others)


def test_while_nothing_happens_it_is_read_less_and_less_often() -> None:
    market = Market(holding(5000))
    market.lives(until(500))
    assert market.read_s == [0, 10, 30, 70, 150, 270, 390]


def test_while_the_node_holds_a_reservation_it_is_read_every_ten_seconds() -> None:
    market = Market(holding(5000, reserved=5))
    market.lives(until(45))
    assert market.read_s == [0, 10, 20, 30, 40]


@pytest.mark.parametrize("charged", [0, 455])
def test_a_request_that_ends_there_brings_a_reading_within_ten_seconds(charged: int) -> None:
    market = Market(holding(5000))

    async def story() -> None:
        await until(80)()
        market.begun().settle(charged)
        market.begun().settle(charged)
        await until(100)()

    market.lives(story)
    assert market.read_s == [0, 10, 30, 70, 90]


def test_a_request_that_is_left_out_for_want_of_money_brings_one_too() -> None:
    market = Market(holding(0))

    async def story() -> None:
        await until(80)()
        assert not market.funds.affords(None, chat())
        await until(100)()

    market.lives(story)
    assert market.read_s == [0, 10, 30, 70, 90]


@pytest.mark.parametrize("end", [lambda hold: hold.settle(None), lambda hold: hold.refuse("no money")])
def test_one_whose_charge_only_a_reading_can_tell_brings_it_within_a_second(end: Callable[[Hold], None]) -> None:
    market = Market(holding(5000))

    async def story() -> None:
        await until(80)()
        end(market.begun())
        await until(90)()

    market.lives(story)
    assert market.read_s == [0, 10, 30, 70, 81]


def test_what_waits_for_it_has_it_within_a_second_or_two() -> None:
    market = Market(holding(5000))

    async def story() -> None:
        market.balances.read_soon("node")
        market.balances.read_soon("unknown")
        await until(4.5)()
        market.balances.read_soon("node")
        await until(6)()

    market.lives(story)
    assert market.read_s == [0, 2, 5.5]


def test_listeners_are_announced_each_reading_and_the_one_before() -> None:
    market = Market(holding(5000))

    async def story() -> None:
        market.account = holding(4000, spent=1000)
        await until(11)()

    market.lives(story)
    first, second = market.readings
    assert (first.provider, first.before, first.balance.free_msats) == ("node", Balance(), 5000)
    assert (second.before, second.balance.spent_msats) == (first.balance, 1000)
    assert not first.under_way
    assert not second.under_way


@pytest.mark.parametrize("when", ["all along", "begun meanwhile", "begun and ended meanwhile"])
def test_a_reading_says_whether_requests_were_under_way(when: str) -> None:
    market = Market(holding(5000))
    if when == "all along":
        market.begun()
    else:
        market.on_asked = market.begun if when == "begun meanwhile" else lambda: market.begun().settle(0)
    market.lives(until(1))
    assert [reading.under_way for reading in market.readings] == [True]


def test_requests_that_ended_before_it_were_not_under_way() -> None:
    market = Market(holding(5000))

    async def story() -> None:
        market.begun().settle(0)
        await until(11)()

    market.lives(story)
    assert [reading.under_way for reading in market.readings] == [False, False]


@pytest.mark.parametrize("failure", [httpx.ConnectError("no"), httpx.Response(500), RuntimeError("a fault in here")])
def test_what_is_known_stays_while_it_can_not_be_read_until_it_is_stale(failure: httpx.Response | Exception) -> None:
    market = Market(holding(5000))

    async def story() -> None:
        market.account = failure
        await until(STALE_MS / 1000 - 60)()
        assert (market.balance.state, market.balance.free_msats) == ("known", 5000)
        await until(STALE_MS / 1000 + 130)()
        assert (market.balance.state, market.balance.free_msats) == ("unknown", 5000)
        assert len(market.readings) == 1, "failed readings are not passed on"
        market.account = holding(3000)
        await until(STALE_MS / 1000 + 260)()
        assert (market.balance.state, market.balance.free_msats) == ("known", 3000)

    market.lives(story)


@pytest.mark.parametrize(("status", "word"), [(401, "does not know this key"), (500, "HTTP 500")])
def test_a_problem_is_said_once_and_without_the_key(status: int, word: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    market = Market(httpx.Response(status, json={"error": {"message": KEY.reveal()}}))

    async def story() -> None:
        await until(200)()
        market.account = holding(1)
        await until(400)()

    market.lives(story)
    problem, end = caplog.messages
    assert "provider node" in problem
    assert word in problem
    assert KEY.reveal() not in problem
    assert "has been read" in end


def test_a_balance_lasts_as_long_as_the_rate_of_the_last_hour_says() -> None:
    market = Market(holding(100_000))

    async def story() -> None:
        market.account = holding(99_000, spent=1000)
        await until(115)()
        assert market.balance.runway_hours == pytest.approx(16.5)
        market.account = holding(60_000, spent=2000)
        await until(350)()
        assert market.balance.runway_hours == pytest.approx(5.0)

    market.lives(story)


def test_a_version_is_read_again_now_and_then_and_may_fail() -> None:
    market = Market(holding(5000))
    market.info = httpx.ConnectError("no")

    async def story() -> None:
        assert (market.balance.state, market.balance.node_version) == ("known", None)
        market.info = INFO
        await until(11)()
        assert market.balance.node_version == "0.4.5"
        market.info = httpx.Response(200, json={"version": f"0.4.8 {KEY.reveal()}"})
        await until(601)()
        assert market.balance.node_version == "0.4.5"
        await until(800)()
        assert str(market.balance.node_version).startswith("0.4.8 ")
        assert KEY.reveal() not in str(market.balance.node_version)

    market.lives(story)

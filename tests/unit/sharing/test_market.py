"""What one instance has read of a provider the others take, and do not ask for themselves."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from arbstr.config.schema import Config, Provider
from arbstr.engine.learning.codec import dumps
from arbstr.engine.node_funds import NodeFunds
from arbstr.engine.routing.names import ModelNames
from arbstr.ledger.postgres.shared_states import Change, Found
from arbstr.market.balances import Balances, Reading
from arbstr.market.catalogue import Catalogues
from arbstr.market.poll_schedule import JITTER
from arbstr.redaction import Redactor, Secret
from arbstr.sharing.market import SharedBalances, SharedPrices
from arbstr.sharing.parts import Digests
from tests.support.clock import Clock
from tests.support.engine_builders import chat

KEY = Secret("sk-0123456789abcdef")
PRICING = {"prompt": 0.001, "completion": 0.003, "request": 0}


class Instance:
    """An instance that reads a node's list and balance when a test says so."""

    def __init__(self, started_s: float, key: Secret = KEY) -> None:
        self.clock = Clock(started_s)
        self.free = 5000
        self.asked: list[str] = []
        self.traffic = (0, 0)
        self.problems: list[str | None] = []
        self.providers = [
            Provider(name="node", kind="routstr", url="https://node.example/v1", api_key=key, refresh=100)
        ]
        self.names = ModelNames(Config(providers=tuple(self.providers)))
        transport, redactor = httpx.MockTransport(self._reply), Redactor([key])
        self.lists = Catalogues(self.providers, self.names, transport, redactor, random=lambda: 0.0, now_ms=self.now_ms)
        self.funds = NodeFunds(self.clock)
        self.balances = Balances(
            self.providers,
            {"node": self.funds},
            transport,
            redactor,
            clock=self.clock,
            now_ms=self.now_ms,
            random=lambda: 0.0,
            traffic=lambda provider: self.traffic,
            on_key=lambda provider, problem: self.problems.append(problem),
        )
        digests = Digests()
        digests.key = b"the ledger's"
        self.prices = SharedPrices(lambda: self, digests, self.clock, lambda: None)
        self.shared = SharedBalances(lambda: self, digests, self.clock, lambda: None, self.now_ms)
        self.lists.on_read(self.prices.read)
        self.balances.on_reading(self.shared.put)

    def now_ms(self) -> int:
        return int(self.clock.now * 1000)

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if request.url.path.endswith("/models"):
            return httpx.Response(200, json={"data": [{"id": "gpt-4o", "sats_pricing": PRICING}]})
        return httpx.Response(200, json={"balance": self.free, "reserved": 0, "total_spent": 10})

    async def read_list(self) -> list[Change]:
        assert await self.lists._read(self.providers[0]) is None
        return self.prices.take()

    async def read_balance(self) -> list[Change]:
        await self.balances._read(self.balances._accounts["node"])
        return self.shared.take()

    @property
    def due_s(self) -> float:
        return self.balances._accounts["node"].schedule.due_s - self.clock.now

    def hear(self, *changes: Change, after_s: float = 0.0) -> None:
        for part in (self.prices, self.shared):
            part.apply(
                [
                    Found(one.kind, one.key, one.value, "them", one.age_s + after_s, one.left_s, 1)
                    for one in changes
                    if one.kind == part.kind
                ]
            )


async def test_a_list_that_one_has_read_the_others_have_too_whatever_their_clocks() -> None:
    one, other = Instance(1000.0), Instance(9_000_000.0)
    shared = await one.read_list()
    other.hear(*shared, after_s=30.0)
    [(model, rates)] = other.names.price_list(other.providers[0]).items()
    assert (model, rates) == ("gpt-4o", one.names.price_list(one.providers[0])["gpt-4o"])
    assert other.lists.known("node") is not None
    assert other.lists._left_s(other.providers[0]) == pytest.approx(70.0)
    assert other.asked == []
    assert other.prices.take() == []  # what was heard is not shared again


async def test_a_list_is_asked_for_later_when_another_has_read_it_meanwhile() -> None:
    one, other = Instance(1000.0), Instance(5.0)
    shared = await one.read_list()
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        other.clock.now += seconds
        if len(pauses) == 1:
            other.hear(*shared, after_s=40.0)
        if len(pauses) == 3:
            raise InterruptedError

    other.lists._sleep = pause
    with pytest.raises(InterruptedError):
        await other.lists._follow(other.providers[0])
    assert pauses == [100.0, 60.0, 100.0]
    assert len(other.asked) == 2


async def test_an_older_list_changes_nothing() -> None:
    one, other = Instance(1000.0), Instance(5000.0)
    shared = await one.read_list()
    await other.read_list()
    before = other.lists.known("node")
    other.hear(*shared, after_s=10.0)
    assert other.lists.known("node") == before


async def test_a_price_that_jumps_is_doubted_also_when_another_has_read_it() -> None:
    other = Instance(5000.0)
    [shared] = await other.read_list()
    other.clock.now += 50.0
    other.hear(shared._replace(value=shared.value.replace('"1.000"', '"99"').replace('"1"', '"99"')))
    assert other.lists._doubted["node"].keys() == {"gpt-4o"}


async def test_a_balance_that_one_has_read_the_others_take_and_ask_later() -> None:
    one, other = Instance(1000.0), Instance(9_000_000.0)
    await other.read_balance()
    asked = len(other.asked)
    one.free = 700
    other.clock.now += 60.0
    assert other.due_s <= 0
    readings: list[Reading] = []
    other.balances.on_reading(readings.append)
    other.hear(*await one.read_balance(), after_s=2.0)
    assert other.funds.free_msats == 700
    [reading] = readings  # for alerts; whether requests were under way is not known
    assert (reading.balance.free_msats, reading.under_way) == (700, True)
    assert other.shared.take() == []  # what was heard is not shared again
    assert other.funds.balance.read_at_ms == other.now_ms() - 2000
    assert other.due_s >= 8.0 * (1 - JITTER)
    assert len(other.asked) == asked


async def test_an_instance_with_requests_at_the_node_believes_its_own_reading_alone() -> None:
    one, other = Instance(1000.0), Instance(5000.0)
    await other.read_balance()
    one.free = 700
    other.clock.now += 10.0
    shared = await one.read_balance()
    hold = other.funds.hold(None, chat())
    other.traffic = (1, 1)
    other.hear(*shared)
    assert other.funds.free_msats == 5000 - hold.msats
    hold.settle(400)
    other.traffic = (0, 1)
    other.hear(*shared)  # it may be from before the charge
    assert other.funds.free_msats == 4600
    other.free = 4600
    await other.read_balance()
    other.clock.now += 10.0
    other.hear(*shared)
    assert other.funds.free_msats == 700


async def test_a_reading_that_is_waited_for_is_not_put_off_by_an_older_one() -> None:
    one, other = Instance(1000.0), Instance(5000.0)
    await other.read_balance()
    other.clock.now += 10.0
    one.free = 700
    shared = await one.read_balance()
    other.balances.read_soon("node")
    due_s = other.due_s
    other.hear(*shared, after_s=3.0)
    assert other.funds.free_msats == 700
    assert other.due_s == due_s


async def test_only_who_has_the_same_key_hears_of_its_balance() -> None:
    one, other = Instance(1000.0), Instance(5000.0, Secret("sk-another-0123456789"))
    await other.read_balance()
    other.clock.now += 10.0
    one.free = 700
    [shared] = await one.read_balance()
    other.hear(shared)
    assert other.funds.free_msats == 5000
    assert KEY.reveal() not in repr(shared)
    assert "node.example" not in repr(shared)


async def test_a_key_that_the_node_refuses_is_refused_to_all() -> None:
    other = Instance(5000.0)
    [shared] = await other.read_balance()
    other.clock.now += 10.0
    other.hear(shared._replace(value=dumps({"state": "bad_key"})))
    assert other.problems[-1] == "it does not know this key"


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {"state": "known"},
        {"state": "rich", "free_msats": 5},
        {"state": [], "free_msats": 5},
        {"state": "known", "free_msats": -5, "reserved_msats": 0, "spent_msats": 0, "requests": 0},
        {"state": "known", "free_msats": "5", "reserved_msats": 0, "spent_msats": 0, "requests": 0},
        {"state": "known", "free_msats": 1e300, "reserved_msats": 0, "spent_msats": 0, "requests": 0},
    ],
)
async def test_what_this_version_does_not_understand_changes_nothing(said: Any) -> None:
    other = Instance(5000.0)
    shared = [*await other.read_balance(), *await other.read_list()]
    other.clock.now += 10.0
    before = other.lists.known("node")
    other.hear(*(one._replace(value=dumps(said)) for one in shared))
    assert other.funds.free_msats == 5000
    assert before is not None
    assert (known := other.lists.known("node")) is not None
    assert known[0] == before[0]


async def test_what_could_not_be_shared_is_shared_later() -> None:
    one = Instance(1000.0)
    for part, changes in ((one.prices, await one.read_list()), (one.shared, await one.read_balance())):
        part.put_back(changes)
        one.clock.now += 5.0
        assert [(again.key, again.value) for again in part.take()] == [(was.key, was.value) for was in changes]

"""The lists of models of providers: read in the background, again and again, whatever they answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import httpx
import pytest

from arbstr.config.schema import Config, Provider
from arbstr.engine.routing.names import ModelNames
from arbstr.market import catalogue
from arbstr.market.catalogue import Catalogues
from arbstr.redaction import Redactor, Secret
from tests.support.engine_builders import provider

KEY = Secret("sk-0123456789abcdef")
OPEN = provider("open", api_key=KEY, refresh=100)
Reply = httpx.Response | Exception


def listed(*names: str) -> httpx.Response:
    return httpx.Response(200, json={"data": [{"id": name} for name in names]})


class Market:
    """Catalogues whose providers give these replies, the last again and again; `pauses` are those between readings.

    Reading stops when the replies have run out.
    """

    def __init__(self, *replies: Reply, providers: tuple[Provider, ...] = (OPEN,), random: float = 0.0) -> None:
        self.names = ModelNames(Config(providers=providers))
        self.asked: list[httpx.Request] = []
        self.pauses: list[float] = []
        self._replies = replies
        self.now_ms = 1_000_000
        self.on_pause: Callable[[float], None] = lambda seconds: None
        self._over = asyncio.Event()
        self.catalogues = Catalogues(
            providers,
            self.names,
            httpx.MockTransport(self._reply),
            Redactor([KEY]),
            random=lambda: random,
            now_ms=lambda: self.now_ms,
            sleep=self._sleep,
        )

    async def runs(self) -> None:
        reading = asyncio.create_task(self.catalogues.run())
        await self._over.wait()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        reply = self._replies[len(self.asked) - 1]
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def _sleep(self, seconds: float) -> None:
        if seconds != catalogue.WAIT_S:
            self.pauses.append(seconds)
            self.on_pause(seconds)
            if len(self.pauses) < len(self._replies):
                return
            self._over.set()
        await asyncio.Event().wait()


async def test_a_provider_without_models_is_asked_for_its_list_with_its_key() -> None:
    market = Market(listed("gpt-4o", "o3"))
    await market.runs()
    assert market.names.learned("open") == ("gpt-4o", "o3")
    (asked,) = market.asked
    assert (asked.method, str(asked.url)) == ("GET", "http://localhost:1/v1/models")
    assert asked.headers["Authorization"] == f"Bearer {KEY.reveal()}"


async def test_a_provider_with_models_is_not_asked_for_its_list() -> None:
    market = Market(providers=(provider("closed", models=("gpt-4o",)),))
    reading = asyncio.create_task(market.catalogues.run())
    await market.catalogues.first_lists()
    reading.cancel()
    assert market.asked == []


async def test_a_list_is_asked_for_again_after_refresh_seconds_or_somewhat_earlier() -> None:
    punctual, early = (Market(listed("a"), listed("b"), random=number) for number in (0.0, 1.0))
    await punctual.runs()
    await early.runs()
    assert punctual.names.learned("open") == ("b",)
    assert (punctual.pauses, early.pauses) == ([100, 100], [80, 80])


async def test_after_a_failure_it_is_asked_soon_and_then_less_and_less_often() -> None:
    failures = [httpx.Response(404)] * 6
    market = Market(*failures, listed("a"), httpx.ConnectError("no"))
    await market.runs()
    assert market.pauses == [5, 10, 20, 40, 80, 100, 100, 5]
    assert market.names.learned("open") == ("a",), "a list stays when a later reading fails"


@pytest.mark.parametrize(
    "reply",
    [
        lambda: httpx.Response(404),
        lambda: httpx.Response(301, headers={"Location": "http://elsewhere.example"}),
        lambda: httpx.Response(200, text="<p>no</p>"),
        lambda: httpx.Response(200, json={"data": {"a": 1}}),
        lambda: httpx.Response(200, json={"data": ["", 7, None, "a\nb", "x" * 301, KEY.reveal()]}),
        lambda: httpx.Response(200, content=b'{"data": [' + b'{"id": "x"},' * 400_000 + b"0]}"),
        lambda: httpx.ReadTimeout("too slow"),
        lambda: RuntimeError("a fault in here"),
    ],
    ids=["404", "redirect", "HTML", "no list", "no names", "too much", "timeout", "fault"],
)
async def test_failures_to_list_models_are_logged_once_and_end_nothing(
    reply: Callable[[], Reply], caplog: pytest.LogCaptureFixture
) -> None:
    market = Market(reply(), reply(), reply())
    with caplog.at_level(logging.INFO):
        await market.runs()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith("provider open does not say which models it has: ")
    assert KEY.reveal() not in record.getMessage()
    assert market.names.learned("open") == ()


@pytest.mark.parametrize(
    "document", [["a", "b"], {"models": [{"name": "a"}, {"name": "b"}]}, {"data": ["a", "b", "a"]}]
)
async def test_lists_of_models_may_have_other_shapes(document: object) -> None:
    market = Market(httpx.Response(200, json=document))
    await market.runs()
    assert market.names.learned("open") == ("a", "b")


async def test_no_more_than_ten_thousand_names_are_kept() -> None:
    market = Market(listed(*map(str, range(10_500))))
    await market.runs()
    assert len(market.names.learned("open")) == 10_000


# Routstr nodes


NODE = provider("node", kind="routstr", api_key=KEY, refresh=100)


def priced(prompt: float, name: str = "m") -> httpx.Response:
    return httpx.Response(200, json={"data": [{"id": name, "sats_pricing": {"prompt": prompt, "completion": 0.1}}]})


def input_rate(market: Market, node: Provider = NODE) -> float:
    return float(market.names.rates(node, "m").input)


async def test_a_nodes_list_says_what_it_sells_and_for_how_much() -> None:
    assert Market(providers=(NODE,)).names.standing(NODE, "m") == "listed", "its rates are configured"
    node = bare()
    market = Market(priced(0.005), providers=(node,))
    assert market.names.standing(node, "m") == "unread"
    await market.runs()
    assert [market.names.standing(node, model) for model in ("m", "other")] == ["listed", "absent"]
    assert input_rate(market, node) == 5


async def test_configured_rates_and_models_hold_before_a_nodes_own() -> None:
    models = ({"id": "M", "output_rate": 7}, {"id": "mine", "upstream_id": "m"}, "absent")
    node = Provider.model_validate(
        {
            "name": "node",
            "url": NODE.url,
            "kind": "routstr",
            "api_key": "sk-0123456789",
            "models": models,
            "base_fee": 1,
        }
    )
    market = Market(priced(0.005), providers=(node,))
    await market.runs()
    standings = [market.names.standing(node, model) for model in ("m", "mine", "absent", "other")]
    assert standings == ["listed", "listed", "absent", "absent"]
    rates = market.names.rates(node, "m")
    assert (float(rates.input), float(rates.output), float(rates.base_fee)) == (5, 7, 1000)
    assert float(market.names.rates(node, "mine").output) == 100
    assert market.names.id_at(node, "mine") == "m"


def bare(url: str = "http://node.example/v1") -> Provider:
    return Provider(name="node", url=url, kind="routstr", api_key=KEY, refresh=100)


async def test_a_tenfold_jump_is_used_when_it_was_read_twice(caplog: pytest.LogCaptureFixture) -> None:
    node = bare()
    once = Market(priced(5), priced(0.5), providers=(node,))
    twice = Market(priced(5), priced(0.5), priced(0.5), providers=(node,))
    with caplog.at_level(logging.INFO):
        await once.runs()
    assert input_rate(once, node) == 5000
    assert "prices of 1 models changed tenfold" in caplog.text
    jumps: list[tuple[str, int]] = []
    twice.catalogues.on_jumps(lambda provider, models: jumps.append((provider, len(models))))
    await twice.runs()
    assert input_rate(twice, node) == 500
    assert jumps == [("node", 0), ("node", 1), ("node", 0)]


async def test_a_nodes_prices_are_doubted_when_they_are_old() -> None:
    node, market = bare(), Market(priced(1), httpx.Response(500), httpx.Response(500), providers=(bare(),))
    standings = []

    def later(seconds: float) -> None:
        standings.append(market.names.standing(node, "m"))
        market.now_ms += 601_000

    market.on_pause = later
    await market.runs()
    assert standings == ["listed", "doubted", "doubted"]
    assert input_rate(market, node) == 1000


@pytest.mark.parametrize(
    ("away_ms", "standing"), [(0, "listed"), (600_000, "listed"), (600_001, "doubted"), (-5, "doubted")]
)
async def test_a_list_is_kept_over_a_restart_and_doubted_when_that_was_long(away_ms: int, standing: str) -> None:
    before, after = Market(priced(1), providers=(bare(),)), Market(priced(1), providers=(bare(),))
    await before.runs()
    cells = before.catalogues.export()
    assert before.catalogues.export() == {}, "once is enough"
    after.now_ms += away_ms
    after.catalogues.restore({**cells, ("catalogue", "gone"): "[]", ("other", "node"): "x"})
    assert after.names.standing(bare(), "m") == standing
    assert input_rate(after, bare()) == 1000


async def test_a_list_of_another_address_is_not_taken_up() -> None:
    market = Market(priced(1), providers=(bare(),))
    await market.runs()
    cells = market.catalogues.export()
    elsewhere = bare("http://other.example/v1")
    other = Market(priced(1), providers=(elsewhere,))
    other.catalogues.restore(cells)
    assert other.names.standing(elsewhere, "m") == "unread"


async def test_a_tenfold_jump_over_a_restart_is_doubted() -> None:
    before, after = Market(priced(5), providers=(bare(),)), Market(priced(0.5), providers=(bare(),))
    await before.runs()
    after.catalogues.restore(before.catalogues.export())
    await after.runs()
    assert input_rate(after, bare()) == 5000

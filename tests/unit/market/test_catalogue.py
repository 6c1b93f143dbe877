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
        self._over = asyncio.Event()
        self.catalogues = Catalogues(
            providers,
            self.names,
            httpx.MockTransport(self._reply),
            Redactor([KEY]),
            random=lambda: random,
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

"""What arbstr does about money under way while it runs: at once, then ever more rarely, and saying it once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from arbstr.market.money_journal import has_moves, journal_path, opened
from arbstr.market.money_moves import TokenMove
from arbstr.market.money_watch import LOOK_S, MoneyWatch
from arbstr.transport.pool import PooledTransport
from tests.support.clock import Clock
from tests.support.money_node import MoneyNodes

UNAVAILABLE = (503, {"error": {"message": "Cashu mint is unreachable"}})


class Watched:
    """A watch whose time passes by itself, until it has passed `until_s`."""

    def __init__(self, config: Path, transport: PooledTransport) -> None:
        self.config = config
        self.transport = transport
        self.clock = Clock()
        self.moved = 0
        self.watch = MoneyWatch(config, {}, transport, on_moved=self._on_moved, clock=self.clock, sleep=self._sleep)

    def _on_moved(self) -> None:
        self.moved += 1

    async def _sleep(self, seconds: float) -> None:
        assert seconds == LOOK_S
        self.clock.now += seconds
        if self.clock.now > self._until_s:
            raise asyncio.CancelledError

    async def run(self, for_s: float) -> None:
        self._until_s = self.clock.now + for_s
        with pytest.raises(asyncio.CancelledError):
            await self.watch.run()


@pytest_asyncio.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    transport = PooledTransport()
    yield Watched(tmp_path / "config.toml", transport)
    await transport.aclose()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("arbstr.market.settlement._AGAIN_S", 0.0)


def under_way(config: Path, url: str, token: str) -> None:
    config.write_text(f'[[providers]]\nname = "a"\nkind = "routstr"\nurl = "{url}"\n')
    with opened(journal_path(config)) as journal:
        journal.put(TokenMove(id="1", provider="a", url=url, key=None, token=token))


async def test_where_nothing_is_under_way_nothing_is_made(watched: Watched) -> None:
    await watched.run(60)
    assert list(watched.config.parent.iterdir()) == []
    assert watched.moved == 0


async def test_it_asks_at_once_and_then_ever_more_rarely(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with MoneyNodes() as nodes:
        node, token = nodes.node("x"), nodes.mint.token(5)
        node.scripted["/v1/balance/create"] = [UNAVAILABLE] * 1000
        under_way(watched.config, nodes.url("x"), token)
        watched = Watched(watched.config, watched.transport)  # started after that
        await watched.run(0)
        assert len(node.asked) == 3
        await watched.run(600)
        assert len(node.asked) == 3 * 5, "after 0, 30, 90, 210 and 450 s"
        assert len([record for record in caplog.records if "unreachable" in record.message]) == 1
        node.scripted.clear()
        await watched.run(600)
        assert not has_moves(journal_path(watched.config))
        assert "a has a first key" in caplog.text
        assert token not in caplog.text


async def test_what_a_command_has_moved_is_noticed(watched: Watched) -> None:
    await watched.run(10)
    with opened(journal_path(watched.config)):
        pass
    await watched.run(10)
    assert watched.moved == 1
    await watched.run(10)
    assert watched.moved == 1


async def test_a_command_that_is_at_it_is_not_disturbed(watched: Watched) -> None:
    under_way(watched.config, "http://127.0.0.1:1/v1", "cashuB0123456789")
    with opened(journal_path(watched.config)) as journal:
        await watched.run(100)
        assert len(journal.moves) == 1


async def test_a_journal_that_can_not_be_read_is_said_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    journal_path(watched.config).write_text("nonsense\n")
    await watched.run(1000)
    assert caplog.text.count("line 1, can't be read") == 1

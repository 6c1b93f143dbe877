"""The connection over which instances hear of each other: none is left open."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from arbstr.ledger.postgres import channel, schema
from arbstr.ledger.postgres.channel import PostgresChannel
from arbstr.places import PostgresPlace
from tests.support.patience import PATIENCE_S


class Slow:
    """A connection that is made once it may."""

    began, may, closed = threading.Event(), threading.Event(), threading.Event()

    def __init__(self, place: PostgresPlace) -> None:
        self.began.set()
        self.may.wait(PATIENCE_S)

    def execute(self, sql: str) -> Slow:
        return self

    def fetchone(self) -> tuple[str]:
        return ("arbstr",)

    def listen(self, name: str) -> None:
        pass

    def close(self) -> None:
        self.closed.set()


async def test_a_connection_that_is_made_after_it_was_cancelled_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "PostgresConnection", Slow)
    monkeypatch.setattr(schema, "check", lambda db, place: None)
    opening = asyncio.create_task(PostgresChannel.open(PostgresPlace.at("postgresql://db.example/arbstr", tmp_path)))
    await asyncio.to_thread(Slow.began.wait, PATIENCE_S)
    opening.cancel()
    await asyncio.gather(opening, return_exceptions=True)
    Slow.may.set()
    assert await asyncio.to_thread(Slow.closed.wait, PATIENCE_S)

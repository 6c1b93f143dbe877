"""The invariant: whatever providers and clients do, every request has one end and one row."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from itertools import count

import pytest

from arbstr.events import RequestFinished, RequestReceived
from tests.support.harness import Arbstr, ProxyHarness, body
from tests.support.patience import PATIENCE_S
from tests.support.provider import (
    Asked,
    Move,
    Part,
    byte_by_byte,
    chunk,
    completion,
    cut_at,
    error_reply,
    event,
    head,
    json_reply,
    reply,
    sse_reply,
    stream_events,
    usage_chunk,
)

REQUESTS = 150
AT_ONCE = 25


class Chance:
    """Behaviours drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.answers = 0  # whole ones, errors too

    def reply(self, asked: Asked) -> list[Part]:
        """What a provider does this time."""
        good = self._stream() if asked.json.get("stream") else json_reply(completion(tokens=(7, 3)))
        if self._random.random() < 0.4:
            return good
        return self._random.choice([self._bad, self._cut, self._late])(good)

    def _stream(self) -> list[Part]:
        text = b"".join(stream_events("Hel", "lo", tokens=(7, 3)))
        places = [self._random.randrange(1, len(text)) for _ in range(self._random.randrange(6))]
        return sse_reply(*cut_at(text, *places))

    def _bad(self, good: list[Part]) -> list[Part]:
        return self._random.choice(
            [
                error_reply(self._random.choice([301, 400, 401, 402, 404, 408, 422, 429, 500, 501, 502, 503, 504])),
                error_reply(404, code="model_not_found"),
                error_reply(429, Retry_After=self._random.choice(["0", "0.001", "60", "soon"])),
                reply(self._random.choice([b"", b"[]", b"<h1>Hi</h1>", b'{"choices": [', b"\xff\xfe"])),
                json_reply({"error": {"message": "no"}}),
                json_reply(completion(tokens=None)),
                sse_reply(event({"error": {"message": "no"}})),
                sse_reply(chunk("Hel"), event({"error": {"message": "no"}})),
                sse_reply(chunk("Hel"), usage_chunk(0, 0)),
                sse_reply(b": ping\n\n", chunk("Hel"), chunk(finish_reason="stop")),
                [b"SSH-2.0\r\n\r\n", Move.CLOSE],
                [head(200, ("Transfer-Encoding", "chunked")), b"zz\r\n", Move.CLOSE],
                [head(200, ("X-Huge", "x" * 100_000)), Move.CLOSE],
                [Move.CLOSE],
                [Move.RESET],
                [Move.NEVER],
                [*good, Move.CLOSE_ON_NEXT],
            ]
        )

    def _cut(self, good: list[Part]) -> list[Part]:
        """A good reply that ends somewhere."""
        text = b"".join(part for part in good if isinstance(part, bytes))
        end = self._random.choice([Move.CLOSE, Move.RESET, Move.NEVER])
        return [text[: self._random.randrange(1, len(text))], end]

    def _late(self, good: list[Part]) -> list[Part]:
        """A good reply with pauses in it, or by the byte."""
        if self._random.random() < 0.2:
            return byte_by_byte(b"".join(part for part in good if isinstance(part, bytes)))
        return [part for piece in good for part in (self._pause(), piece)]

    def _pause(self) -> asyncio.Event:
        over = asyncio.Event()
        asyncio.get_running_loop().call_later(self._random.random() * 0.01, over.set)
        return over

    async def client(self, arbstr: Arbstr) -> None:
        """A client that asks for something and may leave at any time."""
        patience_s = self._random.choice([0.0, 0.001, 0.005, 0.02, 5.0, 5.0, 5.0])
        kind = self._random.randrange(10)
        data = json.dumps(body(stream=self._random.random() < 0.5)).encode()
        if kind == 0:
            data = self._random.choice([b"", b"{", b"[]", b"{}", json.dumps(body(model="gpt-5")).encode()])
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_s), arbstr.open(data) as stream:
                if self._random.random() < 0.2:
                    stream.leave()
                else:
                    await stream.rest()
                    self.answers += 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("on_client_gone", ["drain", "cancel"])
async def test_every_request_has_one_end_and_one_row(harness: ProxyHarness, seed: int, on_client_gone: str) -> None:
    chance = Chance(seed)
    for name in ("alpha", "beta", "gamma"):
        timeouts = {"first_byte": 0.2, "idle": 0.1}
        await harness.add_provider(
            name, chance.reply, timeouts=timeouts, on_client_gone=on_client_gone, max_in_flight=15
        )
    arbstr = await harness.start(
        server={"keepalive": 0.02, "max_in_flight": AT_ONCE + 5},
        retry={"backoff": 0.001},
        breaker={"failure_threshold": 5, "open_for": 0.02, "max_open_for": 0.1},
        budget={"max_sats_per_day": 1_000_000},
    )

    def clients() -> Iterator[int]:
        """So many; more while too few were heard: on a busy machine the impatient leave before they are."""
        for number in count():
            if number >= REQUESTS and len(received_by(arbstr)) > REQUESTS / 2 and chance.answers > REQUESTS / 10:
                return
            yield number

    waiting = clients()

    async def crowd() -> None:
        for _ in waiting:
            await chance.client(arbstr)

    await asyncio.gather(*(crowd() for _ in range(AT_ONCE)))
    await arbstr.catch_up()
    async with asyncio.timeout(PATIENCE_S):
        while arbstr.source.snapshot().running:
            await arbstr.catch_up()
    received = received_by(arbstr)
    records = await arbstr.finished(len(received))

    finished = Counter(event.record.request_id for event in arbstr.events if isinstance(event, RequestFinished))
    assert set(finished) == received
    assert set(finished.values()) == {1}
    rows = await every_row(arbstr, len(received))
    assert Counter(row["request_id"] for row in rows) == finished
    for record in records:
        assert record.success == (record.error_status is None)
        assert record.cost_msats is None or record.input_tokens is not None
    assert len(records) > REQUESTS / 2
    assert any(record.success for record in records)
    assert chance.answers > REQUESTS / 10
    # Nothing is left of them.
    snapshot = arbstr.source.snapshot()
    assert not snapshot.running
    assert all(status.in_flight == 0 for status in snapshot.providers)
    assert snapshot.budgets[0].reserved_msats == 0
    assert arbstr.proxy._lasting.admission.in_flight == 0
    assert "unhandled exception" not in arbstr.log


def received_by(arbstr: Arbstr) -> set[str]:
    return {event.request_id for event in arbstr.events if isinstance(event, RequestReceived)}


async def every_row(arbstr: Arbstr, number: int) -> list[dict[str, object]]:
    await arbstr.rows(min(number, 100))
    pages = [await arbstr.get(f"/v1/requests?per_page=100&page={page}") for page in (1, 2)]
    return [row for page in pages for row in page.json["data"]]

"""A whole arbstr between clients and providers that say anything, and what must hold after each thing said.

Synchronous from outside, as hypothesis wants it: the loop runs only within `FuzzHarness.run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import sqlite3
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import h11
import uvloop

from arbstr.events import RequestFinished
from arbstr.ledger.model import Detail
from arbstr.logs.ring import LogLine
from arbstr.sanitize import sanitize
from arbstr.types import RequestRecord
from tests.fuzz.requests import CHAT, TOKEN, Sent
from tests.support.dialects import ALL, MESSAGES
from tests.support.harness import Arbstr, ProxyHarness, key_of
from tests.support.patience import PATIENCE_S
from tests.support.provider import Asked, Part, Reply, json_reply, sse_reply

T = TypeVar("T")

SECRETS = (key_of("alpha"), key_of("beta"), key_of("gamma"), TOKEN)
CHATTY = "chatty"  # a model that only providers of chat have
_SPEECHES = {speech.path: speech for speech in ALL}
QUIET_S = 0.1  # what is no whole request may wait for its rest; its client leaves after so long
_FAULTS = ("Traceback", "unhandled exception", "could not fully record", "never retrieved", "could not read")
_LATENCY = "x-arbstr-latency-ms"  # stands in whatever answers a chat request as a whole
_MOST_TOKENS, _MOST_MSATS = 10**9, 10**12


@dataclass(frozen=True)
class ParsedResponse:
    """An answer as a strict reader of HTTP takes it."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def request_id(self) -> str | None:
        """arbstr's name for the request."""
        return self.headers.get("x-arbstr-request-id")


class FuzzHarness:
    """One arbstr for many examples. Providers: alpha plays the given replies, beta answers properly.

    So do gamma and delta, which speak chat alone, for the model `chatty`.
    """

    def __init__(self, home: Path) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self.ledger = home / "arbstr.db"
        self._proxy = ProxyHarness(self.ledger)
        self._replies: list[Reply] = []
        self._ids: Counter[str] = Counter()
        self._last_line = 0  # the last line of the log that was looked at
        self._arbstr: Arbstr = self.run(self._start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Let the loop run until this is done."""
        return self._runner.run(work)

    def close(self) -> None:
        """End everything, and look at log and ledger a last time: what nobody awaited complains when it goes."""
        self.run(self._proxy.close())
        self._runner.close()
        _check_log(self._logged())
        with closing(sqlite3.connect(self.ledger)) as db:
            rows = Counter(request_id for (request_id,) in db.execute("SELECT correlation_id FROM requests"))
        assert rows == self._ids, "not one row for each request that finished"

    async def _start(self) -> Arbstr:
        patient = {"first_byte": 3, "idle": 3}
        await self._proxy.add_provider("alpha", self._wild, models=("gpt-4o", "mini"), timeouts=patient)
        await self._proxy.add_provider("beta", _good, models=("gpt-4o", "mini"), input_rate=1000, output_rate=3000)
        alone: dict[str, Any] = {"models": (CHATTY,), "dialects": ("chat",)}
        await self._proxy.add_provider("gamma", self._wild, timeouts=patient, **alone)
        await self._proxy.add_provider("delta", _good, input_rate=1000, output_rate=3000, **alone)
        arbstr = await self._proxy.start(
            server={"auth_token": TOKEN, "max_request_mb": 1, "allowed_origins": ["*"], "keepalive": 2},
            retry={"max_retries": 1},
            policies={
                "rules": [
                    {"name": "code", "keywords": ["code"], "allowed_models": ["gpt-4o"], "fallback_models": ["mini"]},
                    {"name": "thrifty", "max_sats_per_request": 1000, "fallback_models": ["mini", "gpt-4o"]},
                ]
            },
            budget={"max_sats_per_day": 2.1e15},
        )
        arbstr.session.headers["Authorization"] = f"Bearer {TOKEN}"
        return arbstr

    def _wild(self, asked: Asked) -> Reply:
        return self._replies.pop(0) if self._replies else _good(asked)

    # What may happen

    def exchange(self, sent: Sent, replies: Iterable[Sequence[Part]] = ()) -> list[ParsedResponse]:
        """A client says this, and alpha answers so; what the client hears, once all that must hold has been checked."""
        self._replies = [list(reply) for reply in replies]
        random.seed()  # hypothesis begins each example with the same chance, and so with the same request ids
        try:
            heard, closed = self.run(self._converse(sent))
        finally:
            records, lines = self._finished(), self._logged()
        for answer in heard:
            assert answer.status != 500, answer
            assert _LATENCY not in answer.headers or answer.request_id in {record.request_id for record in records}
            _check_error(answer, sent.path)
            _check_secrets(answer)
        if sent.orderly:
            assert heard, f"no answer, and the connection was {'closed' if closed else 'left waiting'}"
            assert [record.request_id for record in records] == [heard[0].request_id]
        for record in records:
            _check_record(record)
            self._check_row(record)
        self._check_nothing_left()
        _check_log(lines)
        return heard

    def get(self, target: bytes) -> ParsedResponse:
        """The answer to a question, asked as a browser does."""
        head = b"GET %b HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n" % (target, TOKEN.encode())
        (heard,), _ = self.run(self._converse(Sent([head], orderly=True)))
        lines = self._logged()
        _check_error(heard)
        _check_log(lines)
        return heard

    async def _converse(self, sent: Sent) -> tuple[list[ParsedResponse], bool]:
        address = urlsplit(self._arbstr.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        ears = _ResponseReader()
        try:
            with contextlib.suppress(ConnectionError):
                for piece in sent.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
            await ears.read(reader, PATIENCE_S if sent.orderly else QUIET_S)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await self._settle()
        return ears.responses, ears.closed

    async def _settle(self) -> None:
        """Return once arbstr is done with whatever was said."""
        await self._arbstr.catch_up()
        async with asyncio.timeout(PATIENCE_S):
            while self._arbstr.source.snapshot().running or self._arbstr.proxy._lasting.admission.in_flight:
                await self._arbstr.catch_up()
        for name in ("alpha", "beta", "gamma", "delta"):
            self._arbstr.source.close_breaker(name)
        spoken = (
            self._arbstr.proxy._in_force.composition.spoken
        )  # each example begins with all that providers may speak
        spoken._unlearned.clear()
        spoken._missed.clear()

    # What must hold

    def _logged(self) -> list[LogLine]:
        lines = self._arbstr.ring.since(self._last_line)
        self._last_line = lines[-1].seq if lines else self._last_line
        return lines

    def _finished(self) -> list[RequestRecord]:
        events = self._arbstr.events
        records = [event.record for event in events if isinstance(event, RequestFinished)]
        events.clear()
        self._ids.update(record.request_id for record in records)
        assert all(self._ids[record.request_id] == 1 for record in records), "finished twice"
        return records

    def _check_row(self, record: RequestRecord) -> None:
        detail = self.run(self._row(record.request_id))
        entry = detail.entry
        assert (entry.input_tokens, entry.output_tokens) == (record.input_tokens, record.output_tokens)
        assert (entry.cost_msats, entry.provider_cost_msats) == (record.cost_msats, record.provider_cost_msats)
        assert (entry.success, entry.error_status) == (record.success, record.error_status)
        shown = json.dumps([entry.model, entry.error_message, detail.attempts, detail.routing], ensure_ascii=False)
        assert not any(secret in shown for secret in SECRETS)
        assert entry.error_message is None or not entry.error_message.endswith("..")

    async def _row(self, request_id: str) -> Detail:
        async with asyncio.timeout(PATIENCE_S):
            while (detail := await self._arbstr.source.ledger.request(request_id)) is None:
                pass  # a busy machine may take longer to write it than a reader waits
        return detail

    def _check_nothing_left(self) -> None:
        snapshot = self._arbstr.source.snapshot()
        assert not snapshot.running
        assert all(status.in_flight == 0 for status in snapshot.providers)
        assert all(budget.reserved_msats == 0 and budget.spent_msats >= 0 for budget in snapshot.budgets)


def _good(asked: Asked) -> Reply:
    speech = _SPEECHES[asked.path.partition("?")[0]]
    return sse_reply(*speech.events) if asked.json.get("stream") and speech.events else json_reply(speech.answer)


def _check_error(answer: ParsedResponse, path: str = CHAT) -> None:
    """An error of arbstr's own has its dialect's shape; one that a provider gave is the provider's."""
    if answer.status < 400 or ("x-arbstr-provider" in answer.headers and answer.status < 500):
        return
    document = json.loads(answer.body)
    error = document["error"]
    if path == MESSAGES.path:
        assert (document["type"], set(error)) == ("error", {"type", "message"})
        return
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert error["code"].replace("_", "").isalpha()


def _check_secrets(answer: ParsedResponse) -> None:
    """A key may be quoted in what a provider's model says, but in no header, and in no error."""
    shown = repr(answer.headers) + ("" if answer.status < 300 else answer.body.decode(errors="replace"))
    assert not any(secret in shown for secret in SECRETS), shown


def _check_record(record: RequestRecord) -> None:
    assert record.success == (record.error_status is None)
    for tokens in (record.input_tokens, record.output_tokens):
        assert tokens is None or 0 <= tokens <= _MOST_TOKENS
    for msats in (record.cost_msats, record.provider_cost_msats):
        assert msats is None or 0 <= msats <= _MOST_MSATS
    if record.cost_msats is not None and record.provider_cost_msats is None:  # a charge needs no tokens
        assert None not in (record.input_tokens, record.output_tokens)
    assert record.latency_ms >= 0


def _check_log(lines: Iterable[LogLine]) -> None:
    for line in lines:
        assert line.level < logging.ERROR, line.text
        assert not any(fault in line.text for fault in _FAULTS), line.text
        assert not any(secret in line.text for secret in SECRETS), line.text
        assert line.text == sanitize(line.text, most=len(line.text)), line.text


class _ResponseReader:
    """Reads answers off a connection, strictly. `closed`: the other side has ended the connection."""

    def __init__(self) -> None:
        self.responses: list[ParsedResponse] = []
        self.closed = False
        self._parser = self._asked()

    @staticmethod
    def _asked() -> h11.Connection:
        parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=1_000_000)
        parser.send(h11.Request(method="POST", target="/", headers=[("Host", "x"), ("Content-Length", "0")]))
        parser.send(h11.EndOfMessage())
        return parser

    async def read(self, reader: asyncio.StreamReader, patience_s: float) -> None:
        """Hear one whole answer; without one, the connection's end or so long a silence. Raises on what is no HTTP."""
        status, headers, body = 0, {}, b""
        while True:
            event = self._parser.next_event()
            if event is h11.NEED_DATA:
                try:
                    async with asyncio.timeout(PATIENCE_S if status else patience_s):
                        data = await reader.read(65536)
                except TimeoutError:
                    assert not status, "an answer without an end"
                    return
                except ConnectionError:
                    data = b""
                if not data and not status and not self._parser.trailing_data[0]:
                    self.closed = True
                    return
                self._parser.receive_data(data)
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode("utf-8", "replace") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                self.responses.append(ParsedResponse(status, headers, body))
                return

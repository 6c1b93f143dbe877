"""The benchmark itself: that it still runs, counts what it says, and notices wrong answers."""

from __future__ import annotations

import socket
import threading

import pytest

from tests.perf.bench import report, spoken, targets, wire
from tests.perf.bench.load import Job
from tests.perf.bench.proxy import measure_once

KINDS: list[wire.Kind] = ["json", "stream"]


def test_measures_the_provider_and_the_bare_pass_through() -> None:
    with targets.direct([], 1) as upstream, targets.bare(upstream, []) as bare:
        running = [upstream, bare]
        measured = [
            report.Measured(target.name, measure_once(Job(kind, target.port, 2, 0.15, warmup=0.05, watch=target.pid)))
            for kind in KINDS
            for target in running
        ]
        table = report.markdown("here", measured, running, {"bare": 40.0})
    samples = [each.sample for each in measured]
    assert [each.first_error for each in samples] == [""] * 4
    assert all(each.per_second > 0 and each.p50_ms > 0 and each.first_byte_ms > 0 for each in samples)
    assert "| 2 | bare |" in table


@pytest.mark.parametrize("dialect", spoken.ALL)
def test_measures_every_dialect(dialect: str) -> None:
    kinds: list[wire.Kind] = [kind for kind in KINDS if kind == "json" or spoken.ALL[dialect].events]
    with targets.direct([], 1) as upstream:
        samples = [measure_once(Job(kind, upstream.port, 2, 0.1, warmup=0.05, dialect=dialect)) for kind in kinds]
    assert [each.first_error for each in samples] == [""] * len(kinds)


def test_counts_an_answer_that_is_not_whole_as_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_answer_wrongly, args=(listening,), daemon=True).start()
        sample = measure_once(Job("json", listening.getsockname()[1], 1, seconds=0.1, warmup=0.1))
    assert "another answer" in sample.first_error
    assert sample.per_second == 0


def test_a_stream_without_one_of_its_contents_is_not_whole() -> None:
    events = wire.events()
    assert wire.is_whole_stream(b"".join(events))
    assert not wire.is_whole_stream(b"".join(events[1:]))
    assert not wire.is_whole_stream(b"".join(events[:-1]))


def test_chunks_are_taken_apart_as_they_were_put_together() -> None:
    coded = b"".join(map(wire.chunk, wire.events())) + b"0\r\n\r\n"
    assert wire.dechunked(coded) == b"".join(wire.events())
    with pytest.raises(ValueError, match="invalid literal"):
        wire.dechunked(coded[1:])


def _answer_wrongly(listening: socket.socket) -> None:
    """A server whose answers are two bytes long, on one connection until the client leaves."""
    connection, _ = listening.accept()
    with connection:
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

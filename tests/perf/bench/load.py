"""The load: raw protocol clients that ask again as soon as they are answered, and check what they get.

Run as a process of its own: `python -m tests.perf.bench.load '{"kind": "json", ...}'` prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import cast

import uvloop

from tests.perf.bench import spoken, wire
from tests.perf.bench.process import cpu_s

_TAKEN_APART = 16  # one stream in so many is dechunked and its events counted; of all the others the end is looked at
_LAST_WAIT_S = 15.0  # for answers still to come when the time is over
_RETRY_S = 0.02
_LAST_BYTES = 4096


@dataclass(frozen=True)
class Job:
    """What to measure: `kind` of request at `port` over `connections`, for `seconds` after `warmup` seconds.

    `watch` is the process whose CPU time is taken over the same interval, if any; `dialect` is one of `spoken.ALL`,
    chat if none is named.
    """

    kind: wire.Kind
    port: int
    connections: int
    seconds: float
    warmup: float = 0.2
    watch: int | None = None
    dialect: str = ""


@dataclass(frozen=True)
class Sample:
    """What came of a job, whole answers only. Times in ms, `first_byte_ms` of the body; CPU per answer.

    `errors` counts everything else, also before and after the measured interval; `first_error` is the first one's text.
    """

    kind: wire.Kind
    connections: int
    per_second: float
    p50_ms: float
    p99_ms: float
    first_byte_ms: float
    cpu_ms: float | None
    errors: int
    first_error: str = ""


@dataclass
class Tally:
    """What is counted on the way. Times in seconds: to the whole answer, and to its first body byte."""

    latencies: list[float] = field(default_factory=list)
    first_bytes: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    elapsed: float = 0.0
    cpu_s: float | None = None

    def sample(self, job: Job) -> Sample:
        """The figures of the whole job."""
        latencies = sorted(self.latencies)
        done = len(latencies)
        return Sample(
            kind=job.kind,
            connections=job.connections,
            per_second=done / self.elapsed,
            p50_ms=_percentile(latencies, 50),
            p99_ms=_percentile(latencies, 99),
            first_byte_ms=_percentile(sorted(self.first_bytes), 50),
            cpu_ms=self.cpu_s * 1000 / done if self.cpu_s is not None and done else None,
            errors=len(self.errors),
            first_error=self.errors[0] if self.errors else "",
        )


class Client(asyncio.Protocol):
    """One connection, kept alive; one request at a time, the next as soon as an answer is whole."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = bytearray()
        self._asked_at = 0.0
        self._first_at = 0.0
        self._body_at = 0
        self._size: int | None = None
        self._answered = 0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask the first time."""
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the load; in the middle of an answer it is an error."""
        if self._asked_at:
            self._load.failed(f"closed before the answer was whole ({exc or 'end of stream'})")
        self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take the answer in, and ask again when it is whole."""
        self._buffer += data
        if not self._body_at and not self._read_head():
            return
        if not self._first_at and len(self._buffer) > self._body_at:
            self._first_at = perf_counter()
        if self._is_whole():
            self._finish()

    def _ask(self) -> None:
        if self._load.is_over:
            self._asked_at = 0.0
            self._transport.close()
            return
        self._body_at, self._size, self._first_at = 0, None, 0.0
        self._buffer.clear()
        self._asked_at = perf_counter()
        self._transport.write(self._load.request)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body_at = end + 4
        _, found, rest = bytes(self._buffer[:end]).lower().partition(b"\r\ncontent-length:")
        self._size = int(rest.partition(b"\r\n")[0]) if found else None
        return True

    def _is_whole(self) -> bool:
        if self._size is not None:
            return len(self._buffer) >= self._body_at + self._size
        return self._buffer.endswith(b"0\r\n\r\n", self._body_at)

    def _finish(self) -> None:
        now = perf_counter()
        self._answered += 1
        if (fault := self._fault()) is None:
            self._load.answered(now, now - self._asked_at, self._first_at - self._asked_at)
        else:
            self._load.failed(fault)
        self._ask()

    def _fault(self) -> str | None:
        """What is wrong with the answer, None if nothing."""
        if not self._buffer.startswith(b"HTTP/1.1 200 "):
            return bytes(self._buffer[:300]).decode("latin-1")
        if (expected := self._load.spoken) is not None:
            is_whole = (expected.says if self._load.kind == "json" else expected.ends) in self._buffer[-_LAST_BYTES:]
            return None if is_whole else "another answer than expected"
        if self._size is not None:
            body = bytes(self._buffer[self._body_at :])
            return None if self._load.kind == "json" and wire.is_whole_answer(body) else "another answer than expected"
        if self._answered % _TAKEN_APART != 1:
            return None if b"[DONE]" in self._buffer[-64:] else "a stream without its end"
        whole = wire.is_whole_stream(wire.dechunked(bytes(self._buffer[self._body_at :])))
        return None if self._load.kind != "json" and whole else "a stream that is not whole"


class Load:
    """Keeps a number of connections busy and counts what happens within the measured interval."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._tally = Tally()
        self._counting = False
        self.kind = job.kind
        self.spoken = spoken.ALL.get(job.dialect)
        self.request = self.spoken.request(job.kind, job.port) if self.spoken else wire.request(job.kind, job.port)
        self.is_over = False

    def answered(self, now: float, latency: float, first_byte: float) -> None:
        """Count a whole answer that came `now`."""
        if self._counting:
            self._tally.latencies.append(latency)
            self._tally.first_bytes.append(first_byte)

    def failed(self, why: str) -> None:
        """Count an answer that is none, also before and after the measured interval."""
        self._tally.errors.append(why)

    async def run(self) -> Sample:
        """Warm up, measure, let the last answers come."""
        connections = [asyncio.create_task(self._keep_busy(number)) for number in range(self._job.connections)]
        await asyncio.sleep(self._job.warmup)
        await self._measure()
        self.is_over = True
        _, late = await asyncio.wait(connections, timeout=_LAST_WAIT_S)
        for task in late:
            task.cancel()
            self.failed(f"no answer within {_LAST_WAIT_S:g} s")
        return self._tally.sample(self._job)

    async def _measure(self) -> None:
        watch = self._job.watch
        cpu_before, start = cpu_s(watch), perf_counter()
        self._counting = True
        await asyncio.sleep(self._job.seconds)
        self._counting = False
        cpu_after, self._tally.elapsed = cpu_s(watch), perf_counter() - start
        if cpu_before is not None and cpu_after is not None:
            self._tally.cpu_s = cpu_after - cpu_before

    async def _keep_busy(self, number: int) -> None:
        """A connection, and another one whenever it is lost; they do not all start at once."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._job.warmup / 2 * number / self._job.connections)
        while not self.is_over:
            try:
                _, client = await loop.create_connection(lambda: Client(self), "127.0.0.1", self._job.port)
                await client.closed
            except OSError as error:
                self.failed(f"no connection: {error}")
            if not self.is_over:
                await asyncio.sleep(_RETRY_S)


def _percentile(ordered: list[float], percent: int) -> float:
    """Of ordered seconds, in ms; 0 of none."""
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000 if ordered else 0.0


def main() -> None:
    """Do the job that the command line holds as JSON. The answer is short: a pipe takes it in one write."""
    job = Job(**json.loads(sys.argv[1]))
    print(json.dumps(asdict(uvloop.run(Load(job).run()))))


if __name__ == "__main__":
    main()

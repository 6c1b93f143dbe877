"""A steady load: so many requests a second, whether answers come or not.

Run as a process of its own: `python -m tests.perf.bench.steady PORT PER_SECOND SECONDS` prints one JSON object.
Latencies
count from the moment a request was due, so that a server that holds everything up can't hide it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from time import perf_counter

import uvloop

from tests.perf.bench import wire

CONNECTIONS = 32


class Steady:
    """Sends on whatever connection is free, and opens more when none is."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._request = wire.request("json", port)
        self._free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.latencies_ms: list[float] = []
        self.errors = 0

    async def run(self, per_second: float, seconds: float) -> None:
        """Send at an even pace, and wait for the last answers."""
        self._free = [await self._open() for _ in range(CONNECTIONS)]
        began = perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_second * seconds)):
                due = began + number / per_second
                await asyncio.sleep(max(due - perf_counter(), 0))
                group.create_task(self._ask(due))
        for _, writer in self._free:
            writer.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _ask(self, due: float) -> None:
        reader, writer = self._free.pop() if self._free else await self._open()
        writer.write(self._request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        self.latencies_ms.append((perf_counter() - due) * 1000)
        self.errors += not (head.startswith(b"http/1.1 200") and wire.is_whole_answer(body))
        self._free.append((reader, writer))


def main() -> None:
    """The command."""
    port, per_second, seconds = int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])
    load = Steady(port)
    uvloop.run(load.run(per_second, seconds))
    print(json.dumps({"latencies_ms": load.latencies_ms, "errors": load.errors}))


if __name__ == "__main__":
    main()

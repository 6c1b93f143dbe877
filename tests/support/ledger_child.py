"""A process that keeps a ledger and takes commands line by line: `python -m tests.support.ledger_child PATH [nobody]`.

`begin ID`, `append ID`, `fill COUNT`, `wait SECONDS`, `limit BYTES` (of a file's size, as a full disk would), `close`;
each is answered by a line on stdout: `ok`, after one `state` line for everything that the ledger had to say.
"""

from __future__ import annotations

import asyncio
import concurrent.futures.thread  # noqa: F401 - else loaded at its first use, when its file may be out of reach
import os
import resource
import sys

from arbstr.ledger.writer import LedgerWriter
from tests.support.ledger_builders import record


def limit(size: str) -> None:
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard if size == "none" else int(size), hard))


async def obey(ledger: LedgerWriter, command: str, argument: str) -> None:
    match command:
        case "begin":
            ledger.begin(record(request_id=argument, streaming=True, cost_msats=None, stream_duration_ms=310))
            await ledger.settle()
        case "append":
            ledger.append(record(request_id=argument, streaming=True))
            await ledger.settle()
        case "fill":
            for _ in range(int(argument)):
                ledger.append(record(error_message="x" * 500))
            await ledger.settle(2)
        case "wait":
            await asyncio.sleep(float(argument))
        case "limit":
            limit(argument)
        case "close":
            await ledger.close()


async def main(path: str) -> None:
    ledger = LedgerWriter(path, on_state=lambda ok, message: print("state", ok, message, flush=True))
    await ledger.start()
    print("ok", flush=True)
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        await obey(ledger, command, argument)
        print("ok", flush=True)
    await ledger.close()


if __name__ == "__main__":
    if "nobody" in sys.argv[2:] and os.geteuid() == 0:
        os.seteuid(65534)  # to root no file is read-only
    asyncio.run(main(sys.argv[1]))

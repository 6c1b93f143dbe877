"""How `arbstr reload` reaches the arbstr that runs: by a socket beside its ledger, which its owner alone can open.

A process id could be another program's by now; who answers on the socket is what it is, or nobody. There is one socket
for each process, `<ledger>-control-<random>`, so that several can share a ledger.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import stat
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from arbstr.private_files import PRIVATE

logger = logging.getLogger(__name__)

RELOAD = b"reload\n"
_LONGEST_ADDRESS = 100  # bytes of a path; systems take a little more
_PATIENCE_S = 5.0  # with who connects, and with who is connected to
_BRIEFLY_S = 0.01  # what is there already is read after any time
_MOST_BYTES = 1024 * 1024  # of an answer


async def answer_reloads(stack: AsyncExitStack, ledger: Path, reload: Callable[[], Awaitable[Any]]) -> None:
    """Reload when asked to, until the stack unwinds, and answer with the outcome, a named tuple.

    Where no socket can be made, the log says so.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(_PATIENCE_S):
                asked = await reader.readline()
            if asked == RELOAD:
                outcome = await reload()
                writer.write(json.dumps(outcome._asdict(), default=str).encode() + b"\n")
                await writer.drain()
        writer.close()

    try:
        remove_dead(ledger)
        path, listening = _opened(ledger)
        stack.callback(path.unlink, missing_ok=True)
        server = await asyncio.start_unix_server(serve, sock=listening)
    except OSError as error:
        logger.info("arbstr reload can't reach this process (%s); a changed file is taken all the same", error.strerror)
        return
    stack.callback(server.close)


class Answers(NamedTuple):
    """What came of asking: the outcomes, and how many processes gave none."""

    outcomes: list[dict[str, Any]]
    silent: int


def ask_all(ledger: Path, within_s: float) -> Answers:
    """Have every arbstr that runs with this ledger reload, all at once; wait so long for their outcomes."""
    deadline = time.monotonic() + within_s
    outcomes: list[dict[str, Any]] = []
    silent = 0
    with ExitStack() as stack:
        asked = [one for path in control_paths(ledger) if (one := _asked(stack, path)) is not None]
        for one in asked:
            try:
                one.settimeout(max(_BRIEFLY_S, deadline - time.monotonic()))
                outcomes.append(_outcome(one))
            except (OSError, ValueError):  # it hangs, or has ended meanwhile
                silent += 1
    return Answers(outcomes, silent)


def control_paths(ledger: Path) -> list[Path]:
    """Return the sockets beside a ledger, whether or not somebody listens: the user's own, and its owner's.

    Where others can write too, theirs might answer anything.
    """
    ledger = ledger.absolute()
    prefix = f"{ledger.name}-control-"
    with suppress(OSError):
        owners = {os.geteuid()} | ({ledger.stat().st_uid} if ledger.exists() else set())
        found = [(one, one.lstat()) for one in ledger.parent.iterdir() if one.name.startswith(prefix)]
        return sorted(path for path, seen in found if stat.S_ISSOCK(seen.st_mode) and seen.st_uid in owners)
    return []


def remove_dead(ledger: Path) -> None:
    """Remove the sockets that processes which were killed have left beside a ledger."""
    for path in control_paths(ledger):
        with suppress(OSError), _address(path) as address, socket.socket(socket.AF_UNIX) as asking:
            try:
                asking.settimeout(_PATIENCE_S)
                asking.connect(address)
            except ConnectionRefusedError:
                path.unlink()


def _asked(stack: ExitStack, path: Path) -> socket.socket | None:
    """Return a connection to who listens there, who has been asked to reload; None if nobody does."""
    asking = stack.enter_context(socket.socket(socket.AF_UNIX))
    with suppress(OSError), _address(path) as address:
        asking.settimeout(_PATIENCE_S)
        asking.connect(address)
        asking.sendall(RELOAD)
        return asking
    return None


def _outcome(asked: socket.socket) -> dict[str, Any]:
    """Return what came of a reload. Raises OSError and ValueError if no answer comes."""
    with asked.makefile("rb") as answer:
        outcome: dict[str, Any] = json.loads(answer.readline(_MOST_BYTES))
    return outcome


def _opened(ledger: Path) -> tuple[Path, socket.socket]:
    """Return a listening socket that only its owner can connect to, and where it is. Raises OSError."""
    path = ledger.absolute().with_name(f"{ledger.name}-control-{secrets.token_hex(4)}")
    listening = socket.socket(socket.AF_UNIX)
    try:
        os.fchmod(listening.fileno(), PRIVATE)  # what is bound has that mode from the beginning, on Linux
        with _address(path) as address:
            listening.bind(address)
        path.chmod(PRIVATE)
        listening.listen()
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return path, listening


@contextmanager
def _address(path: Path) -> Iterator[str]:
    """The path as a socket's address, which must be short: by way of its directory where it is not. Raises OSError."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)

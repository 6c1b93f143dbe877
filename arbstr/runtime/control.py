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
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from arbstr.private_files import PRIVATE

logger = logging.getLogger(__name__)

RELOAD = b"reload\n"
_LONGEST_ADDRESS = 100  # bytes of a path; systems take a little more
_PATIENCE_S = 5.0  # with who connects
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


def ask_all(ledger: Path, within_s: float) -> list[dict[str, Any]]:
    """Have every arbstr that runs with this ledger reload; return their outcomes."""
    return [outcome for path in control_paths(ledger) if (outcome := _ask(path, within_s)) is not None]


def control_paths(ledger: Path) -> list[Path]:
    """Return the sockets beside a ledger, whether or not somebody listens."""
    ledger = ledger.absolute()
    prefix = f"{ledger.name}-control-"
    with suppress(OSError):
        found = [one for one in ledger.parent.iterdir() if one.name.startswith(prefix)]
        return sorted(path for path in found if stat.S_ISSOCK(path.lstat().st_mode))
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


def _ask(path: Path, within_s: float) -> dict[str, Any] | None:
    """Return what came of a reload, None if nobody listens there. Raises OSError for one that gives no answer."""
    with _address(path) as address, socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(within_s)
        try:
            asking.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        asking.sendall(RELOAD)
        with asking.makefile("rb") as answer:
            line = answer.readline(_MOST_BYTES)
    try:
        outcome: dict[str, Any] = json.loads(line)
    except ValueError:
        raise OSError(0, "it ended before it had answered", str(path)) from None
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

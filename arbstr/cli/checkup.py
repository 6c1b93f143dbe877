"""What `arbstr doctor` looks at."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import httpx

from arbstr.cli.online import ask, complaints
from arbstr.cli.running import answers
from arbstr.cli.tables import counted
from arbstr.clock import MINUTE_MS, to_ms, wall_ms
from arbstr.config.address import Address
from arbstr.config.settings import resolve
from arbstr.errors import ConfigError, LedgerUnavailable
from arbstr.ledger.backend import backend_at
from arbstr.ledger.files import logs_of
from arbstr.market.money_journal import journal_path
from arbstr.places import Place, local_path
from arbstr.transport.pool import PooledTransport, ProxyFor

if TYPE_CHECKING:
    from arbstr.config.settings import Settings

_LEAST_FREE = 200 * 1024 * 1024  # bytes
_MOST_SKEW_MS = MINUTE_MS


class Finding(NamedTuple):
    """One thing that was looked at. `WRONG` keeps arbstr from working, or tells others what they must not know."""

    state: Literal["ok", "note", "WRONG"]
    about: str
    said: str


def findings(config: Path | None, *, offline: bool) -> Iterator[Finding]:
    """Yield what was looked at, thing by thing; `offline` asks no provider."""
    try:
        settings = resolve(os.environ, config=config)
    except ConfigError as error:
        yield from (Finding("WRONG", "configuration", problem) for problem in error.problems)
        yield Finding("note", "", "the rest is looked at once the configuration is valid")
        return
    yield Finding("ok", "configuration", f"{settings.config_path} is valid")
    yield from (Finding("note", "configuration", warning) for warning in settings.warnings)
    ledger = local_path(settings.database)
    yield from _files(settings, ledger)
    yield from _disk(ledger)
    yield _ledger(settings.database)
    yield _address(settings)
    if not offline:
        yield from _providers(settings)


# --- this machine


def _files(settings: Settings, ledger: Path) -> Iterator[Finding]:
    """Yield which private files others can open, and which arbstr itself can't write."""
    assert settings.config_path is not None  # only a mock run has none
    written = (ledger, *logs_of(ledger), journal_path(settings.config_path))
    there = [path for path in (settings.config_path, *written) if path.is_file()]
    found = [finding for path in there for finding in _file(path, is_written=path in written)]
    yield from found or (Finding("ok", "files", f"for you alone: {', '.join(map(str, there))}"),)


def _file(path: Path, *, is_written: bool) -> Iterator[Finding]:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        yield Finding(
            "WRONG", "files", f"others can open {path} (mode {mode:04o}); run chmod 600 {shlex.quote(str(path))}"
        )
    if is_written and not os.access(path, os.R_OK | os.W_OK):
        yield Finding("WRONG", "files", f"{path} can't be read and written by you; give it back to yourself with chown")


def _disk(ledger: Path) -> Iterator[Finding]:
    directory = ledger.absolute().parent
    if not directory.is_dir():
        yield Finding("WRONG", "disk", f"there is no directory {directory} for the ledger; make it")
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        yield Finding("WRONG", "disk", f"no file can be made in {directory}, where the ledger is; make it writable")
    free = shutil.disk_usage(directory).free
    said = f"{free / 1024**2:,.0f} MB are free at {directory}"
    if free < _LEAST_FREE:
        yield Finding("WRONG", "disk", f"only {said}; a full disk keeps rows out of the ledger: make room")
    else:
        yield Finding("ok", "disk", said)


def _ledger(place: Place) -> Finding:
    if backend_at(place).identity() is None:
        return Finding("ok", "ledger", f"none at {place} yet; it is created when arbstr first serves")
    try:
        with closing(backend_at(place).connect()) as connection:
            facts = connection.info()
    except LedgerUnavailable as error:
        return Finding("WRONG", "ledger", str(error))
    last = "" if facts["last"] == "-" else f", the last of {facts['last']}"
    return Finding("ok", "ledger", f"{place}, rows: {facts['rows']}{last}")


def _address(settings: Settings) -> Finding:
    """Return whether arbstr can listen where it is to, or does."""
    address = Address(settings.host, settings.port)
    if answers(settings):
        return Finding("ok", "address", f"arbstr runs at {address}")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(place)
    except OSError as error:
        mend = "end what listens there, or set another server.listen"
        return Finding("WRONG", "address", f"arbstr can't listen on {address} ({error.strerror}); {mend}")
    return Finding("ok", "address", f"{address} is free for arbstr")


# --- the providers, and by them the clock


class _DatedTransport(PooledTransport):
    """Notes in a list by how much the servers' clocks are ahead of this machine's, in ms."""

    def __init__(self, proxy_for: ProxyFor, *, ahead_ms: list[int]) -> None:
        super().__init__(proxy_for)
        self._ahead_ms = ahead_ms

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request and return its response."""
        response = await super().handle_async_request(request)
        with suppress(KeyError, ValueError, TypeError):  # absent, or no date of any time zone
            self._ahead_ms.append(to_ms(parsedate_to_datetime(response.headers["Date"])) - wall_ms())
        return response


def _providers(settings: Settings) -> Iterator[Finding]:

    ahead_ms: list[int] = []
    found = asyncio.run(ask(settings, partial(_DatedTransport, ahead_ms=ahead_ms)))
    notes, problems = complaints(settings, found)
    yield from (Finding("note", "providers", note) for note in notes)
    yield from (Finding("WRONG", "providers", problem) for problem in problems)
    if not (notes or problems):
        yield Finding("ok", "providers", f"{counted(len(found), 'provider')} asked, as they should be")
    yield _clock(ahead_ms)


def _clock(ahead_ms: list[int]) -> Finding:
    """Return whether this machine's clock is right by any provider's: one may be wrong itself."""
    if not ahead_ms:
        return Finding("note", "clock", "no provider said what time it is")
    nearest = min(ahead_ms, key=abs)
    if abs(nearest) <= _MOST_SKEW_MS:
        return Finding("ok", "clock", "right by the providers' clocks")
    way = "behind" if nearest > 0 else "ahead of"
    said = f"this machine's is {abs(nearest) // 1000:,} s {way} every provider's; budgets and the ledger go by it"
    return Finding("WRONG", "clock", f"{said}: set it, and keep it by NTP")

"""A connection to PostgreSQL on which the ledger's statements run."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import lru_cache
from itertools import count
from threading import Timer
from typing import Any, TypeVar

from arbstr.errors import LedgerUnavailable
from arbstr.places import PostgresPlace

try:
    import psycopg
    from psycopg.adapt import Buffer, Loader
    from psycopg.conninfo import conninfo_to_dict
except ImportError as error:  # it is an extra, and its library may be missing
    raise LedgerUnavailable(
        f"A ledger in PostgreSQL needs the package psycopg ({error}); install it with pip install 'arbstr[postgresql]'."
    ) from error

# What the URL does not say. A server that has vanished is noticed within half a minute, by both sides.
_DEFAULTS: dict[str, Any] = {
    "application_name": "arbstr",
    "client_encoding": "utf8",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
# Queries are short: to compile one takes longer than to run it. Disks seek well, and the newest rows are in memory.
_SETTINGS = (
    b"SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3; "
    b"SET jit = off; SET random_page_cost = 1.1; "
    # What a database or a user is given for other programs: arbstr ends what takes too long by itself.
    b"SET statement_timeout = 0; SET lock_timeout = 0; SET idle_session_timeout = 0; "
    b"SET idle_in_transaction_session_timeout = 0; SET default_transaction_isolation = 'read committed'; "
    b"SELECT set_config('transaction_timeout', '0', false) WHERE current_setting('transaction_timeout', true) <> '0'"
)
_CANCEL_S = 5.0
PATIENCE_S = 10.0  # for the server to answer; then the connection is given up
OLDEST = 14  # version of the server
_LOOKS = 20
_HEARD = 1000  # payloads that wait: a flood drops the oldest
_NUL, _NO_NUL = "\0", "\ufffd"  # PostgreSQL's texts can't have it

T = TypeVar("T")

DatabaseError, DataError, IntegrityError = psycopg.Error, psycopg.DataError, psycopg.IntegrityError
LockTimeout, NoPartition = psycopg.errors.LockNotAvailable, psycopg.errors.CheckViolation
TookTooLong, OnlyRead = psycopg.errors.QueryCanceled, psycopg.errors.ReadOnlySqlTransaction


class PostgresConnection:
    """An open connection. Raises `psycopg.Error`; `faults.explain` says it in a sentence."""

    def __init__(self, place: PostgresPlace) -> None:
        self._db = _connect(place)
        self._db.adapters.register_loader("numeric", _Numeric)
        self._heard: deque[str] = deque(maxlen=_HEARD)
        try:
            check_version(place, self._db.info.server_version)
            with self.bounded():
                self._db.execute(_SETTINGS)
                check_session(place, self._db)
        except BaseException:
            self._db.close()
            raise

    @property
    def closed(self) -> bool:
        """Whether it is of no more use."""
        return self._db.closed

    def close(self) -> None:
        """Close it."""
        self._db.close()

    def abort(self) -> None:
        """Make a statement that runs in another thread fail at once, and the connection with it."""
        _abort(self._db)

    @contextmanager
    def bounded(self, patience_s: float = PATIENCE_S) -> Iterator[None]:
        """Give the connection up if the server takes longer to answer all that is asked inside."""
        with _bounded(self._db, patience_s):
            yield

    def cancel(self) -> None:
        """Have the server end the statement that runs in another thread; if it does not answer, `abort`."""
        try:
            self._db.cancel_safe(timeout=_CANCEL_S)
        except psycopg.Error:
            self.abort()

    def execute(self, sql: str, values: Sequence[Any] = ()) -> psycopg.Cursor[Any]:
        """Run one statement, with `?` for its values."""
        if not values:
            return self._db.execute(_numbered(sql).encode())
        return self._db.execute(_numbered(sql).encode(), list(map(_parameter, values)))

    def run(self, script: str) -> None:
        """Run the statements of a script."""
        self._db.execute(script.encode())

    def many(self, sql: str, values: Sequence[Any], some: int) -> Iterator[list[Any]]:
        """Yield the rows of a statement, some at a time; in a transaction."""
        with psycopg.RawServerCursor(self._db, "many") as cursor:
            cursor.execute(_numbered(sql).encode(), list(map(_parameter, values)))
            while rows := cursor.fetchmany(some):
                yield rows

    def copy(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Append rows to a table."""
        with (
            self._db.cursor() as cursor,
            cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN".encode()) as copy,
        ):
            for row in rows:
                copy.write_row([storable(value) for value in row])

    def fileno(self) -> int:
        """Return the socket's number."""
        return self._db.fileno()

    def listen(self, channel: str) -> None:
        """Hear of notifications on a channel from now on."""
        self._db.add_notify_handler(lambda one: self._heard.append(one.payload))
        self._db.execute(f"LISTEN {channel}".encode())

    @property
    def has_heard(self) -> bool:
        """Whether notifications have come with a statement's result."""
        return bool(self._heard)

    def heard(self) -> list[str]:
        """Return the payloads of the notifications that have come since the last call; does not wait."""
        self._db.pgconn.consume_input()
        while (one := self._db.pgconn.notifies()) is not None:
            self._heard.append(one.extra.decode("utf-8", "replace"))
        payloads = list(self._heard)
        self._heard.clear()
        return payloads

    @contextmanager
    def transaction(self, kind: str = "") -> Iterator[None]:
        """Run a transaction: all or nothing."""
        self.begin(kind)
        with self.begun():
            yield

    def begin(self, kind: str = "") -> None:
        """Begin a transaction, for `begun` to end."""
        self._db.execute(f"BEGIN {kind}".encode())

    @contextmanager
    def begun(self) -> Iterator[None]:
        """Run the transaction that has begun."""
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):
                self._db.execute(b"ROLLBACK")
            raise
        self._db.execute(b"COMMIT")


async def run_in(
    threads: ThreadPoolExecutor, db: PostgresConnection, work: Callable[[PostgresConnection], T], patience_s: float
) -> T:
    """Do work in the connection's thread; a server that does not answer in time loses the connection."""
    doing = asyncio.get_running_loop().run_in_executor(threads, work, db)
    doing.add_done_callback(lambda done: done.cancelled() or done.exception())  # who awaits it may have been cancelled
    await asyncio.wait((doing,), timeout=patience_s)
    if doing.done():
        return await doing
    db.abort()
    try:
        return await doing
    except DatabaseError:
        raise _no_answer(patience_s) from None


class _Numeric(Loader):
    """Numbers of any size: sums are whole ones, sats have fractions."""

    def load(self, data: Buffer) -> int | float:
        """Return the number."""
        text = bytes(data)
        return float(text) if b"." in text else int(text)


def storable(value: Any) -> Any:
    """Return a value that PostgreSQL can hold."""
    return value.replace(_NUL, _NO_NUL) if isinstance(value, str) and _NUL in value else value


def _parameter(value: Any) -> Any:
    """Return a value as a statement takes it: sats as decimals, as beside floats no index on them is used."""
    return Decimal(repr(value)) if isinstance(value, float) else storable(value)


def _connect(place: PostgresPlace) -> psycopg.Connection[Any]:
    return psycopg.connect(
        **_arguments(place), autocommit=True, prepare_threshold=None, cursor_factory=psycopg.RawCursor
    )


def check_version(place: PostgresPlace, version: int) -> None:
    """Check that a server is no earlier one than arbstr's statements need. Raises LedgerUnavailable."""
    if version < OLDEST * 10_000:
        mend = f"arbstr needs {OLDEST} or later: update the server"
        raise LedgerUnavailable(f"The ledger {place} is in PostgreSQL {version // 10_000}; {mend}.")


def check_session(place: PostgresPlace, db: psycopg.Connection[Any]) -> None:
    """Check that all statements run in one session. Raises LedgerUnavailable if a pooler takes any for each of them.

    Notifications, locks and temporary tables are a session's.
    """
    [number] = db.execute(b"SELECT pg_backend_pid()").fetchone() or (0,)
    if number == db.info.backend_pid:  # a pooler says another than the server
        return
    mark = secrets.token_hex(8)
    found: list[Any] = []
    with suppress(psycopg.Error), _connect(place) as other, _bounded(other, _CANCEL_S):  # all sessions may be taken
        for _ in range(_LOOKS):  # it may get any that is free
            db.execute(b"SELECT set_config('arbstr.session', $1, false)", (mark,))
            found += other.execute(b"SELECT current_setting('arbstr.session', true)").fetchone() or ()
    if mark in found:
        mend = "set pool_mode = session there, or name the server itself"
        raise LedgerUnavailable(f"The ledger {place} is behind a pooler that does not pool by session; {mend}.")


def _abort(db: psycopg.Connection[Any]) -> None:
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(db.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


@contextmanager
def _bounded(db: psycopg.Connection[Any], patience_s: float) -> Iterator[None]:
    timer = Timer(patience_s, _abort, (db,))
    timer.daemon = True
    timer.start()
    try:
        yield
    except psycopg.Error:
        if timer.finished.is_set():
            raise _no_answer(patience_s) from None
        raise
    finally:
        timer.cancel()


def _no_answer(patience_s: float) -> psycopg.OperationalError:
    return psycopg.OperationalError(f"the server has not answered for {patience_s:g} s")


def _arguments(place: PostgresPlace) -> dict[str, Any]:
    try:
        given = conninfo_to_dict(place.url.reveal())
    except psycopg.Error:  # its text repeats the URL
        mend = "check blanks and % in it, and what follows its question mark"
        raise LedgerUnavailable(f"The URL of {place} is none that PostgreSQL's library can read; {mend}.") from None
    return {**_DEFAULTS, **given}


@lru_cache(maxsize=512)
def _numbered(sql: str) -> str:
    """Return a statement with `$1`, `$2` … in place of each `?`."""
    numbers = count(1)
    first, *others = sql.split("?")
    return first + "".join(f"${next(numbers)}{other}" for other in others)

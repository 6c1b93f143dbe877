"""A PostgreSQL server of the test run's own: a temporary directory, a socket in it, gone with the run.

`.ci/setup postgres` installs one where there is none. Without one, what needs it is skipped, and says so.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

MISSING = "no PostgreSQL on this machine: `.ci/setup postgres` installs one; half of the ledger's tests are left out"
PASSWORD = "pg-hunter2-secret"  # asked for by no server here, and shown by no arbstr
_USER = "arbstr"
_START_S = 30
_LOOK_S = 0.05
# Nothing has to survive the machine's crash; the process's own crash loses nothing by it.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "listen_addresses": "",
    "max_connections": "60",
    "port": "5432",
    "shared_buffers": "32MB",
    "timezone": "UTC",
}


def programs() -> Path | None:
    """Return the directory of the server's programs; None where there is no server."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda place: float(place.parent.name))
    on_path = shutil.which("initdb")
    places = [*reversed(installed), *([Path(on_path).resolve().parent] if on_path else [])]
    return next((place for place in places if (place / "initdb").exists()), None)


class PostgresServer:
    """A server that runs until `stop`; each test makes databases of its own in it. `settings` are its own.

    With a `primary` it follows that one until it is promoted.
    """

    def __init__(self, binaries: Path, primary: PostgresServer | None = None, **settings: str) -> None:
        self.binaries = binaries
        self._settings = _SETTINGS | settings
        self.directory = Path(tempfile.mkdtemp(prefix="arbstr-pg-"))
        self.as_owner = _unprivileged(self.directory)
        self._process: subprocess.Popen[bytes] | None = None
        try:
            command = (
                f"{binaries}/initdb -D {self.data} -U {_USER} -E UTF8 --locale=C --auth=trust --no-sync"
                if primary is None
                else f"{binaries}/pg_basebackup -D {self.data} -h {primary.directory} -U {_USER} -R -c fast --no-sync"
            )
            subprocess.run(command.split(), check=True, capture_output=True, cwd="/", **self.as_owner)
            self.start()
        except BaseException:
            self.stop()
            raise

    @property
    def data(self) -> Path:
        """Where its files are."""
        return self.directory / "data"

    def set(self, name: str, value: str) -> None:
        """Change a setting that needs no restart, and wait until those that connect now have it."""
        self.ask(f"ALTER SYSTEM SET {name} = {value}")
        self.ask("SELECT pg_reload_conf()")
        deadline = time.monotonic() + _START_S
        while self.ask(f"SHOW {name}") != [(value,)]:
            assert time.monotonic() < deadline, f"{name} is not {value}"

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        port = self._settings["port"]
        waiting = f"{self.binaries}/pg_isready -q -h {self.directory} -p {port} -U {_USER} -d postgres".split()
        self._process = self._started()
        for _ in range(int(_START_S / _LOOK_S)):
            if subprocess.run(waiting, check=False).returncode == 0:
                return
            if self._process.poll() is not None:  # what is left of one that was killed may hold its memory yet
                self._process = self._started()
            time.sleep(_LOOK_S)
        raise AssertionError((self.directory / "log").read_text())

    def _started(self) -> subprocess.Popen[bytes]:
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                [self.binaries / "postgres", "-D", self.data, "-k", self.directory, *settings],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self.as_owner,
            )

    @property
    def runs(self) -> bool:
        """Whether it has not crashed."""
        return self._process is not None and self._process.poll() is None

    def crash(self, number: int = signal.SIGQUIT) -> None:
        """End the server at once, without a word to its clients."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait()

    def standby(self) -> PostgresServer:
        """Start another server that follows this one, and answers what is read; the caller stops it."""
        return PostgresServer(self.binaries, self)

    def stop(self) -> None:
        """End the server and take away its directory."""
        if self.runs:
            self.crash()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a statement on the server itself, and return its rows."""
        import psycopg

        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            found = connection.execute(sql.encode())
            return found.fetchall() if found.description else []

    def new_database(self) -> str:
        """Make an empty database; return its URL."""
        import psycopg

        name = f"arbstr_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}".encode())
        return self.url(name)

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{_USER}:{PASSWORD}@/{database}?host={self.directory}&port={self._settings['port']}"


def _unprivileged(directory: Path) -> dict[str, Any]:
    """Return how to start a program as who owns the directory: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    os.chown(directory, user.pw_uid, user.pw_gid)
    directory.chmod(0o755)  # who runs the tests connects to the socket
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server; skips the test where there is none."""
    binaries = programs()
    if binaries is None:
        pytest.skip(MISSING)
    server = PostgresServer(binaries)
    try:
        yield server
    finally:
        server.stop()

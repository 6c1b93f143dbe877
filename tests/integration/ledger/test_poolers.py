"""A pooler before PostgreSQL: one that pools by session is the server; any other is said to be of no use."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.model import Filter
from arbstr.ledger.postgres.backend import PostgresLedger
from arbstr.ledger.postgres.channel import PostgresChannel
from arbstr.places import PostgresPlace
from tests.support.ledger_builders import record
from tests.support.ledgers import PostgresLedgers, asked, write_rows
from tests.support.ports import reserved_port
from tests.support.postgres import PostgresServer
from tests.support.processes import started
from tests.support.serve_process import eventually

CONFIG = """
[databases]
{name} = host={server} user=arbstr
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
"""


@contextmanager
def pooled(server: PostgresServer, place: PostgresPlace, mode: str) -> Iterator[PostgresPlace]:
    """The place as it is behind a pooler."""
    if shutil.which("pgbouncer") is None:
        pytest.skip("no pgbouncer on this machine")
    name = place.url.reveal().partition("@/")[2].partition("?")[0]
    config = server.directory / f"{name}.ini"  # which whom the server runs as can read
    with reserved_port() as port:
        config.write_text(CONFIG.format(name=name, server=server.directory, port=port, mode=mode))
        with started(["pgbouncer", str(config)], stderr=subprocess.DEVNULL, cwd="/", **server.as_owner):
            eventually(lambda: _takes_connections(port))
            yield PostgresPlace.at(f"postgresql://arbstr@127.0.0.1:{port}/{name}", place.local)


def _takes_connections(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


async def test_one_that_pools_by_transaction_is_refused_and_what_mends_it_said(
    postgres: PostgresServer, place: PostgresPlace
) -> None:
    await write_rows(place, [])
    with pooled(postgres, place, "transaction") as behind:
        said = "behind a pooler that does not pool by session; set pool_mode = session there, or name the server itself"
        with pytest.raises(LedgerUnavailable, match=said):
            await PostgresLedger(behind).open()
        with pytest.raises(LedgerUnavailable, match=said):
            PostgresLedger(behind).connect()
        with pytest.raises(LedgerUnavailable, match=said):
            await PostgresChannel.open(behind)


async def test_one_that_pools_by_session_is_as_the_server(
    own_ledgers: PostgresLedgers, postgres: PostgresServer, place: PostgresPlace
) -> None:
    with pooled(postgres, place, "session") as behind:
        await write_rows(behind, [record(cost_msats=5)])
        channel = await PostgresChannel.open(behind)
        await channel.close()
        with asked(own_ledgers, behind) as queries:
            assert queries.spent_msats(Filter()) == 5

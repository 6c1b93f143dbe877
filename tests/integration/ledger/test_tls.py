"""The ledger over a network: encrypted, with a server that is the right one, and a password that nobody sees."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from arbstr.errors import LedgerUnavailable
from arbstr.ledger.database import NotWritable
from arbstr.ledger.model import Filter
from arbstr.ledger.postgres.backend import PostgresLedger
from arbstr.ledger.postgres.channel import PostgresChannel
from arbstr.places import PostgresPlace
from tests.support.certificates import Authority
from tests.support.ledger_builders import record
from tests.support.ledgers import PostgresLedgers, asked, write_rows
from tests.support.ports import reserved_port
from tests.support.postgres import PASSWORD, PostgresServer


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    """The server's, and another one."""
    directory = tmp_path_factory.mktemp("authorities")
    return Authority(directory, "own"), Authority(directory, "other")


@pytest.fixture(scope="module")
def at_port(postgres: PostgresServer, authorities: tuple[Authority, Authority]) -> Iterator[PostgresServer]:
    """A server at a port of localhost, which asks for the password: the run's own has no port, and lets all in."""
    with reserved_port() as port:
        server = PostgresServer(postgres.binaries, listen_addresses="127.0.0.1", port=str(port))
        try:
            owner = server.data.stat()
            for source, name in zip(authorities[0].issue("localhost"), ("server.crt", "server.key"), strict=True):
                shutil.copyfile(source, server.data / name)
                shutil.chown(server.data / name, owner.st_uid, owner.st_gid)
                (server.data / name).chmod(0o600)
            (server.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
            server.ask(f"ALTER USER arbstr PASSWORD '{PASSWORD}'")
            yield server
        finally:
            server.stop()


class Network:
    """What reaches the server: places of one database of it, by its port."""

    def __init__(self, server: PostgresServer, directory: Path) -> None:
        self._name = server.new_database().partition("@/")[2].partition("?")[0]
        self._port = server.url("").rpartition("port=")[2]
        self._local = directory / "arbstr.db"

    def place(self, *options: str, host: str = "localhost", password: str = f":{PASSWORD}") -> PostgresPlace:
        url = f"postgresql://arbstr{password}@{host}:{self._port}/{self._name}?{'&'.join(options)}"
        return PostgresPlace.at(url, self._local)

    async def refusal(self, place: PostgresPlace) -> str:
        """What all say of a server that they must not use: writer, reader and the connection that listens."""
        with pytest.raises(NotWritable) as of_writer:
            await PostgresLedger(place).open()
        with pytest.raises(LedgerUnavailable) as of_reader:
            PostgresLedger(place).connect()
        with pytest.raises(LedgerUnavailable) as of_channel:
            await PostgresChannel.open(place)
        texts = {str(caught.value) for caught in (of_writer, of_reader, of_channel)}
        assert len(texts) == 1, texts
        return texts.pop()


@pytest.fixture
def network(at_port: PostgresServer, tmp_path: Path) -> Network:
    at_port.set("ssl", "on")
    return Network(at_port, tmp_path)


async def test_a_ledger_is_written_and_read_over_tls(
    network: Network, authorities: tuple[Authority, Authority], tmp_path: Path
) -> None:
    place = network.place("sslmode=verify-full", f"sslrootcert={authorities[0].certificate}")
    await write_rows(place, [record(cost_msats=7)])
    with asked(PostgresLedgers(place.url.reveal(), tmp_path), place) as queries:
        assert queries.spent_msats(Filter()) == 7
        with psycopg.connect(place.url.reveal()) as other:
            secured = other.execute(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = current_database()"
            )
            assert set(secured.fetchall()) == {(True,)}


async def test_a_server_without_tls_is_sent_no_password(at_port: PostgresServer, network: Network) -> None:
    at_port.set("ssl", "off")
    said = await network.refusal(network.place("sslmode=require"))
    assert "server does not support SSL, but SSL was required; switch TLS on there." in said


async def test_a_server_of_another_authority_is_not_used(
    network: Network, authorities: tuple[Authority, Authority]
) -> None:
    for mode in ("verify-ca", "verify-full"):
        place = network.place(f"sslmode={mode}", f"sslrootcert={authorities[1].certificate}")
        assert "certificate verify failed; name the file with the certificate of its" in await network.refusal(place)


async def test_a_server_of_another_name_is_not_used(network: Network, authorities: tuple[Authority, Authority]) -> None:
    place = network.place("sslmode=verify-full", f"sslrootcert={authorities[0].certificate}", host="127.0.0.1")
    assert 'does not match host name "127.0.0.1"; write the server\'s name' in await network.refusal(place)


async def test_a_file_of_an_authority_that_is_not_there_is_named(network: Network, tmp_path: Path) -> None:
    place = network.place("sslmode=verify-full", f"sslrootcert={tmp_path}/missing.pem")
    assert f'root certificate file "{tmp_path}/missing.pem" does not exist; name' in await network.refusal(place)


@pytest.mark.parametrize("password", [":hunter3%40wrong", ""])
async def test_a_wrong_password_is_not_shown_and_a_missing_one_said(network: Network, password: str) -> None:
    said = await network.refusal(network.place("sslmode=require", password=password))
    assert "DATABASE_URL, PGPASSWORD or ~/.pgpass" in said
    assert "hunter" not in said

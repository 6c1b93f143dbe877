"""What PostgreSQL's errors are to a user: one sentence that says how it is mended, and never the password."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from arbstr.ledger.postgres.faults import explain
from arbstr.places import PostgresPlace

PLACE = PostgresPlace.at("postgresql://u:hunter2@db.lan/sats", Path("arbstr.db"))
REFUSED = (
    'connection failed: connection to server at "{}", port 5432 failed: Connection refused\n'
    "\tIs the server running on that host and accepting TCP/IP connections?"
)
SEVERAL = (
    f"{REFUSED.format('10.0.0.2')}\nMultiple connection attempts failed. All failures were:\n"
    f"- host: 'a', port: None, hostaddr: '10.0.0.1': {REFUSED.format('10.0.0.1')}\n"
    f"- host: 'b', port: None, hostaddr: '10.0.0.2': {REFUSED.format('10.0.0.2')}"
)


def said(error: BaseException) -> str:
    text = explain(PLACE, error)
    before, found, rest = text.partition("The ledger postgresql://db.lan/sats can't be used: ")
    assert (before, bool(found)) == ("", True), text
    return rest


def test_a_server_that_is_away_is_said_to_be_so_in_one_sentence() -> None:
    assert said(psycopg.OperationalError(REFUSED.format("10.0.0.1"))) == (
        'at "10.0.0.1", port 5432: Connection refused; see whether the server runs and takes connections there.'
    )


def test_each_of_several_servers_is_named_once() -> None:
    text = said(psycopg.OperationalError(SEVERAL))
    assert text.count("10.0.0.1") == text.count("10.0.0.2") == text.count("see whether") == 1
    assert "Multiple" not in text


def test_a_connection_that_is_lost_is_one_sentence() -> None:
    lost = "consuming input failed: server closed the connection unexpectedly\n\tThis probably means the server "
    lost += "terminated abnormally\n\tbefore or while processing the request."
    assert said(psycopg.OperationalError(lost)) == (
        "consuming input failed: server closed the connection unexpectedly."
    )


@pytest.mark.parametrize(
    ("reason", "advice"),
    [
        ("server does not support SSL, but SSL was required", "switch TLS on there"),
        ('root certificate file "/r.crt" does not exist\nEither provide the file, use', "sslrootcert=/path/ca.pem"),
        ("SSL error: certificate verify failed", "sslrootcert=/path/ca.pem"),
        ('server certificate for "a" does not match host name "b"', "as its certificate has it"),
        ('FATAL:  password authentication failed for user "u"', "DATABASE_URL, PGPASSWORD or ~/.pgpass"),
        ("fe_sendauth: no password supplied", "DATABASE_URL, PGPASSWORD or ~/.pgpass"),
        ('FATAL:  no pg_hba.conf entry for host "::1", user "u", database "d", no encryption', "pg_hba.conf has to"),
        ('FATAL:  database "sats" does not exist', "createdb"),
        ("FATAL:  sorry, too many clients already", "each arbstr takes up to five"),
        ('FATAL:  too many connections for role "u"', "each arbstr takes up to five"),
        (
            "FATAL:  remaining connection slots are reserved for non-replication superuser",
            "each arbstr takes up to five",
        ),
    ],
)
def test_what_keeps_a_user_out_comes_with_what_mends_it(reason: str, advice: str) -> None:
    text = said(psycopg.OperationalError(f'connection failed: connection to server at "h", port 5432 failed: {reason}'))
    assert advice in text
    assert "FATAL" not in text
    assert "Either" not in text


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (errors.InsufficientPrivilege("permission denied for schema public"), "a database of arbstr's own"),
        (errors.DiskFull("could not extend file: No space left on device"), "make room"),
    ],
)
def test_what_a_server_refuses_comes_with_what_mends_it(error: psycopg.Error, advice: str) -> None:
    assert advice in said(error)


def test_what_a_server_says_is_no_password_no_escape_and_no_book() -> None:
    text = said(psycopg.DatabaseError("\x1b[31mhunter2 " + "x" * 10_000_000))
    assert "hunter2" not in text
    assert "\x1b" not in text
    assert len(text) < 1000
    assert said(psycopg.InterfaceError("")) == "InterfaceError."

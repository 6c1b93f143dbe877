"""What PostgreSQL's errors mean: each as one sentence, with how it is mended where that is known.

A server that lets nobody in says why as text alone, in a language of its own: where that is not English there is no
advice.
"""

from __future__ import annotations

import re

import psycopg
from psycopg import errors

from arbstr.places import PostgresPlace
from arbstr.sanitize import sanitize

_MOST = 600  # characters that are shown of what a server says
# What the library and the server put around a reason, and advice that is not for arbstr's users.
_AROUND = re.compile(
    r"^- .*?: (?=connection |failed to resolve )|connection (?:failed|is bad): |\b(?:FATAL|ERROR): +"
    r"|Is the server running.*|Either provide the file.*|This probably means.*|before or while processing.*",
    re.MULTILINE,
)
_SERVER = re.compile(r"connection to server ((?:at|on socket) .+?) failed: ")
_OF_SEVERAL = "Multiple connection attempts failed. All failures were:"

_NOT_OURS = "name a database of arbstr's own, which belongs to its user"
_BY_CLASS: tuple[tuple[type[psycopg.Error], str], ...] = (
    (errors.InsufficientPrivilege, _NOT_OURS),
    (errors.DuplicateTable, _NOT_OURS),
    (errors.UndefinedColumn, _NOT_OURS),
    (errors.WrongObjectType, _NOT_OURS),
    (errors.DiskFull, "make room on the server's disk"),
)
_AUTHORITY = "name the file with the certificate of its authority: sslrootcert=/path/ca.pem in the URL"
_CONNECTIONS = "raise max_connections there: each arbstr takes up to five"
_LISTENS = "see whether the server runs and takes connections there"
_BY_TEXT = (
    ("does not support SSL", "switch TLS on there"),
    ("root certificate file", _AUTHORITY),
    ("certificate verify failed", _AUTHORITY),
    ("does not match host name", "write the server's name in the URL as its certificate has it"),
    ("password authentication failed", "check user and password in DATABASE_URL, PGPASSWORD or ~/.pgpass"),
    ("no password supplied", "put one into DATABASE_URL, PGPASSWORD or ~/.pgpass"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf has to let this user in from here"),
    ("invalid sslmode value", "write require, verify-ca or verify-full"),
    ("too many clients", _CONNECTIONS),
    ("too many connections", _CONNECTIONS),
    ("connection slots are reserved", _CONNECTIONS),
    ("refused", _LISTENS),
    ("No such file or directory", _LISTENS),
    ("timeout expired", _LISTENS),
    ("has not answered for", "pg_stat_activity there shows what it does, and who waits for whom"),
    ("failed to resolve host", "check the server's name in the URL"),
)
_NO_DATABASE = re.compile(r'database "[^"]*" does not exist')


def explain(place: PostgresPlace, error: BaseException) -> str:
    """Return a database error as one sentence, without the password."""
    said = _said(error)
    advice = _advice(error, said)
    return f"The ledger {place} can't be used: {place.without_password(said)}{advice and f'; {advice}'}."


def _said(error: BaseException) -> str:
    primary = error.diag.message_primary if isinstance(error, psycopg.Error) else None  # without the statement
    text = primary or str(error)
    lines = [" ".join(line.split()).rstrip(".") for line in _SERVER.sub(r"\1: ", _AROUND.sub("", text)).splitlines()]
    reasons = dict.fromkeys(line for line in lines if line and line != _OF_SEVERAL)  # the last of several comes twice
    return sanitize("; ".join(reasons), _MOST) or type(error).__name__


def _advice(error: BaseException, said: str) -> str:
    if _NO_DATABASE.search(said):
        return "create it there with createdb"
    by_class = (advice for kind, advice in _BY_CLASS if isinstance(error, kind))
    by_text = (advice for text, advice in _BY_TEXT if text in said)
    return next(by_class, None) or next(by_text, "")

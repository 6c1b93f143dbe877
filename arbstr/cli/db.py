"""`arbstr db`: maintenance of the ledger's database, whether or not a server runs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbstr.cli import USAGE
from arbstr.cli.ledger_access import ledger_place, open_ledger
from arbstr.cli.options import ConfigOption
from arbstr.sanitize import sanitize

if TYPE_CHECKING:
    from arbstr.ledger.write_connection import WriteConnection
    from arbstr.places import PostgresPlace

database = typer.Typer(
    help="Maintain the ledger database.",
    epilog="Example: arbstr db info",
    rich_markup_mode=None,
    invoke_without_command=True,
)


@database.callback()
def _database(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(USAGE)


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.add_typer(database, name="db")


@database.command(epilog="Example: arbstr db info")
def info(config: ConfigOption = None) -> None:
    """Show what the ledger holds."""
    from arbstr.cli.output import info_lines

    with open_ledger(config) as connection:
        print("\n".join(info_lines(ledger_place(config), connection.info())))


@database.command(epilog="Example: arbstr db vacuum")
def vacuum(config: ConfigOption = None) -> None:
    """Reclaim disk space from deleted rows."""
    path = _sqlite_path(config)
    before = path.stat().st_size if path.exists() else 0
    _with_connection(path, lambda connection: connection.vacuum())
    print(f"{sanitize(str(path))}: {before:,} bytes before, {path.stat().st_size:,} now")


@database.command(epilog="Example: arbstr db rebuild")
def rebuild(config: ConfigOption = None) -> None:
    """Rebuild the rollup tables from the request rows."""
    path = _sqlite_path(config)
    with _progress() as show:
        _with_connection(path, lambda connection: connection.rebuild(show))
    print(f"{sanitize(str(path))}: rebuilt")


ToOption = Annotated[
    str | None,
    typer.Option("--to", metavar="URL", help="postgresql://host:5432/name; default: the one that arbstr is to use."),
]


@database.command(epilog="Example: arbstr db copy --to postgresql://arbstr@db.lan/arbstr")
def copy(to: ToOption = None, config: ConfigOption = None) -> None:
    """Copy the ledger from SQLite into PostgreSQL.

    That is the file of [database] path, or the one that DATABASE_URL names, with its rows, sums, accounts and what was
    learned. Run it again if it was cut short: it goes on where it stopped. A password belongs into ~/.pgpass,
    PGPASSWORD or DATABASE_URL: others on this machine can read what is written in a command.
    """
    import asyncio

    from arbstr.errors import LedgerUnavailable
    from arbstr.ledger.postgres.copying import copy_ledger, prepare
    from arbstr.places import local_path

    path = local_path(ledger_place(config))
    place = _target(to, config, path)
    if not path.exists():
        raise LedgerUnavailable(
            f"No ledger at {path}; name its file by DATABASE_URL=./arbstr.db, or -c the configuration that does."
        )
    with _progress() as show:
        asyncio.run(prepare(path))
        copied = copy_ledger(path, place, show)
    before = f" ({copied.earlier:,} before)" if copied.earlier else ""
    done = "nothing new to copy" if copied.was_done else f"{copied.rows:,} rows copied"
    print(f"{done}{before} from {sanitize(str(path))} to {sanitize(str(place))}")


def _target(to: str | None, config: Path | None, path: Path) -> PostgresPlace:
    from arbstr.places import PostgresPlace

    configured = ledger_place(config)
    if to is None and isinstance(configured, PostgresPlace):
        return configured
    try:
        place = PostgresPlace.at(to or "", path)
    except ValueError as error:
        raise typer.BadParameter(f"--to {error}") from None
    if len(place.secrets) > 1:
        print("warning: others on this machine can read the password in the list of processes", file=sys.stderr)
    return place


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Yield what shows on stderr how many rows of all are done, if that is a terminal; its line is ended at the end."""
    begun = False

    def show(done: int, total: int) -> None:
        nonlocal begun
        begun = True
        print(f"\r{done:,} of {total:,} rows", end="", file=sys.stderr, flush=True)

    try:
        yield show if sys.stderr.isatty() else lambda done, total: None
    finally:
        if begun:
            print(file=sys.stderr, flush=True)


def _sqlite_path(config: Path | None) -> Path:
    from arbstr.errors import UnusableInput
    from arbstr.places import PostgresPlace

    place = ledger_place(config)
    if isinstance(place, PostgresPlace):
        why = "PostgreSQL keeps its tables itself, and the sums there are never behind"
        raise UnusableInput(f"{sanitize(str(place))} needs none of this: {why}.")
    return Path(place)


def _with_connection(path: Path, work: Callable[[WriteConnection], Awaitable[None]]) -> None:
    """Run `work` on an existing ledger. Raises LedgerUnavailable."""
    import asyncio
    import sqlite3

    from arbstr.errors import LedgerUnavailable
    from arbstr.ledger.files import explain
    from arbstr.ledger.write_connection import WriteConnection

    async def run() -> None:
        connection, _ = await WriteConnection.open(path, replace_broken=False)
        try:
            await work(connection)
        except sqlite3.Error as error:
            raise LedgerUnavailable(explain(path, error)) from error
        finally:
            await connection.close()

    if not path.exists():
        raise LedgerUnavailable(f"No ledger at {path} yet; it is created when arbstr first serves.")
    asyncio.run(run())

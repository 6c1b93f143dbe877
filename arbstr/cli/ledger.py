"""`arbstr requests`, `arbstr stats` and `arbstr db`: the ledger in the terminal, whether or not a server runs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arbstr.cli.options import ConfigOption
from arbstr.errors import ConfigError
from arbstr.sanitize import sanitize

if TYPE_CHECKING:
    from arbstr.ledger.model import Filter, GroupBy
    from arbstr.ledger.params import Listing
    from arbstr.ledger.read_connection import ReadConnection
    from arbstr.ledger.write_connection import WriteConnection

Kind = Literal["model", "provider"]
USAGE = 2

RangeOption = Annotated[
    str | None,
    typer.Option("--range", metavar="RANGE", help="Time range: last_1h, last_24h, last_7d (default) or last_30d."),
]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Start of the range (inclusive), ISO 8601 with an offset or Z."),
]
UntilOption = Annotated[str | None, typer.Option("--until", metavar="TIME", help="End of the range (inclusive).")]
ModelOption = Annotated[str | None, typer.Option("--model", metavar="NAME", help="Only this model.")]
ProviderOption = Annotated[str | None, typer.Option("--provider", metavar="NAME", help="Only this provider.")]
PolicyOption = Annotated[str | None, typer.Option("--policy", metavar="NAME", help="Only this policy.")]
ClientOption = Annotated[str | None, typer.Option("--client", metavar="NAME", help="Only this client.")]
SessionOption = Annotated[str | None, typer.Option("--session", metavar="ID", help="Only this session.")]
DialectOption = Annotated[
    str | None, typer.Option("--dialect", metavar="NAME", help="Only this dialect: chat, responses, messages, ….")
]
SuccessOption = Annotated[
    bool | None, typer.Option("--success/--failed", help="Only successful requests, or only failed ones.")
]
StreamingOption = Annotated[
    bool | None, typer.Option("--streaming/--no-streaming", help="Only streams, or only non-streaming requests.")
]
SortOption = Annotated[
    str | None, typer.Option("--sort", metavar="BY", help="Sort by timestamp (default), cost_sats or latency_ms.")
]
OrderOption = Annotated[str | None, typer.Option("--order", metavar="WAY", help="Sort order: desc (default) or asc.")]
LimitOption = Annotated[int, typer.Option("--limit", min=0, help="Maximum number of rows; 0 shows all.")]

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
    app.command(epilog="Example: arbstr requests --failed --range last_24h")(requests)
    app.command(epilog="Example: arbstr stats --group-by model --range last_30d")(stats)
    app.add_typer(database, name="db")


def requests(
    *,
    config: ConfigOption = None,
    range_: RangeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    policy: PolicyOption = None,
    client: ClientOption = None,
    session: SessionOption = None,
    dialect: DialectOption = None,
    success: SuccessOption = None,
    streaming: StreamingOption = None,
    sort: SortOption = None,
    order: OrderOption = None,
    limit: LimitOption = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print every match as JSON, one entry per line.")] = False,
    as_csv: Annotated[
        bool,
        typer.Option("--csv", help="Print every match as CSV; cells that look like formulas begin with '."),
    ] = False,
) -> None:
    """Show the request log."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv are mutually exclusive")
    asked = _listing(
        range=range_,
        since=since,
        until=until,
        model=model,
        provider=provider,
        policy=policy,
        client=client,
        session=session,
        dialect=dialect,
        success=success,
        streaming=streaming,
        sort=sort,
        order=order,
    )
    from arbstr.cli import output
    from arbstr.ledger import export

    with _open_ledger(config) as questions:
        _refuse_unknown(questions, asked.where, config)
        if as_json or as_csv:
            chunks = questions.entries(asked.where, asked.sort, asked.order)
            write = export.json_lines if as_json else export.csv_lines
        else:
            chunks = questions.entries(asked.where, asked.sort, asked.order, limit or None)
            write = output.table_lines
        with closing(chunks):
            for line in write(chunks):
                sys.stdout.write(line + "\n")
        if not (as_json or as_csv):
            print(output.footer(questions.count(asked.where), limit, asked.where))


def stats(
    *,
    config: ConfigOption = None,
    range_: RangeOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    policy: PolicyOption = None,
    client: ClientOption = None,
    session: SessionOption = None,
    dialect: DialectOption = None,
    success: SuccessOption = None,
    streaming: StreamingOption = None,
    group_by: Annotated[
        str | None,
        typer.Option(
            "--group-by", metavar="BY", help="Group by model, provider, policy, client, session, dialect, hour or day."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="BY", help="Sort groups by cost_sats (default), latency_ms or timestamp."),
    ] = None,
    order: OrderOption = None,
    limit: LimitOption = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in the shape of GET /v1/stats.")] = False,
) -> None:
    """Summarise the request log."""
    from arbstr.cli import output
    from arbstr.ledger import export, serialize

    asked = _listing(
        range=range_,
        since=since,
        until=until,
        model=model,
        provider=provider,
        policy=policy,
        client=client,
        session=session,
        dialect=dialect,
        success=success,
        streaming=streaming,
        sort=sort,
        order=order,
    )
    with _cli_errors():
        from arbstr.ledger.params import read_group_by

        grouped = read_group_by({} if group_by is None else {"group_by": group_by}, asked.where)
    with _open_ledger(config) as questions:
        _refuse_unknown(questions, asked.where, config)
        answer = questions.stats(asked.where, grouped)
    if as_json:
        print(export.dumps(serialize.stats_json(answer, asked.where, grouped, _configured(grouped, config))))
        return
    by = "cost_sats" if sort is None else asked.sort
    print("\n".join(output.stats_lines(answer, asked.where, grouped, by, asked.order, limit)))


@database.command(epilog="Example: arbstr db info")
def info(config: ConfigOption = None) -> None:
    """Show what the ledger holds."""
    from arbstr.cli.output import info_lines

    path = _path(config)
    with _open_ledger(config) as questions:
        print("\n".join(info_lines(path, questions.info())))


@database.command(epilog="Example: arbstr db vacuum")
def vacuum(config: ConfigOption = None) -> None:
    """Reclaim disk space from deleted rows."""
    path = _path(config)
    before = path.stat().st_size if path.exists() else 0
    _with_connection(path, lambda pen: pen.vacuum())
    print(f"{sanitize(str(path))}: {before:,} bytes before, {path.stat().st_size:,} now")


@database.command(epilog="Example: arbstr db rebuild")
def rebuild(config: ConfigOption = None) -> None:
    """Rebuild the rollup tables from the request rows."""
    path = _path(config)
    _with_connection(path, lambda pen: pen.rebuild(_show_progress))
    print(f"{sanitize(str(path))}: rebuilt")


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r{done:,} of {total:,} rows", end=end, file=sys.stderr, flush=True)


def _with_connection(path: Path, work: Callable[[WriteConnection], Awaitable[None]]) -> None:
    """Do something to a ledger that is there."""
    import asyncio
    import sqlite3

    from arbstr.errors import LedgerUnavailable
    from arbstr.ledger.files import explain
    from arbstr.ledger.write_connection import WriteConnection

    async def run() -> None:
        pen, _ = await WriteConnection.open(path, begin_anew=False)
        try:
            await work(pen)
        except sqlite3.Error as error:
            raise LedgerUnavailable(explain(path, error)) from error
        finally:
            await pen.close()

    if not path.exists():
        raise LedgerUnavailable(f"No ledger at {path}.")
    asyncio.run(run())


def _listing(**given: str | bool | None) -> Listing:
    """The options as the endpoints' parameters, read as those are."""
    from arbstr.ledger.params import read_listing

    with _cli_errors():
        params = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
        return read_listing({name: value for name, value in params.items() if value is not None}, _now_ms())


def _refuse_unknown(questions: ReadConnection, where: Filter, config: Path | None) -> None:
    """Raise for a model or provider that is neither in the ledger nor configured: most likely a slip."""
    _require_known(questions, "model", where.model, config)
    _require_known(questions, "provider", where.provider, config)


def _require_known(questions: ReadConnection, kind: Kind, name: str | None, config: Path | None) -> None:
    if name is None or questions.known(kind, name):
        return
    configured = _configured(kind, config)
    if name.casefold() not in [each.casefold() for each in configured]:
        from arbstr.config.diagnostics import nearest, quoted
        from arbstr.errors import NotFound
        from arbstr.ledger.model import Filter
        from arbstr.types import NO_GROUP

        there = [each for each in questions.stats(Filter(), kind).groups if each != NO_GROUP]
        there += [each for each in configured if each not in there]
        hint = nearest(name, there) or (f"; known: {', '.join(map(sanitize, there[:10]))}" if there else "")
        raise NotFound(f"--{kind} {quoted(name)} is neither in the ledger nor configured{hint}")


def _configured(kind: GroupBy | None, config: Path | None) -> list[str]:
    """The models or providers in the configuration, which need neither be there nor be valid."""
    from arbstr.config.settings import resolve

    if kind not in ("model", "provider"):
        return []
    try:
        providers = resolve(os.environ, config=config, insecure=True).config.providers
    except ConfigError:
        return []
    if kind == "provider":
        return [provider.name for provider in providers]
    return list(dict.fromkeys(model for provider in providers for model in provider.model_ids))


@contextmanager
def _cli_errors() -> Iterator[None]:
    from arbstr.ledger.params import BadParameter

    try:
        yield
    except BadParameter as bad:
        raise typer.BadParameter(f"--{bad.name.replace('_', '-')} {bad.problem}") from bad


@contextmanager
def _open_ledger(config: Path | None) -> Iterator[ReadConnection]:
    from arbstr.ledger.read_connection import ReadConnection

    with closing(ReadConnection(_path(config))) as questions:
        yield questions


def _path(config: Path | None) -> Path:
    from arbstr.config.paths import database_path

    return Path(database_path(os.environ, config))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000

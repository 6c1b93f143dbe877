"""`arbstr requests` and `arbstr stats`: the ledger in the terminal, whether or not a server runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from arbstr.cli.ledger_access import open_ledger
from arbstr.cli.options import ConfigOption
from arbstr.clock import wall_ms
from arbstr.errors import ConfigError
from arbstr.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from arbstr.config.schema import Config
    from arbstr.ledger.model import Filter, GroupBy
    from arbstr.ledger.params import Listing
    from arbstr.ledger.queries import Queries

Kind = Literal["model", "provider"]

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


def register(app: typer.Typer) -> None:
    """Add the commands to an application."""
    app.command(epilog="Example: arbstr requests --failed --range last_24h")(requests)
    app.command(epilog="Example: arbstr stats --group-by model --range last_30d")(stats)


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
    listing = _listing(
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

    with open_ledger(config) as connection:
        _require_known_names(connection, listing.where, config)
        if as_json or as_csv:
            chunks = connection.entries(listing.where, listing.sort, listing.order)
            write = export.json_lines if as_json else export.csv_lines
        else:
            chunks = connection.entries(listing.where, listing.sort, listing.order, limit or None)
            write = output.table_lines
        with closing(chunks):
            for line in write(chunks):
                sys.stdout.write(line + "\n")
        if not (as_json or as_csv):
            print(output.footer(connection.count(listing.where), limit, listing.where))


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

    listing = _listing(
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

        grouped = read_group_by({} if group_by is None else {"group_by": group_by}, listing.where)
    with open_ledger(config) as connection:
        _require_known_names(connection, listing.where, config)
        answer = connection.stats(listing.where, grouped)
    if as_json:
        print(export.dumps(serialize.stats_json(answer, listing.where, grouped, _configured(grouped, config))))
        return
    by = "cost_sats" if sort is None else listing.sort
    print("\n".join(output.stats_lines(answer, listing.where, grouped, by, listing.order, limit)))


def _listing(**given: str | bool | None) -> Listing:
    """Parse the options as the endpoints parse their parameters."""
    from arbstr.ledger.params import read_listing

    with _cli_errors():
        params = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
        return read_listing({name: value for name, value in params.items() if value is not None}, wall_ms())


def _require_known_names(connection: Queries, where: Filter, config: Path | None) -> None:
    """Raise NotFound for a model or provider that is neither in the ledger nor configured: most likely a typo."""
    _require_known(connection, "model", where.model, config)
    _require_known(connection, "provider", where.provider, config)


def _require_known(connection: Queries, kind: Kind, name: str | None, config: Path | None) -> None:
    if name is None or connection.known(kind, name):
        return
    configured = [*_configured(kind, config), *(_config(config).aliases if kind == "model" else ())]
    if name.casefold() not in [each.casefold() for each in configured]:
        from arbstr.errors import NotFound
        from arbstr.ledger.model import Filter
        from arbstr.suggest import did_you_mean
        from arbstr.types import NO_GROUP

        there = [each for each in connection.stats(Filter(), kind).groups if each != NO_GROUP]
        there += [each for each in configured if each not in there]
        hint = did_you_mean(name, there) or ("known: " + ", ".join(map(sanitize, there[:10])) if there else "")
        raise NotFound(f"--{kind} {quoted(name)} is neither in the ledger nor configured" + (hint and f"; {hint}"))


def _configured(kind: GroupBy | None, config: Path | None) -> list[str]:
    """Return the configured models or providers; none without a valid configuration."""
    if kind not in ("model", "provider"):
        return []
    known = _config(config)
    if kind == "provider":
        return [provider.name for provider in known.providers]
    return list(dict.fromkeys(model for provider in known.providers for model in provider.model_ids))


def _config(path: Path | None) -> Config:
    """Return the configuration, an empty one where it is not valid."""
    from arbstr.config.schema import Config
    from arbstr.config.settings import resolve

    try:
        return resolve(os.environ, config=path, insecure=True).config
    except ConfigError:
        return Config()


@contextmanager
def _cli_errors() -> Iterator[None]:
    from arbstr.ledger.params import BadParameter

    try:
        yield
    except BadParameter as error:
        raise typer.BadParameter(f"--{error.name.replace('_', '-')} {error.problem}") from error

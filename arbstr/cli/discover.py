"""`arbstr discover`: the market's nodes, as they announce themselves on Nostr."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import Column, Table, counted
from arbstr.clock import DAY_MS, HOUR_MS, wall_ms
from arbstr.errors import ConfigError, UnusableInput
from arbstr.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from arbstr.config.loader import Loaded
    from arbstr.config.proxies import EnvironmentProxies
    from arbstr.config.schema import Discovery, Provider
    from arbstr.discovery.mix import Mix
    from arbstr.discovery.survey import Offer, Survey
    from arbstr.ledger.model import Stats

_WINDOW_MS = 30 * DAY_MS
_SHORTEST_KEY = 8  # of a public key's beginning that names a node
_COLUMNS = (
    Column("node", least=12),
    Column("sats/request", right=True),
    Column("to best", right=True),
    Column("of mix", right=True),
    Column("models", right=True, goes=3),
    Column("reviews"),
    Column("answer", least=10),
    Column("announced", right=True, goes=5),
    Column("version", goes=2),
    Column("mints", least=8, goes=1),
    Column("url", least=20, goes=4),
)
_MIX_WORDS = {
    "ledger": "your requests of the last 30 days",
    "configuration": "the configured models, equally, at 1,000 tokens in and 256 out",
    "default": "a usual mix, as there are neither requests nor configured models",
}

NodesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="NODE", help="Only these, by name, URL or the beginning of a public key."),
]
RelayOption = Annotated[
    list[str] | None,
    typer.Option("--relay", metavar="URL", help="Ask this Nostr relay, not the configured ones; repeatable."),
]
AddOption = Annotated[
    bool,
    typer.Option("--add", help="Add those that answer to the configuration; unused until 'arbstr fund' gives a key."),
]
PrivateOption = Annotated[
    bool, typer.Option("--allow-private", help="Also ask nodes announced at addresses of private networks.")
]


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr discover --add")(discover)


def discover(
    nodes: NodesArgument = None,
    config: ConfigOption = None,
    relay: RelayOption = None,
    add: AddOption = False,
    allow_private: PrivateOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Find Routstr nodes, and compare them for what you buy."""
    import asyncio

    from arbstr.discovery.survey import survey
    from arbstr.redaction import Redactor

    loaded, proxies = _settings(config)
    if add and loaded.path is None:
        raise ConfigError(["there is no configuration file to add to; 'arbstr init' writes one, -c names another"])
    settings = _with_relays(loaded.config.discovery, relay or [])
    mix = _mix(loaded, config)
    found = asyncio.run(survey(settings, mix, proxies, now_s=wall_ms() / 1000, private=allow_private))
    offers = _selected(found.offers, nodes or [])
    mask = Redactor([*loaded.config.secrets(), *proxies.secrets]).text
    if as_json:
        document = _document(found, offers, mix, loaded.config.providers)
        print(mask(json.dumps(document, indent=2, ensure_ascii=False)))
    else:
        print(mask("\n".join(_lines(found, offers, mix, loaded.config.providers))))
    _report_relays(found, mask)
    if add:
        _add(loaded, offers, named=bool(nodes))
    if any(heard.problem is None or heard.events for heard in found.relays):
        return 0
    print("arbstr: no relay answered; check your network, or name others with --relay", file=sys.stderr)
    return 1


# --- what is asked


def _settings(config: Path | None) -> tuple[Loaded, EnvironmentProxies]:
    """Return the configuration, which may lack providers, or be absent where none was named; and the proxies."""
    from arbstr.config.loader import Loaded, load
    from arbstr.config.paths import config_path
    from arbstr.config.proxies import environment_proxies
    from arbstr.config.schema import Config

    path = config_path(config, os.environ)
    named = config is not None or bool(os.environ.get("ARBSTR_CONFIG"))
    loaded = load(path, os.environ, mock=True) if named or path.exists() else Loaded(Config())
    problems: list[str] = []
    proxies = environment_proxies(os.environ, problems)
    if problems:
        raise ConfigError(problems)
    return loaded, proxies


def _with_relays(settings: Discovery, relays: list[str]) -> Discovery:
    from arbstr.config.validators import relay_url

    try:
        given = tuple(map(relay_url, relays))
    except ValueError as error:
        raise typer.BadParameter(f"--relay {error}") from None
    return settings.model_copy(update={"relays": given}) if given else settings


def _mix(loaded: Loaded, config: Path | None) -> Mix:
    from arbstr.config.aliases import Aliases
    from arbstr.discovery.mix import mix_of

    configured = (model for provider in loaded.config.providers for model in provider.model_ids)
    return mix_of(loaded.config, _past(config), Aliases(loaded.config.aliases, configured).resolve)


def _past(config: Path | None) -> Stats | None:
    """Return the sums of the last days by model; None without a ledger that can be read."""
    from arbstr.cli.ledger_access import open_ledger
    from arbstr.errors import LedgerUnavailable
    from arbstr.ledger.model import Filter

    with suppress(LedgerUnavailable), open_ledger(config) as ledger:
        return ledger.stats(Filter(since_ms=wall_ms() - _WINDOW_MS, success=True), "model")
    return None


def _selected(offers: Sequence[Offer], nodes: list[str]) -> list[Offer]:
    """Return the offers that were named, all if none was. Raises `typer.BadParameter` for one that was not found."""
    chosen = {node: [offer for offer in offers if _is(offer, node)] for node in nodes}
    if missing := [node for node, found in chosen.items() if not found]:
        raise typer.BadParameter(f"no node that was found is {quoted(missing[0])}; name one as it is listed")
    return [offer for offer in offers if not nodes or any(offer in found for found in chosen.values())]


def _is(offer: Offer, node: str) -> bool:
    announced = offer.node.announcement
    urls = {url.casefold() for url in announced.urls}
    return (
        announced.name.casefold() == node.casefold()
        or node.casefold().rstrip("/").removesuffix("/v1") in urls
        or (len(node) >= _SHORTEST_KEY and announced.author.startswith(node.lower()))
    )


# --- what is shown


def _lines(found: Survey, offers: Sequence[Offer], mix: Mix, providers: Sequence[Provider]) -> list[str]:
    from arbstr.cli.output import terminal_width

    models = ", ".join(f"{part.model} {part.share:.0%}" for part in mix.parts[:4])
    more = f", {len(mix.parts) - 4} more" if len(mix.parts) > 4 else ""
    title = f"Prices for {_MIX_WORDS[mix.source]} ({sanitize(models + more)})."
    if not offers:
        return [title, "No node was found."]
    rows = [_cells(offer, _configured(offer, providers)) for offer in offers]
    shown = Table(_COLUMNS, rows, terminal_width())
    left_out = [f"{counted(found.left_out, 'more announcement')} were not looked at."] if found.left_out else []
    return [title, "", shown.header(), *map(shown.line, rows), *left_out]


def _cells(offer: Offer, configured: str | None) -> tuple[str, ...]:
    node, quote = offer.node, offer.quote
    times = None if quote is None else quote.times_cheapest
    return (
        _name(offer) + (f" (configured: {configured})" if configured else ""),
        "-" if quote is None else f"{quote.sats_per_request:,.3f}",
        "-" if times is None else f"{times:.2f}x",
        "-" if quote is None else f"{quote.covered:.0%}",
        "-" if node.listing is None else f"{len(node.listing.ids):,}",
        _review_words(offer),
        node.problem or f"{node.latency_ms:,} ms",
        _age(wall_ms() - node.announcement.at_s * 1000),
        node.version or node.announcement.version or "-",
        ", ".join(mint.partition("://")[2] or mint for mint in node.announcement.mints) or "-",
        node.url,
    )


def _age(age_ms: int) -> str:
    """Return how long ago something was, in its largest unit."""
    for unit_ms, unit in ((DAY_MS, "d"), (HOUR_MS, "h")):
        if age_ms >= unit_ms:
            return f"{age_ms // unit_ms:,} {unit} ago"
    return f"{max(0, age_ms) // 60_000} min ago"


def _name(offer: Offer) -> str:
    announced = offer.node.announcement
    return announced.name or announced.author[:_SHORTEST_KEY]


def _review_words(offer: Offer) -> str:
    reviews = offer.reviews
    words = [f"trusted: {reviews.trusted}"] if reviews.trusted else []
    words += [f"+{reviews.good}"] if reviews.good else []
    words += [f"-{reviews.bad}"] if reviews.bad else []
    return " ".join(words) or "none"


def _report_relays(found: Survey, mask: Callable[[str], str]) -> None:
    sys.stdout.flush()
    for heard in found.relays:
        if heard.problem is not None:
            print(f"arbstr: {heard.relay}: {mask(heard.problem)}", file=sys.stderr)
        if heard.forged:
            print(f"arbstr: {heard.relay}: {counted(heard.forged, 'forged event')} left out", file=sys.stderr)


def _document(found: Survey, offers: Sequence[Offer], mix: Mix, providers: Sequence[Provider]) -> dict[str, Any]:
    return {
        "mix": {"source": mix.source, "models": [part._asdict() for part in mix.parts]},
        "relays": [
            {"url": heard.relay, "events": len(heard.events), "forged": heard.forged, "problem": heard.problem}
            for heard in found.relays
        ],
        "nodes": [_entry(offer, _configured(offer, providers)) for offer in offers],
        "left_out": found.left_out,
    }


def _entry(offer: Offer, configured: str | None) -> dict[str, Any]:
    from arbstr.clock import format_ms

    node, announced, quote = offer.node, offer.node.announcement, offer.quote
    return {
        "name": announced.name,
        "pubkey": announced.author,
        "url": node.url,
        "urls": announced.urls,
        "version": node.version or announced.version,
        "mints": announced.mints,
        "announced_at": format_ms(announced.at_s * 1000),
        "reachable": node.listing is not None,
        "latency_ms": node.latency_ms,
        "problem": node.problem,
        "models": 0 if node.listing is None else len(node.listing.ids),
        "reviews": offer.reviews._asdict(),
        "sats_per_request": None if quote is None else quote.sats_per_request,
        "mix_covered": 0.0 if quote is None else quote.covered,
        "times_cheapest": None if quote is None else quote.times_cheapest,
        "configured_as": configured,
    }


def _configured(offer: Offer, providers: Sequence[Provider]) -> str | None:
    """Return the name of the provider that has one of the node's addresses, None if none has."""
    urls = {url.casefold() for url in offer.node.announcement.urls}
    return next((one.name for one in providers if one.url.casefold().removesuffix("/v1") in urls), None)


# --- what is added


def _add(loaded: Loaded, offers: Sequence[Offer], *, named: bool) -> None:
    """Add those that answer.

    Only if they were named also those that a trusted author warns of, or that a key would be sent to in the clear.
    """
    from arbstr.config.table_writing import add_tables, free_name
    from arbstr.config.toml_file import escaped
    from arbstr.config.warnings import is_readable_on_the_way

    assert loaded.path is not None
    providers = loaded.config.providers
    taken = [provider.name for provider in providers]
    tables: dict[str, dict[str, str]] = {}  # by URL
    for offer in offers:
        is_safe = offer.reviews.trusted != "avoid" and not is_readable_on_the_way(offer.node.url)
        is_wanted = offer.node.listing is not None and (named or is_safe)
        if is_wanted and not _configured(offer, providers) and offer.node.url not in tables:
            name = free_name(_name(offer), taken, os.environ)
            taken.append(name)
            url = f"{offer.node.url}/v1"
            tables[offer.node.url] = {"name": name, "url": escaped(url), "kind": "routstr", **_way(loaded, url)}
    if not tables:
        raise UnusableInput("nothing was added: no node that answers is missing from the configuration")
    add_tables(loaded.path, "providers", list(tables.values()))
    names = ", ".join(table["name"] for table in tables.values())
    print(f"arbstr: added to {loaded.path}: {names}; 'arbstr fund NAME' puts one to use", file=sys.stderr)


def _way(loaded: Loaded, url: str) -> dict[str, str]:
    """Return the key of a table for the way by which a node was found: the proxy as the file writes it."""
    from urllib.parse import urlsplit

    from arbstr.config.proxies import is_this_machine
    from arbstr.config.toml_file import read

    if loaded.path is None or loaded.config.discovery.proxy is None or is_this_machine(urlsplit(url).hostname or ""):
        return {}
    return {"proxy": str(read(loaded.path).table["discovery"]["proxy"])}

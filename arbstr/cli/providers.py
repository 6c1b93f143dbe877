"""`arbstr providers`: what is configured, and what a running arbstr knows of it."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Annotated

import typer

from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import Column, counted, table

if TYPE_CHECKING:
    from arbstr import shapes
    from arbstr.config.schema import Provider

_LISTED = "listed"  # by the provider itself, when arbstr serves
_RATES = (Column("in/1k", right=True), Column("out/1k", right=True), Column("fee", right=True))
_CONFIGURED = (*_RATES, Column("key"), Column("source"), Column("url"), Column("models"))
_KNOWN = (
    Column("state"),
    Column("balance", right=True),
    Column("lasts"),
    Column("prices"),
    Column("charged", right=True),
)
_UNKNOWN = "-"
_FEW = 8  # models that are named; of more only the number is said


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr providers --json")(providers)


def providers(
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in the shape of GET /providers.")] = False,
) -> None:
    """Show the configured providers: models, rates and masked keys.

    While arbstr serves, also health, balance, how long that lasts, and how old prices are.
    """
    from arbstr.cli.running import known_providers
    from arbstr.config.settings import resolve

    settings = resolve(os.environ, config=config, insecure=True)
    configured, known = settings.config.providers, known_providers(settings)
    if as_json:
        shown = {"providers": [known.get(provider.name) or provider.public() for provider in configured]}
        print(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    if not known:
        print("\n".join(table((Column("name"), *_CONFIGURED), ((one.name, *_row(one)) for one in configured))))
        return
    rows = ((one.name, *_known_row(one, known.get(one.name)), *_row(one, known.get(one.name))) for one in configured)
    print("\n".join(table((Column("name"), *_KNOWN, *_CONFIGURED), rows)))


def _row(provider: Provider, known: shapes.ProviderEntry | None = None) -> tuple[str, ...]:
    listed = _UNKNOWN if known is not None and known["list_age_s"] is None else _LISTED
    return (
        *(_rate_words(provider.stated(rate), listed) for rate in ("input_rate", "output_rate", "base_fee")),
        str(provider.api_key or "-"),
        provider.key_source,
        provider.url,
        _models(provider, known, listed),
    )


def _models(provider: Provider, known: shapes.ProviderEntry | None, listed: str) -> str:
    if not provider.model_ids and known is not None and known["models"]:
        models = known["models"]
        return ", ".join(models) if len(models) <= _FEW else counted(len(models), "model")
    named = ", ".join(_model_words(provider, model) for model in provider.model_ids)
    return named or (listed if provider.kind == "routstr" else "any")


def _model_words(provider: Provider, model: str) -> str:
    """Return a model's name, with its rates if they are its own."""
    rates = provider.rates_for(model)
    if rates is provider.rates:
        return model
    return f"{model} ({float(rates.input):.10g} in, {float(rates.output):.10g} out)"


def _rate_words(rate: float | None, listed: str) -> str:
    """Return a configured rate; a Routstr node's own are in its list, by model."""
    return listed if rate is None else f"{rate:.10g}"


def _known_row(provider: Provider, known: shapes.ProviderEntry | None) -> tuple[str, ...]:
    """Return what a running arbstr knows of a provider; one that it does not have is unknown to it."""
    if known is None:
        return ("not running", *[_UNKNOWN] * (len(_KNOWN) - 1))
    ratio = known["charged_ratio"]
    return (
        _state(provider, known),
        *_balance(known["balance"]),
        _prices(known),
        _UNKNOWN if ratio is None else f"{ratio - 1:+.1%}",
    )


def _state(provider: Provider, known: shapes.ProviderEntry) -> str:
    health, balance = known["health"], known["balance"]
    if provider.is_inert:
        return "no key"
    if not health["in_rotation"]:
        return "taken out"
    if health["state"] != "closed":
        return health["state"]
    if balance is not None and balance["state"] == "known" and not (balance["free_sats"] or balance["reserved_sats"]):
        return "no balance"
    return "ok"


def _balance(balance: shapes.ProviderBalance | None) -> tuple[str, str]:
    """Return what can be spent, or why that is not known; and how long it lasts."""
    if balance is None:
        return _UNKNOWN, _UNKNOWN
    free, hours = balance["free_sats"], balance["runway_hours"]
    if balance["state"] != "known" or free is None:
        return balance["state"].replace("_", " "), _UNKNOWN
    return f"{free:,.0f}", _UNKNOWN if hours is None else _span(hours * 3600)


def _prices(known: shapes.ProviderEntry) -> str:
    """Return where a provider's prices are from, and how old they are."""
    if known["list_age_s"] is None:
        return "no list yet" if known["input_rate_sats_per_1k"] is None else "configured"
    return f"{'stale, ' if known['list_stale'] else ''}{_span(known['list_age_s'])} old"


def _span(seconds: float) -> str:
    """Return a time in its largest unit: `48 s`, `3.2 h`."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"

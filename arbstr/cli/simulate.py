"""`arbstr simulate`: what arbstr would save on a stream of requests, from files, the configuration and the ledger."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arbstr.cli.options import ConfigOption
from arbstr.cli.tables import Column, counted, table
from arbstr.errors import UnusableInput

if TYPE_CHECKING:
    from arbstr.config.schema import Provider
    from arbstr.simulate.replay import CostRatios, PricedProvider, PriceList, TracedRequest

_NAMES = {
    "arbstr": "arbstr",
    "oracle": "perfect foresight",
    "list_price": "lowest list price",
    "output_price": "lowest output price",
    "blend": "lowest 1:3 blend of input and output prices",
    "mean": "average provider",
    "dearest": "most expensive provider",
}
_COLUMNS = (Column("strategy"), Column("mean", right=True), Column("worst", right=True), Column("model"))

PricesOption = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help="JSON {model: {provider: [input, output]}}, with a cache [input, output, cached input, hit] "
        "[the configured providers].",
    ),
]
TraceOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="CSV of timestamp,policy,input_tokens,output_tokens, and maybe prefix; repeatable.",
    ),
]
LedgerOption = Annotated[bool, typer.Option("--from-ledger", help="Use the requests in the ledger.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the ratios as JSON, overall and by model.")]


def register(app: typer.Typer) -> None:
    """Add the command to an application."""
    app.command(epilog="Example: arbstr simulate --prices prices.json --trace trace.csv")(simulate)


def simulate(
    prices: PricesOption = None,
    trace: TraceOption = None,
    from_ledger: LedgerOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay past requests and show what arbstr would have saved."""
    from arbstr.simulate import replay

    price_list = _price_list(prices, config)
    rows = _rows(trace or [], from_ledger, config, any_model=prices is not None)
    with _progress(len(price_list)) as done:
        models = replay.simulate(price_list, rows, done)
    if not models:
        raise UnusableInput("None of the requests is for a model that the configured providers list.")
    overall = replay.overall(models)
    if as_json:
        print(json.dumps({"overall": overall, "models": models}, indent=2, ensure_ascii=False))
    else:
        print("\n".join(_lines(len(rows), overall, models)))


def _price_list(prices: Path | None, config: Path | None) -> PriceList:
    """Return prices by model: those of the file, else of the configured providers."""
    from arbstr.config.settings import resolve
    from arbstr.simulate.inputs import read_prices

    if prices is not None:
        return read_prices(prices)
    providers = resolve(os.environ, config=config, insecure=True).config.providers
    models = dict.fromkeys(model for provider in providers for model in provider.model_ids)
    if not models:
        raise UnusableInput("The configured providers list no models; name them in the configuration, or use --prices.")
    return {
        model: [_priced_provider(provider, model) for provider in providers if provider.serves(model)]
        for model in models
    }


def _priced_provider(provider: Provider, model: str) -> PricedProvider:
    from arbstr.simulate.replay import PricedProvider

    rates = provider.rates_for(model)
    cached = None if rates.cached_input is None else float(rates.cached_input)
    return PricedProvider(float(rates.input), float(rates.output), float(rates.base_fee) / 1000, cached)


def _rows(traces: list[Path], from_ledger: bool, config: Path | None, *, any_model: bool) -> list[TracedRequest]:
    """Read the requests of all traces and of the ledger; with `any_model` the ledger's are tried on every model too."""
    from arbstr.config.paths import database_place
    from arbstr.simulate.inputs import read_ledger, read_trace

    if not (traces or from_ledger):
        raise typer.BadParameter("no requests given; use --trace FILE or --from-ledger")
    rows = [row for path in traces for row in read_trace(path)]
    if from_ledger:
        rows += read_ledger(database_place(os.environ, config), any_model=any_model)
    return rows


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar on stderr, if that is a terminal; call what is yielded after each step."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    with typer.progressbar(length=steps, label="simulating", file=sys.stderr) as bar:
        yield lambda: bar.update(1)


def _lines(requests: int, overall: CostRatios, models: dict[str, CostRatios]) -> list[str]:
    rows = []
    for rule, name in _NAMES.items():
        known = [(ratio, model) for model, ratios in models.items() if (ratio := ratios[rule]) is not None]
        worst, model = max(known, default=(None, ""))
        rows.append((name, _factor(overall[rule]), _factor(worst), model if worst != 1 else ""))
    counts = f"{counted(requests, 'request')} on {counted(len(models), 'model')}"
    title = f"{counts}: cost of each strategy relative to perfect foresight."
    return [title, "", *table(_COLUMNS, rows)]


def _factor(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.4f}"

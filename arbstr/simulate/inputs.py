"""Inputs of a simulation, none of them trusted: prices as JSON, past requests from CSV or a ledger."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from arbstr.errors import UnusableInput
from arbstr.ledger.backend import backend_at
from arbstr.ledger.model import Entry, Filter
from arbstr.places import Place
from arbstr.simulate.replay import PricedProvider, PriceList, TracedRequest

COLUMNS = ("timestamp", "policy", "input_tokens", "output_tokens")

_MOST_TOKENS = 10**12
_MOST_RATE = 1e9  # as in the configuration
_LONGEST_POLICY = 100


def read_prices(path: Path) -> PriceList:
    """Read `{model: {provider: [input, output]}}`, in sats per 1000 tokens; where it has a prompt cache
    `[input, output, cached input, hit]`. Raises `UnusableInput`, `OSError`.
    """
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path} is not JSON: {error}.") from None
    if not isinstance(document, dict) or not document:
        raise UnusableInput(f"{path} must be an object of models, each an object of providers: [input, output].")
    return {model: _providers(path, model, providers) for model, providers in document.items()}


def _providers(path: Path, model: str, providers: Any) -> list[PricedProvider]:
    if not isinstance(providers, dict) or not providers:
        raise UnusableInput(f"{path}: the model {model[:100]!r} must be an object of providers: [input, output].")
    return [
        _priced_provider(f"{path}: the price of {model[:100]!r} at {name[:100]!r}", rates)
        for name, rates in providers.items()
    ]


def _priced_provider(what: str, rates: Any) -> PricedProvider:
    if not isinstance(rates, list) or len(rates) not in (2, 4) or not all(_is_rate(rate) for rate in rates):
        shape = "[input, output] or [input, output, cached input, hit]"
        raise UnusableInput(f"{what} must be {shape}, numbers from 0 to {_MOST_RATE:g}.")
    if len(rates) == 2:
        return PricedProvider(float(rates[0]), float(rates[1]))
    if rates[3] > 1:
        raise UnusableInput(f"{what} must have a hit, its last number, from 0 to 1.")
    return PricedProvider(float(rates[0]), float(rates[1]), cached_rate=float(rates[2]), hit=float(rates[3]))


def _is_rate(rate: Any) -> bool:
    return isinstance(rate, int | float) and not isinstance(rate, bool) and 0 <= rate <= _MOST_RATE


def read_trace(path: Path) -> list[TracedRequest]:
    """Read requests with the columns `timestamp,policy,input_tokens,output_tokens`, in any order of columns and rows.

    A column `prefix` may have ids of the prompt's blocks of 512 tokens, separated by spaces. An empty policy is none. A
    file whose name ends in `.gz` is compressed. Raises `UnusableInput`, `OSError`.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            rows = list(_rows(path, csv.DictReader(file)))
    except (UnicodeDecodeError, csv.Error, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise UnusableInput(f"{path} can't be read as CSV in UTF-8: {error}.") from None
    if not rows:
        raise UnusableInput(f"{path} holds no requests.")
    return rows


def read_ledger(place: Place, *, any_model: bool) -> list[TracedRequest]:
    """Read the answered requests in a ledger of any version; with `any_model` for every model, not their own.

    Raises `UnusableInput`, `LedgerUnavailable`.
    """
    with closing(backend_at(place).connect()) as ledger:
        chunks = ledger.entries(Filter(success=True), "timestamp", "asc")
        rows = [row for entry in chain.from_iterable(chunks) if (row := _past(entry, any_model=any_model))]
    if not rows:
        raise UnusableInput(f"The ledger {place} holds no answered request with known tokens.")
    return rows


def _past(entry: Entry, *, any_model: bool) -> TracedRequest | None:
    """Return a ledger's request; None if its tokens are unknown, or another program gave it an impossible policy."""
    if entry.input_tokens is None or entry.output_tokens is None:
        return None
    try:
        policy = _policy(entry.policy)
    except ValueError:
        return None
    at = datetime.fromtimestamp(entry.at_ms / 1000, UTC)
    model = None if any_model else entry.served_model or entry.model  # a model may have been asked for by an alias
    return TracedRequest(at, policy, entry.input_tokens, entry.output_tokens, model)


def _rows(path: Path, lines: csv.DictReader[str]) -> Iterator[TracedRequest]:
    missing = [column for column in COLUMNS if column not in (lines.fieldnames or ())]
    if missing:
        raise UnusableInput(f"{path} lacks the column {missing[0]}; its first line must name {', '.join(COLUMNS)}.")
    for line in lines:
        try:
            yield TracedRequest(
                at=_instant(line["timestamp"]),
                policy=_policy(line["policy"]),
                input_tokens=_tokens("input_tokens", line["input_tokens"]),
                output_tokens=_tokens("output_tokens", line["output_tokens"]),
                prefix=tuple(map(hash, (line.get("prefix") or "").split())),
            )
        except ValueError as error:
            raise UnusableInput(f"{path}, line {lines.line_num}: {error}.") from None


def _instant(text: str | None) -> datetime:
    try:
        at = datetime.fromisoformat(text or "")
    except ValueError:
        raise ValueError(f"the timestamp {_shown(text)} is not in ISO 8601") from None
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)


def _policy(text: str | None) -> str | None:
    policy = (text or "").strip()
    if len(policy) > _LONGEST_POLICY or not policy.isprintable():
        raise ValueError(f"the policy {_shown(text)} is not a name of at most {_LONGEST_POLICY} printable characters")
    return policy or None


def _tokens(column: str, text: str | None) -> int:
    digits = (text or "").strip()
    if not (digits.isascii() and digits.isdigit()) or len(digits) > len(str(_MOST_TOKENS)):
        raise ValueError(f"{column} is {_shown(text)}, not a whole number of tokens")
    return int(digits)


def _shown(text: str | None) -> str:
    return repr((text or "")[:50])

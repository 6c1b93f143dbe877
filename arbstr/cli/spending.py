"""Today's spending in one line, for tmux and shell prompts, which ask every few seconds: nothing slow is imported."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from arbstr.clock import DAY_MS, HOUR_MS, MINUTE_MS, format_ms, wall_ms
from arbstr.money import to_sats

if TYPE_CHECKING:
    from arbstr.engine.caps import Period
    from arbstr.ledger.queries import Queries

BURN_SPAN_MS = 10 * MINUTE_MS  # the dashboard's
_PERIODS = {"hour": "this hour", "day": "today", "month": "this month"}
_WHOLE_FROM = 100_000  # msats; less is shown with fractions


class _Budget(NamedTuple):
    """A limit of the configuration, of a `policy` or a `client`; both are None for everything."""

    policy: str | None
    client: str | None
    period: Period
    limit_msats: int

    @property
    def whose(self) -> str:
        """What it is a limit of, behind what is left of it; empty for everything."""
        return " by policy" if self.policy is not None else " by client" if self.client is not None else ""


class _Spent(NamedTuple):
    budget: _Budget
    spent_msats: int
    resets_at_ms: int

    @property
    def left_msats(self) -> int:
        return max(0, self.budget.limit_msats - self.spent_msats)


class _Figures(NamedTuple):
    """What the line says, in msats; `tightest` is the budget with the least left, one of everything before others."""

    today_msats: int
    hourly_msats: int
    budgets: list[_Spent]

    @property
    def tightest(self) -> _Spent | None:
        return min(self.budgets, key=lambda one: (bool(one.budget.whose), one.left_msats), default=None)


def print_line(config: Path | None, as_json: bool) -> None:
    """Print the line, or JSON; where the ledger can't be read, that it can't."""
    from arbstr.errors import ArbstrError

    try:
        shown = _figures(config, wall_ms())
    except (ArbstrError, OSError) as error:
        print(json.dumps(_json(None, " ".join(str(error).split()))) if as_json else _absence(config))
        return
    print(json.dumps(_json(shown, None)) if as_json else _line(shown))


def _figures(config: Path | None, now_ms: int) -> _Figures:
    """Read the ledger. Raises ConfigError, LedgerUnavailable and OSError."""
    from arbstr.cli.ledger_access import open_ledger
    from arbstr.ledger.model import Filter

    with open_ledger(config) as ledger:
        today_ms = now_ms - now_ms % DAY_MS
        today = ledger.stats(Filter(since_ms=today_ms, until_ms=today_ms + DAY_MS - 1)).overall.cost_msats
        lately = ledger.stats(Filter(since_ms=now_ms - BURN_SPAN_MS, until_ms=now_ms)).overall.cost_msats
        budgets = [_spent(ledger, budget, now_ms) for budget in _budgets(_table(config))]
    return _Figures(today, lately * HOUR_MS // BURN_SPAN_MS, budgets)


def _spent(ledger: Queries, budget: _Budget, now_ms: int) -> _Spent:
    from arbstr.engine.caps import bounds_ms
    from arbstr.ledger.model import Filter

    since_ms, ends_ms = bounds_ms(budget.period, now_ms)
    where = Filter(since_ms=since_ms, until_ms=ends_ms - 1, policy=budget.policy, client=budget.client)
    return _Spent(budget, ledger.spent_msats(where), ends_ms)


# --- budgets, as they are written: a prompt lacks the variables that the whole configuration may need, and has no time


def _table(config: Path | None) -> dict[str, Any]:
    from arbstr.config.paths import config_path
    from arbstr.config.toml_file import read

    file = config_path(config, os.environ)
    return read(file).table if file.exists() else {}


def _budgets(table: Mapping[str, Any]) -> Iterator[_Budget]:
    from arbstr.config.toml_file import expand, tables

    written: dict[str, Any] = expand(table, os.environ, {})
    yield from _limits(written.get("budget"))
    for _, rule in tables(written, "policies", "rules"):
        if isinstance(name := rule.get("name"), str):
            yield from _limits(rule, policy=name)
    for _, client in tables(written, "clients"):
        if isinstance(name := client.get("name"), str):
            yield from _limits(client, client=name)


def _limits(section: object, *, policy: str | None = None, client: str | None = None) -> Iterator[_Budget]:
    from arbstr.engine.caps import PERIODS

    if not isinstance(section, dict):
        return
    for period in PERIODS:
        with suppress(KeyError, TypeError, ValueError, OverflowError):  # absent, or nothing to serve with
            yield _Budget(policy, client, period, round(float(section[f"max_sats_per_{period}"]) * 1000))


# --- what is printed


def _line(figures: _Figures) -> str:
    parts = [f"{_sats(figures.today_msats)} sats today", f"{_sats(figures.hourly_msats)} sats/h"]
    if (tightest := figures.tightest) is not None:
        budget = tightest.budget
        parts.append(f"{_sats(tightest.left_msats)} left {_PERIODS[budget.period]}{budget.whose}")
    return " | ".join(parts)


def _sats(msats: int) -> str:
    """Return sats in few characters: whole ones, with three digits where they are few."""
    return f"{msats / 1000:,.0f}" if abs(msats) >= _WHOLE_FROM else f"{msats / 1000:.3g}"


def _absence(config: Path | None) -> str:
    """Return what stands in a prompt for figures that can't be had; --json and `arbstr stats` say why."""
    from arbstr.cli.ledger_access import ledger_place
    from arbstr.errors import ConfigError

    with suppress(ConfigError, OSError):
        if isinstance(place := ledger_place(config), str) and not Path(place).exists():
            return "arbstr: no ledger yet"
    return "arbstr: no figures"


def _json(figures: _Figures | None, problem: str | None) -> dict[str, Any]:
    tightest = figures.tightest if figures else None
    return {
        "today_sats": to_sats(figures.today_msats) if figures else None,
        "burn_sats_per_hour": to_sats(figures.hourly_msats) if figures else None,
        "budget_left_sats": to_sats(tightest.left_msats) if tightest else None,
        "budgets": [_entry(one) for one in figures.budgets] if figures else [],
        "problem": problem,
    }


def _entry(one: _Spent) -> dict[str, Any]:
    return {
        "policy": one.budget.policy,
        "client": one.budget.client,
        "period": one.budget.period,
        "limit_sats": to_sats(one.budget.limit_msats),
        "spent_sats": to_sats(one.spent_msats),
        "left_sats": to_sats(one.left_msats),
        "resets_at": format_ms(one.resets_at_ms),
    }

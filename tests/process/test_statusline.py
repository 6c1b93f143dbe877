"""`arbstr statusline`: one line for a prompt, which is never disturbed."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from arbstr.cli import spending
from arbstr.types import RequestRecord
from tests.support.command import run_command
from tests.support.ledger_builders import DAY, HOUR, MINUTE, NOON, record, write
from tui.model.burn import SPAN_MS

BUDGETS = """
[budget]
max_sats_per_day = 10
max_sats_per_month = 8.5
[[policies.rules]]
name = "code"
max_sats_per_hour = 1
[[providers]]
name = "alpha"
url = "https://alpha.example/v1"
api_key = "${NOT_SET_IN_A_PROMPT}"
"""


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "wall_ms", lambda: NOON)


def spent(path: Path, *rows: RequestRecord) -> None:
    asyncio.run(write(path / "arbstr.db", rows))


def configured(path: Path, text: str) -> None:
    (path / "config.toml").write_text(text)
    (path / "config.toml").chmod(0o600)


def shown(path: Path, *arguments: str) -> str:
    """What the command prints in the directory: one line, nothing on stderr, exit status 0."""
    done = run_command("statusline", *arguments, cwd=path, environ={})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n")
    assert done.stdout.count("\n") == 1
    return done.stdout.rstrip("\n")


def figures(path: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(shown(path, "--json"))
    return said


def test_it_says_what_was_spent_today_and_what_an_hour_costs_at_this_pace(tmp_path: Path) -> None:
    spent(
        tmp_path,
        record(received_at_ms=NOON - 2 * MINUTE, cost_msats=1500),
        record(received_at_ms=NOON - 3 * HOUR, cost_msats=1_284_000),
        record(received_at_ms=NOON - DAY, cost_msats=9_000_000),
    )
    assert shown(tmp_path) == "1,286 sats today | 9 sats/h"


def test_small_sums_keep_their_fractions(tmp_path: Path) -> None:
    spent(tmp_path, record(received_at_ms=NOON - 1 * HOUR, cost_msats=420))
    assert shown(tmp_path) == "0.42 sats today | 0 sats/h"


def test_the_budget_of_everything_with_the_least_left_is_named(tmp_path: Path) -> None:
    configured(tmp_path, BUDGETS)
    spent(tmp_path, record(received_at_ms=NOON - HOUR, cost_msats=2000))
    assert shown(tmp_path) == "2 sats today | 0 sats/h | 6.5 left this month"


def test_a_policys_budget_is_named_where_everything_has_none(tmp_path: Path) -> None:
    configured(tmp_path, '[[policies.rules]]\nname = "code"\nmax_sats_per_hour = 1\n')
    spent(tmp_path, record(received_at_ms=NOON, cost_msats=250, policy="code"), record(received_at_ms=NOON))
    assert shown(tmp_path).endswith(" | 0.75 left this hour by policy")


def test_a_clients_budget_is_one_of_them_with_its_name_as_it_is_meant(tmp_path: Path) -> None:
    limited = '[[clients]]\nname = "bob$$"\nmax_sats_per_day = 1\n'
    configured(tmp_path, f'[[policies.rules]]\nname = "code"\nmax_sats_per_hour = 1\n{limited}')
    spent(tmp_path, record(received_at_ms=NOON, cost_msats=750, client="bob$"), record(received_at_ms=NOON))
    assert shown(tmp_path).endswith(" | 0.25 left today by client")
    assert [(one["policy"], one["client"], one["left_sats"]) for one in figures(tmp_path)["budgets"]] == [
        ("code", None, 1.0),
        (None, "bob$", 0.25),
    ]


def test_an_overspent_budget_has_nothing_left(tmp_path: Path) -> None:
    configured(tmp_path, "[budget]\nmax_sats_per_day = 1\n")
    spent(tmp_path, record(received_at_ms=NOON - HOUR, cost_msats=2000))
    assert shown(tmp_path).endswith(" | 0 left today")


def test_a_budget_counts_what_budgets_count(tmp_path: Path) -> None:
    configured(tmp_path, "[budget]\nmax_sats_per_day = 10\n")
    spent(tmp_path, record(received_at_ms=NOON - HOUR, cost_msats=1000, list_cost_msats=4000))
    assert shown(tmp_path) == "1 sats today | 0 sats/h | 6 left today"


def test_as_json_it_has_every_budget(tmp_path: Path) -> None:
    configured(tmp_path, BUDGETS)
    spent(tmp_path, record(received_at_ms=NOON - HOUR, cost_msats=2000))
    said = figures(tmp_path)
    assert said["budgets"][0] == {
        "policy": None,
        "client": None,
        "period": "day",
        "limit_sats": 10.0,
        "spent_sats": 2.0,
        "left_sats": 8.0,
        "resets_at": "2026-01-02T00:00:00.000Z",
    }
    assert [(one["policy"], one["period"]) for one in said["budgets"][1:]] == [(None, "month"), ("code", "hour")]
    del said["budgets"]
    assert said == {"today_sats": 2.0, "burn_sats_per_hour": 0.0, "budget_left_sats": 6.5, "problem": None}


def test_without_a_ledger_it_says_so(tmp_path: Path) -> None:
    assert shown(tmp_path) == "arbstr: no ledger yet"
    said = figures(tmp_path)
    assert said["today_sats"] is said["burn_sats_per_hour"] is said["budget_left_sats"] is None
    assert said["problem"] == "No ledger at arbstr.db yet; it is created when arbstr first serves."


def test_what_is_no_ledger_and_what_is_no_configuration_is_one_quiet_line(tmp_path: Path) -> None:
    (tmp_path / "arbstr.db").write_text("no database " * 100)
    assert shown(tmp_path) == "arbstr: no figures"
    configured(tmp_path, "[budget\n")
    assert shown(tmp_path) == "arbstr: no figures"
    assert "config.toml: " in figures(tmp_path)["problem"]
    assert shown(tmp_path, "-c", f"absent{os.sep}config.toml") == "arbstr: no figures"
    assert shown(tmp_path, f"--config=absent{os.sep}config.toml") == "arbstr: no figures"  # as typer alone reads it


def test_what_is_no_limit_is_passed_over(tmp_path: Path) -> None:
    configured(tmp_path, 'policies = 1\n[budget]\nmax_sats_per_hour = "much"\nmax_sats_per_day = inf\n')
    spent(tmp_path)
    assert shown(tmp_path) == "0 sats today | 0 sats/h"


def test_its_burn_is_over_the_dashboards_span() -> None:
    assert spending.BURN_SPAN_MS == SPAN_MS

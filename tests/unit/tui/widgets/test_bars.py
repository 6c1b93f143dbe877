"""The line on top: what is wrong is said in any width, and nothing looks well beside it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta, timezone
from typing import Any

import pytest

from arbstr.clock import DAY_MS, MINUTE_MS
from arbstr.events import Alert
from arbstr.monitoring.source import LinkState, Outage
from arbstr.types import Balance, BudgetStatus
from tests.support.dashboard_fakes import HOUR, NOON, FakeSource
from tui.model.burn import Burn
from tui.model.view_model import DashboardView, ViewModel
from tui.render.layout import width_of
from tui.widgets.bars import TopBar, _providers


def top(view: DashboardView, width: int, **changes: Any) -> str:
    """The top bar as text."""
    bar, shown = TopBar(), {"frozen": False, "unseen": 0, "problem": None, "zone": UTC, **changes}
    bar.show(view, NOON, **shown)
    (line,) = bar.draw(width, 1)
    assert width_of(line) == width
    return "".join(text for text, _ in line)


HOURLY = BudgetStatus("global", "hour", 12_000, 0, 12_000, NOON + 1_800_000)


@pytest.mark.parametrize("width", [60, 70, 80, 100, 120, 200])
@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"refusing": (HOURLY,)}, "hour budget spent, refusing until 14:32"),
        ({"refusing": (replace(HOURLY, scope="client:bob"),)}, "client bob hour budget spent"),
        ({"alerts": (Alert("unexplained_charge", "alpha", NOON, NOON + 1, msats=1700),)}, "unexplained charge"),
        ({"refusing": (replace(HOURLY, spent_msats=9_000),)}, "hour budget refuses at 75 %, resets 14:32"),
        ({"refusing": (replace(HOURLY, period="month", resets_at_ms=NOON + 20 * DAY_MS),)}, "until 03 Apr 14:02"),
        ({"ledger_problem": "database is locked"}, "ledger can't be written"),
        ({"config_problem": "config.toml: it is wrong"}, "config refused"),
    ],
)
def test_what_is_wrong_is_said_at_any_width(changes: dict[str, Any], shown: str, width: int) -> None:
    view = ViewModel(FakeSource().snapshot()).view(NOON)
    text = top(replace(view, **changes), width)
    assert shown in text
    assert "▶ live" in text
    assert "●" not in text or not view.refusing


@pytest.mark.parametrize("width", [60, 70, 80, 100, 120, 200])
def test_a_lost_connection_is_said_at_any_width_and_nothing_looks_live(width: int) -> None:
    view = ViewModel(FakeSource().snapshot()).view(NOON)
    outage = Outage("connection \x1brefused", NOON - 11_000, NOON + 3_500)
    text = top(view, width, link=LinkState("http://10.0.0.5:8080", outage), problem="connection refused")
    assert "no connection" in text
    assert "✕ stale since 14:02:00" in text
    assert "live" not in text
    assert "ledger" not in text, "one trouble is said once"
    assert "\x1b" not in text
    if width >= 120:
        assert "refused, again in 4 s" in text


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("width", range(60, 200, 7))
def test_of_many_troubles_the_gravest_are_said_whole_and_the_others_counted(width: int, frozen: bool) -> None:
    said = (
        "hour budget spent",
        "no balance",
        "ledger can't be written",
        "config refused",
        "unexplained charge",
        "delta, epsilon down",
        "beta's balance lasts 54 m",
        "prices at gamma jumped",
    )
    source = FakeSource()
    low = Balance("known", free_msats=900, hourly_msats=1_000)
    source.providers["beta"] = replace(source.providers["beta"], balance=low)
    source.alerts = (
        Alert("balance", "beta", NOON, msats=900, hours=0.9),
        Alert("provider_down", "delta", NOON),
        Alert("provider_down", "epsilon", NOON),
        Alert("price_jump", "gamma", NOON, models=("gpt-4o",)),
        Alert("unexplained_charge", "alpha", NOON, NOON + 1, msats=1700),
    )
    view = ViewModel(source.snapshot()).view(NOON)
    poor = replace(view.providers[0], unfunded=True)
    view = replace(
        view,
        refusing=(HOURLY,),
        ledger_problem="disk full",
        config_problem="it is wrong",
        providers=(poor, *view.providers[1:]),
    )
    text = top(view, width, frozen=frozen)
    many = sum(each in text for each in said)
    assert all(each in text for each in said[:many]), "the gravest first"
    assert many >= 1
    assert f"+{len(said) - many} more" in text or many == len(said)
    assert not frozen or "‖ frozen" in text
    assert "…" not in text


@pytest.mark.parametrize("width", [60, 80, 120])
def test_where_no_provider_serves_that_is_the_gravest_trouble(width: int) -> None:
    source, bar = FakeSource(), TopBar()
    source.providers = {name: replace(each, state="open") for name, each in source.providers.items()}
    source.alerts = (Alert("provider_down", "alpha", NOON),)
    bar.show(ViewModel(source.snapshot()).view(NOON), NOON, frozen=False, unseen=0, problem=None, zone=UTC)
    (line,) = bar.draw(width, 1)
    text = "".join(part for part, _ in line)
    assert text.index("✕ 0 of 4") < text.index("serving") < text.index("alpha down")
    assert {role for part, role in line if "0 of 4" in part} == {"alarm"}
    assert "good" not in {role for _, role in line}


def test_how_many_providers_serve_goes_before_the_details_of_several_troubles() -> None:
    view = replace(ViewModel(FakeSource().snapshot()).view(NOON), refusing=(HOURLY,), config_problem="it is wrong")
    assert "4 serving  hour budget spent   config refused " in top(view, 70)
    assert "4 serving  hour budget spent, refusing until 14:32   config refused " in top(view, 100)


def test_names_in_a_row_are_counted_where_they_are_long() -> None:
    source = FakeSource()
    names = ["a-provider-with-a-name", "another-provider", "and-one-more"]
    source.alerts = tuple(Alert("provider_down", name, NOON) for name in names)
    assert "3 providers down" in top(ViewModel(source.snapshot()).view(NOON), 80)


def test_why_a_connection_is_lost_is_said_in_short_and_nothing_as_old_beside_it() -> None:
    source, url = FakeSource(), "http://10.0.0.5:8080"
    source.alerts = (Alert("provider_down", "beta", NOON),)
    outage = Outage(f"{url} refuses the token; it is not its server.auth_token", NOON - 11_000, NOON + 3_500)
    text = top(ViewModel(source.snapshot()).view(NOON), 100, link=LinkState(url, outage))
    assert "no connection: refuses the token, again in 4 s" in text
    assert "beta" not in text


def test_what_is_an_alert_is_said_and_nothing_else() -> None:
    source = FakeSource()
    balance = Balance("known", free_msats=900, hourly_msats=1_000)
    source.providers["alpha"] = replace(source.providers["alpha"], balance=balance)
    source.budgets = (replace(HOURLY, spent_msats=9_500),)
    text = top(ViewModel(source.snapshot()).view(NOON), 200)
    assert not any(word in text for word in ("balance", "budget", "down", "prices"))
    source.budgets = (replace(HOURLY, spent_msats=9_500, passed_percent=75),)
    source.alerts = (
        Alert("balance", "alpha", NOON, msats=900, hours=0.9),
        Alert("provider_down", "beta", NOON),
        Alert("provider_down", "gamma", NOON),
        Alert("price_jump", "delta", NOON, models=("gpt-4o",)),
    )
    text = top(ViewModel(source.snapshot()).view(NOON), 200)
    for said in ("hour budget 79 %", "alpha's balance lasts 54 m", "beta, gamma down", "prices at delta jumped"):
        assert said in text


def test_a_dashboard_that_only_watches_says_so() -> None:
    view = ViewModel(FakeSource().snapshot()).view(NOON)
    text = top(view, 120, link=LinkState("http://10.0.0.5:8080"))
    assert "watching, read-only" in text
    assert " read-only" in top(view, 70, link=LinkState("http://10.0.0.5:8080"))
    assert "▶ live" in text
    assert "watching" not in top(view, 120)


def test_of_a_ledger_that_can_not_be_used_the_reason_is_said_not_the_place() -> None:
    said = "The ledger postgresql://db.lan/sats can't be used: its disk is full; make room there."
    view = replace(ViewModel(FakeSource().snapshot()).view(NOON), ledger_problem=said)
    assert "ledger can't be written: its disk is full; make room there" in top(view, 120)


def test_everything_that_is_wrong_at_once_is_said_in_sixty_columns() -> None:
    view = ViewModel(FakeSource().snapshot()).view(NOON)
    poor = replace(view.providers[0], unfunded=True)
    view = replace(view, refusing=(HOURLY,), ledger_problem="disk full", providers=(poor, *view.providers[1:]))
    for part in ("hour budget spent", "no balance", "ledger can't be written"):
        assert part in top(view, 60)
    for part in ("no balance left at alpha", "ledger can't be written: disk full", "3 of 4 providers serving"):
        assert part in top(view, 200)


def test_a_budget_that_is_nearly_spent_is_a_warning_and_the_zone_of_times_is_said() -> None:
    view = ViewModel(
        replace(FakeSource().snapshot(), budgets=(replace(HOURLY, spent_msats=11_480, passed_percent=90),))
    ).view(NOON)
    assert "hour budget 96 %" in top(view, 80)
    assert "EST" in top(view, 120, zone=timezone(timedelta(hours=-5), "EST"))


def test_the_adoption_of_old_rows_is_said() -> None:
    view = ViewModel(FakeSource().snapshot()).view(NOON)
    assert "adopting old rows 25 %" in top(replace(view, adopted=0.25), 80)
    assert "adopting" not in top(view, 200)


def test_nothing_beside_a_trouble_looks_well() -> None:
    view = ViewModel(FakeSource().snapshot()).view(NOON)
    bar = TopBar()
    bar.show(replace(view, refusing=(HOURLY,)), NOON, frozen=False, unseen=0, problem=None, zone=UTC)
    assert "good" not in {role for _, role in bar.draw(120, 1)[0]}


def bar_text(source: FakeSource) -> str:
    parts = _providers(ViewModel(source.snapshot()).view(NOON))
    return "".join(text for line, _ in parts for text, _ in line)


def test_fake_providers_are_called_so() -> None:
    source = FakeSource()
    assert "fake providers" not in bar_text(source)
    source.providers = {f"mock-{name}": replace(each, name=f"mock-{name}") for name, each in source.providers.items()}
    assert "fake providers" in bar_text(source)


def test_till_when_a_budget_lasts_at_this_rate_is_said_before_it_is_spent() -> None:
    budget = BudgetStatus("global", "day", 20_000, 0, 100_000, NOON + 9 * HOUR)
    view = replace(ViewModel(FakeSource().snapshot()).view(NOON), budgets=(budget,))
    fast, slow = Burn(10_000, 10 * MINUTE_MS), Burn(1_000, 10 * MINUTE_MS)
    assert "day budget lasts till 15:22" in top(view, 120, burn=fast)
    assert "lasts till" not in top(view, 120, burn=slow)
    spent = replace(view, budgets=(replace(budget, spent_msats=85_000, passed_percent=75),))
    assert "day budget 85 % lasts till 14:17" in top(spent, 120, burn=fast)

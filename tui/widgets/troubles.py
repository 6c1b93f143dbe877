"""What is wrong, for the top bar, gravest first: badges of what must not be overlooked, words for the other alerts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo

from arbstr.events import AlertKind
from arbstr.types import CLIENT_SCOPE, BudgetStatus
from tui.format import day_or_time, percent, sats_round, shown
from tui.model.alert_text import GLOBAL
from tui.model.burn import Burn
from tui.model.view_model import DashboardView
from tui.render.layout import EMPTY, Line
from tui.widgets.budget_pace import budget_share, tightest
from tui.widgets.provider_health import runway_of

SPENT = 0.98  # of a budget: one of which less is spent refuses because a request would not fit
_NAME = 20  # characters of a name: several troubles have to fit
_NAMES = 28  # characters that names in a row may take


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something wrong: what is `said` of it wherever there is room for it, and further `details`.

    One `alarming` is a badge that must not be overlooked.
    """

    said: str
    details: str = ""
    alarming: bool = False

    @property
    def head(self) -> Line:
        """What is said of it, up to its details."""
        return ((" ", "text"), (f" {self.said}", "alarm")) if self.alarming else ((f"  {self.said}", "warn"),)

    @property
    def more(self) -> Line:
        """Its details, which follow."""
        return ((self.details, "alarm" if self.alarming else "warn"),) if self.details else EMPTY

    @property
    def end(self) -> Line:
        """What closes its badge."""
        return ((" ", "alarm"),) if self.alarming else EMPTY


def troubles(
    view: DashboardView, now_ms: int, zone: tzinfo | None, burn: Burn | None, unread: str | None
) -> list[Trouble]:
    """Return all that is wrong; `unread` is why the ledger can't be read, if it can't."""
    return [
        *_refusing(view, now_ms, zone),
        *_unfunded(view),
        *_ledger(view.ledger_problem, unread),
        *_configuration(view),
        *_unexplained(view),
        *_down(view),
        *_low(view),
        *_nearly_spent(view, now_ms, zone, burn),
        *_prices(view),
    ]


def _refusing(view: DashboardView, now_ms: int, zone: tzinfo | None) -> Iterator[Trouble]:
    """Yield the budgets that refuse requests: those that are spent, and those too small for one just now."""
    for budget in view.refusing:
        until, share = day_or_time(budget.resets_at_ms, now_ms, zone), budget_share(budget)
        if share >= SPENT:
            yield Trouble(f"{_named(budget)} budget spent", f", refusing until {until}", alarming=True)
        else:
            details = f" at {percent(share, 0)}, resets {until}"
            yield Trouble(f"{_named(budget)} budget refuses", details, alarming=True)


def _nearly_spent(view: DashboardView, now_ms: int, zone: tzinfo | None, burn: Burn | None) -> Iterator[Trouble]:
    """Yield the budget that is nearly spent and till when one lasts, unless one refuses already."""
    if view.refusing or not view.budgets:
        return
    first, going = tightest(view, burn)
    empty_at_ms = going.empty_at_ms
    lasts = "" if empty_at_ms is None else f" lasts till {day_or_time(empty_at_ms, now_ms, zone)}"
    near = sorted((each for each in view.budgets if each.passed_percent), key=budget_share)[-1:]
    for budget in near:
        share = percent(budget_share(budget), 0)
        yield Trouble(f"{_named(budget)} budget {share}", lasts if budget == first else "")
    if lasts and first not in near:
        yield Trouble(f"{_named(first)} budget{lasts}")


def _named(budget: BudgetStatus) -> str:
    """Return a budget's name: `hour`, `frugal day`, `client bob month`."""
    client = budget.scope.removeprefix(CLIENT_SCOPE)
    if budget.scope == GLOBAL:
        return budget.period
    return f"{'client ' if client != budget.scope else ''}{shown(client, _NAME)} {budget.period}"


def _unfunded(view: DashboardView) -> list[Trouble]:
    names = [each.status.name for each in view.providers if each.unfunded]
    return [Trouble("no balance", f" left at {', '.join(names)}", alarming=True)] if names else []


def _low(view: DashboardView) -> list[Trouble]:
    return [
        Trouble(f"{shown(each.status.name, _NAME)}'s balance {runway_of(each)[0]}")
        for each in view.providers
        if each.low and not each.unfunded
    ]


def _ledger(unwritten: str | None, unread: str | None) -> list[Trouble]:
    if unwritten is not None:
        return [Trouble("ledger can't be written", f": {_reason(unwritten)}", alarming=True)]
    return [Trouble("ledger can't be read", f": {_reason(unread)}", alarming=True)] if unread is not None else []


def _reason(problem: str) -> str:
    """Return why a ledger can't be used, without its name: there is only one."""
    return shown(problem.partition(" can't be used: ")[2] or problem, 60)


def _configuration(view: DashboardView) -> list[Trouble]:
    """Return a configuration file that was refused: what runs is the one before."""
    if view.config_problem is None:
        return []
    return [Trouble("config refused", f": {shown(view.config_problem, 80)}", alarming=True)]


def _unexplained(view: DashboardView) -> list[Trouble]:
    """Return what was taken lately for no request that is known."""
    charges = [each for each in view.alerts if each.kind == "unexplained_charge"]
    if not charges:
        return []
    taken = ", ".join(f"{sats_round(each.msats)} sats at {each.name}" for each in charges)
    return [Trouble("unexplained charge", f": {taken}", alarming=True)]


def _down(view: DashboardView) -> list[Trouble]:
    names = _with_alert(view, "provider_down")
    return [Trouble(f"{_listed(names)} down")] if names else []


def _prices(view: DashboardView) -> list[Trouble]:
    names = _with_alert(view, "price_jump")
    return [Trouble(f"prices at {_listed(names)} jumped")] if names else []


def _listed(names: Sequence[str]) -> str:
    """Return names in a row, or where they are long how many there are."""
    said = ", ".join(names)
    return said if len(said) <= _NAMES or len(names) == 1 else f"{len(names)} providers"


def _with_alert(view: DashboardView, kind: AlertKind) -> list[str]:
    return [each.name for each in view.alerts if each.kind == kind]

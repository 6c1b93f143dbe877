"""Which budgets refuse requests: those that are spent, and those that refused one lately."""

from __future__ import annotations

from collections.abc import Sequence

from arbstr.types import CLIENT_SCOPE, BudgetStatus, RequestRecord
from tui.model.alert_text import GLOBAL

SHOWN_MS = 60_000  # how long after a budget refused a request it is said that it does
_PAYMENT_REQUIRED = 402

_Span = tuple[str, str, int]  # of a budget: its scope, its period, and when that ends


class BudgetRefusals:
    """Remembers when budgets last refused a request, each for one of its periods."""

    def __init__(self) -> None:
        self._refused: dict[_Span, int] = {}

    def add(self, records: Sequence[RequestRecord], budgets: Sequence[BudgetStatus]) -> None:
        """Remember a budget's refusal, a 402 that no provider gave: of those that were asked, the fullest one's."""
        for record in records:
            if record.error_status == _PAYMENT_REQUIRED and not record.attempts:
                scopes = (GLOBAL, record.policy, None if record.client is None else f"{CLIENT_SCOPE}{record.client}")
                asked = sorted((budget for budget in budgets if budget.scope in scopes), key=_filled)
                at_ms = record.received_at_ms + record.latency_ms
                recent = {span: known for span, known in self._refused.items() if at_ms - known < SHOWN_MS}
                self._refused = recent | {_span_of(budget): at_ms for budget in asked[-1:]}

    def refusing(self, budgets: Sequence[BudgetStatus], now_ms: int) -> tuple[BudgetStatus, ...]:
        """Return the budgets that refuse further requests, as far as is known."""
        current = [budget for budget in budgets if budget.resets_at_ms > now_ms]
        full = [budget for budget in current if budget.spent_msats >= budget.limit_msats]
        lately = {span for span, at_ms in self._refused.items() if now_ms - at_ms < SHOWN_MS}
        return tuple(dict.fromkeys([*full, *(budget for budget in current if _span_of(budget) in lately)]))


def _span_of(budget: BudgetStatus) -> _Span:
    return budget.scope, budget.period, budget.resets_at_ms


def _filled(budget: BudgetStatus) -> float:
    return (budget.spent_msats + budget.reserved_msats) / budget.limit_msats if budget.limit_msats else 1.0

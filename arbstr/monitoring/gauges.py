"""What `/metrics` tells of the state at an instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from arbstr.types import BreakerState, BudgetStatus


@dataclass(frozen=True, slots=True)
class Gauges:
    """The state of all parts. `breakers` and `balances_msats` are by provider: what is free, where it is known.

    `queued_rows` wait to be written to the ledger. `instances` share it: how many are heard of, and how many are not;
    None where it is not shared.
    """

    breakers: Mapping[str, BreakerState]
    budgets: tuple[BudgetStatus, ...]
    balances_msats: Mapping[str, int]
    in_flight: int
    queued_rows: int
    instances: tuple[int, int] | None = None

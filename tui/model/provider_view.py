"""A provider as it is shown: its status and recent history, all text made fit to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from arbstr.events import OverchargeFound
from arbstr.monitoring.source import ProviderStatus
from arbstr.types import BreakerState
from tui.format import shown
from tui.model.speed import Speeds


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A change of a provider's health."""

    at_ms: int
    state: BreakerState
    in_rotation: bool
    reason: str


@dataclass(frozen=True, slots=True)
class ProviderView:
    """A provider's status and recent history. `outcomes` are its newest attempts, oldest first.

    `key` is its name as configured, `status.name` the same made fit to show.
    """

    key: str
    status: ProviderStatus
    outcomes: tuple[bool, ...] = ()
    health_changes: tuple[HealthChange, ...] = ()  # newest first
    overcharges: tuple[OverchargeFound, ...] = ()  # newest first, one a model
    unfunded: bool = False  # its balance is used up, or the newest attempt was refused for lack of it
    low: bool = False  # its balance ends soon, by an alert
    speeds: Speeds = field(default_factory=Speeds)

    @property
    def serves(self) -> bool:
        """Whether it may get requests."""
        status = self.status
        return status.in_rotation and status.state != "open" and not (self.unfunded or status.inert)


class PriceList:
    """A provider's models and their rates, as they came and fit to show."""

    __slots__ = ("models", "rates", "shown_models", "shown_rates")

    def __init__(self, models: tuple[str, ...], rates: Mapping[str, tuple[float, float, float]]) -> None:
        self.models, self.rates = models, rates
        self.shown_models = tuple(map(shown, models))
        self.shown_rates = {shown(model): asked for model, asked in rates.items()}

"""The price board: what the models that are bought cost at every provider now, for requests of their usual size."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from arbstr.ledger.model import Aggregate, GroupBy
from arbstr.monitoring.source import OfferStatus
from tui.model.groups import Groups
from tui.model.provider_view import ProviderView

MOST_ROWS = 24
UNBOUGHT = 12  # models that are shown while none was bought
USUAL_SIZE = (1000.0, 256.0)  # tokens in and out, before any are known


@dataclass(frozen=True, slots=True)
class BoardRow:
    """A model: the mean size of its requests in tokens, and by provider what such a request is expected to cost there.

    Prices are in msats, by the providers' configured names: rates, times what is charged of them, over the share that
    is answered. `cheapest` is of those that serve now. `paid_msats` is what an answered request has cost on average,
    None without any; `lost_msats` what failed ones have cost. `doubted` are the providers whose price may be wrong,
    `answered` counts requests.
    """

    model: str
    input_tokens: float
    output_tokens: float
    prices: Mapping[str, float]
    cheapest: str | None = None
    paid_msats: float | None = None
    lost_msats: int = 0
    doubted: frozenset[str] = frozenset()
    answered: int = 0

    @property
    def least_msats(self) -> float | None:
        """What the cheapest asks, in msats."""
        return None if self.cheapest is None else self.prices[self.cheapest]

    @property
    def over_cheapest(self) -> float | None:
        """By what share was paid more than the cheapest asks now; None where that can't be said."""
        least = self.least_msats
        return None if self.paid_msats is None or not least else self.paid_msats / least - 1


@dataclass(frozen=True, slots=True)
class PriceBoard:
    """The board's rows, the model first on which most was spent; `bought`: they are models that were bought."""

    rows: tuple[BoardRow, ...] = ()
    bought: bool = False
    lost: Mapping[str, int] = field(default_factory=dict)  # msats that failed requests cost, by provider

    @property
    def usual(self) -> BoardRow | None:
        """The model that was bought most often, of those that are sold."""
        return max((row for row in self.rows if row.prices), key=lambda row: row.answered, default=None)

    def stars(self, provider: str) -> int:
        """Return for how many models a provider is the cheapest now."""
        return sum(row.cheapest == provider for row in self.rows)


def models_of_interest(groups: Groups | None, providers: Iterable[ProviderView]) -> tuple[str, ...]:
    """Return the models that were bought, most was spent on first; if none was, some that are listed."""
    bought = sorted(((-group.cost_msats, name) for name, group in (groups or {}).items() if group.success))
    if bought:
        return tuple(name for _, name in bought[:MOST_ROWS])
    listed = dict.fromkeys(model for each in providers for model in each.status.models)
    return tuple(listed)[:UNBOUGHT]


def price_board(
    models: Sequence[str],
    groups: Groups | None,
    lost: Mapping[GroupBy, Groups],
    offers: Mapping[str, Sequence[OfferStatus]],
    providers: Sequence[ProviderView],
) -> PriceBoard:
    """Return the board of these models; `groups` are the ledger's sums by model, `lost` those of failed requests."""
    serving = {each.key for each in providers if each.serves}
    lost_by_model = lost.get("model") or {}
    rows = [
        _row(model, (groups or {}).get(model), lost_by_model.get(model), offers.get(model, ()), serving)
        for model in models
    ]
    bought = any(group.success for group in (groups or {}).values())
    lost_by_provider = {name: group.cost_msats for name, group in (lost.get("provider") or {}).items()}
    return PriceBoard(tuple(row for row in rows if row.prices or row.paid_msats), bought, lost_by_provider)


def _row(
    model: str, group: Aggregate | None, lost: Aggregate | None, offers: Sequence[OfferStatus], serving: set[str]
) -> BoardRow:
    lost_msats, size, paid = 0 if lost is None else lost.cost_msats, USUAL_SIZE, None
    if group is not None and group.success:
        size = group.input_tokens / group.success, group.output_tokens / group.success
        paid = (group.cost_msats - lost_msats) / group.success
    prices = {offer.provider: offer.effective_msats(*size) for offer in offers}
    available = [(price, place, name) for place, (name, price) in enumerate(prices.items()) if name in serving]
    return BoardRow(
        model,
        *size,
        prices,
        cheapest=min(available)[2] if available else None,
        paid_msats=paid,
        lost_msats=lost_msats,
        doubted=frozenset(offer.provider for offer in offers if offer.doubted),
        answered=0 if group is None else group.success,
    )

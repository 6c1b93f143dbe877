"""What may be spent of each budget here: all that is left of it, or a slice of what other instances spend from too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from arbstr.types import value_object

if TYPE_CHECKING:
    from arbstr.engine.caps import Cap, Period, Span


@value_object
class SpendQuery:
    """Asks what the requests received from `since_ms` to `until_ms` cost, of `policy` or `client` (None: all).

    It has an upper bound too: where the clock was once ahead, the ledger has rows of days that have not come.
    """

    scope: str
    period: Period
    policy: str | None
    client: str | None
    since_ms: int
    until_ms: int


@value_object
class Held:
    """What is held of a shared budget's period, in msats: unspent by this instance, and by all others."""

    here_msats: int
    elsewhere_msats: int


class Slices(Protocol):
    """What the budgets ask of what decides how much may be spent here; nothing but `recall` and `more` waits."""

    @property
    def unknown(self) -> str:
        """Why nothing is admitted in a period that is not `known`, as the end of a sentence."""
        ...

    def renew(self, caps: Sequence[Cap]) -> None:
        """Take note of the caps in force."""
        ...

    def begin(self, cap: Cap, span: Span, *, follows: bool) -> None:
        """Set what may be spent in a period that a cap enters; `follows`: one whose past spending was known."""
        ...

    def limited(self, cap: Cap) -> None:
        """Apply a cap's other limit to its periods."""
        ...

    def amend(self, cap: Cap, at_ms: int, msats: int) -> None:
        """Count more, or less, for a request of that time whose row has been amended."""
        ...

    async def recall(self, unknown: Iterable[tuple[Cap, Span]]) -> None:
        """Read what is spent in these periods. Raises `LedgerUnavailable`."""
        ...

    async def more(self, full: Sequence[tuple[Cap, Span]], msats: int) -> None:
        """Wait until it is known whether that much more may be spent in periods that may grow."""
        ...

    def held(self, cap: Cap) -> Held | None:
        """Return what is held of a cap's current period; None where it is not shared."""
        ...


class WholeBudgets:
    """Budgets that this instance alone spends from.

    `recall` returns what was spent before, in msats, or raises `LedgerUnavailable`; without it, nothing was.
    """

    unknown = "past spending could not be read from the ledger"

    def __init__(self, recall: Callable[[SpendQuery], Awaitable[int]] | None = None) -> None:
        self._recall = recall

    def renew(self, caps: Sequence[Cap]) -> None:
        """Do nothing: each cap is all there is."""

    def begin(self, cap: Cap, span: Span, *, follows: bool) -> None:
        """Let all of the cap be spent, once it is known what was spent before."""
        span.known = follows or self._recall is None
        span.ceiling = cap.limit

    def limited(self, cap: Cap) -> None:
        """Let all of the cap be spent."""
        for span in cap.spans:
            span.ceiling = cap.limit

    def amend(self, cap: Cap, at_ms: int, msats: int) -> None:
        """Count more, or less, for a request of that time whose row has been amended."""
        cap.amend(at_ms, msats)

    async def recall(self, unknown: Iterable[tuple[Cap, Span]]) -> None:
        """Read what was spent before. Raises `LedgerUnavailable`."""
        assert self._recall is not None  # else everything is known
        for cap, span in unknown:
            query = SpendQuery(cap.scope, cap.period, cap.policy, cap.client, span.starts_ms, span.ends_ms - 1)
            cap.remember(span.starts_ms, await self._recall(query))

    async def more(self, full: Sequence[tuple[Cap, Span]], msats: int) -> None:
        """Return at once: there never is more."""

    def held(self, cap: Cap) -> Held | None:
        """Return None."""
        return None

"""The schema of `[alerts]`: where alerts go, and what is one."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from arbstr.config import validators
from arbstr.config.section import Section
from arbstr.redaction import Secret

Percent = Annotated[int, Field(ge=1, le=100)]


def _webhook(url: Secret) -> Secret:
    """Check a webhook's URL, which may have a query: services put their tokens there, or into the path."""
    validators.provider_url(url.reveal().partition("?")[0])
    return url


class Alerts(Section):
    """`[alerts]`: a webhook that hears what needs someone's attention.

    The URL is a secret too: who knows it can post there. A body is signed with `secret`. An alert about a balance is
    for one that lasts less than `balance_hours` at the rate of the last hour.
    """

    webhook: Annotated[Secret, AfterValidator(_webhook)] | None = None
    secret: Secret | None = None
    budget_percent: tuple[Percent, ...] = Field((75, 90, 100), max_length=20)
    balance_hours: float = Field(12, ge=0, le=8784, allow_inf_nan=False)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be shown."""
        return tuple(one for one in (self.webhook, self.secret) if one is not None)

"""The schema of `[[clients]]`: programs with keys and limits of their own."""

from __future__ import annotations

import hashlib
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from arbstr.clock import to_ms
from arbstr.config import validators
from arbstr.config.section import Section
from arbstr.config.values import Name, PerSecond, Sats, Text
from arbstr.types import CLIENT_SCOPE


def digest_of(key: str) -> str:
    """Return what the file has of a key."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


def _instant(value: Any) -> Any:
    """Read a time in ISO 8601, or one that TOML has without quotes; without an offset it is UTC, a date begins then."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError("is no time in ISO 8601 such as 2027-01-31T00:00:00Z") from None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        raise ValueError("is no time in ISO 8601 such as 2027-01-31T00:00:00Z")  # noqa: TRY004 - pydantic wants this one
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


class ClientSettings(Section):
    """`[[clients]]`: a program with a key of its own, of which the file has only the digest, and its limits."""

    name: Name
    key_sha256: Annotated[str, AfterValidator(validators.key_digest)]
    allowed_models: tuple[Text, ...] = ()
    policy: Text | None = None
    max_sats_per_hour: Sats | None = None
    max_sats_per_day: Sats | None = None
    max_sats_per_month: Sats | None = None
    rate_limit_rps: PerSecond = 0
    expires: Annotated[datetime, BeforeValidator(_instant)] | None = None

    @property
    def scope(self) -> str:
        """The scope of its budgets."""
        return CLIENT_SCOPE + self.name

    @cached_property
    def expires_ms(self) -> int | None:
        """When its key ceases to be good, in epoch milliseconds."""
        return None if self.expires is None else to_ms(self.expires)

"""A part of what is shared: its kind, what has changed of it here, and what others have found."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, Protocol

from arbstr.config.schema import Provider
from arbstr.ledger.postgres.shared_states import Change, Found

MOST = 100  # values of one kind that are shared at once; more follow


class Part(Protocol):
    """A part."""

    @property
    def kind(self) -> str:
        """The kind of its values."""
        ...

    def refresh(self, *, connected: bool) -> None:
        """Note what is to be shared again, as it comes to that every few seconds; `connected`: for the first time."""
        ...

    def take(self) -> list[Change]:
        """Return what has changed here since the last call, some of it if it is much."""
        ...

    def put_back(self, changes: Sequence[Change]) -> None:
        """Have `take` return these again, as they are then: they could not be shared."""
        ...

    def apply(self, found: Sequence[Found]) -> None:
        """Take what other instances have found, as far as it is valid."""
        ...


class Outbox:
    """The keys whose values have changed here, each with when: many changes of one value are one.

    `clock` is monotonic seconds; `wake` is called when there is something to be shared.
    """

    def __init__(self, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._changed_s: dict[str, float] = {}

    def add(self, key: str) -> None:
        """Note that a value has changed now."""
        self._changed_s[key] = self._clock()
        self._wake()

    def take(self) -> dict[str, float]:
        """Return some of the keys, each with how many seconds ago it has changed, and forget them."""
        now_s = self._clock()
        some = list(self._changed_s)[:MOST]
        if len(some) < len(self._changed_s):
            self._wake()
        return {key: now_s - self._changed_s.pop(key) for key in some}

    def put_back(self, changes: Iterable[Change]) -> None:
        """Note again that these have changed when they did."""
        for change in changes:
            self._changed_s.setdefault(change.key, self._clock() - change.age_s)


class Digests:
    """The digests by which instances name providers: by URL and key, keyed, so that they tell nothing of either."""

    def __init__(self) -> None:
        self.key = b""  # the ledger's own; empty until it is known

    def of(self, provider: Provider) -> str:
        """Return a provider's digest: the same wherever URL and key are the same, whatever its name."""
        key = "" if provider.api_key is None else provider.api_key.reveal()
        return self.of_text("\n".join((provider.url, key)))

    def of_text(self, text: str) -> str:
        """Return the digest of a text."""
        return hmac.new(self.key, text.encode("utf-8", "replace"), sha256).hexdigest()[:32]

    def names(self, providers: Iterable[Provider]) -> Mapping[str, tuple[str, ...]]:
        """Return the names of providers by their digests."""
        known: dict[str, tuple[str, ...]] = {}
        for provider in providers:
            digest = self.of(provider)
            known[digest] = (*known.get(digest, ()), provider.name)
        return known

    def by_name(self, providers: Iterable[Provider], changes: Iterable[Change]) -> Iterator[Change]:
        """Yield changes whose keys are digests under the names of these providers."""
        names = self.names(providers)
        return (change._replace(key=name) for change in changes for name in names.get(change.key, ()))


def number(value: Any, most: float) -> float | None:
    """Return a number from 0 to `most`, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        return None
    return float(value)

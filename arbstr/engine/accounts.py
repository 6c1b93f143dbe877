"""The accounts that arbstr has at Routstr nodes, one for each key, and what is under way there."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from arbstr.config.schema import Provider


class Accounts:
    """Which requests are at which account, until their rows are written: then it is known what they say they cost."""

    def __init__(self, providers: Iterable[Provider]) -> None:
        shared: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        for provider in providers:
            if provider.has_account and provider.api_key is not None:
                shared[provider.url, provider.api_key.reveal()].append(provider.name)
        self.providers = {_name(url, key, names): tuple(names) for (url, key), names in shared.items()}
        self._of = {name: account for account, names in self.providers.items() for name in names}
        self._under_way: dict[str, set[str]] = {account: set() for account in self.providers}
        self._at: defaultdict[str, set[str]] = defaultdict(set)  # the accounts of a request
        self._sent = dict.fromkeys(self.providers, 0)
        self.followed: set[str] = set()  # accounts whose balance has been read, so that it tells what is taken

    def take_over(self, before: Accounts) -> None:
        """Go on with what is under way at the accounts of an earlier configuration: both know of it from now on."""
        for account in self.providers:
            before._under_way.setdefault(account, set())
            before._sent.setdefault(account, 0)
        self._under_way, self._at, self._sent, self.followed = (
            before._under_way,
            before._at,
            before._sent,
            before.followed,
        )

    def of(self, provider: str) -> str | None:
        """Return a provider's account, None if it has none."""
        return self._of.get(provider)

    def traffic(self, provider: str) -> tuple[int, int]:
        """Return how many requests are at a provider's account, and how many have ever been sent there."""
        account = self._of.get(provider)
        return (0, 0) if account is None else (len(self._under_way[account]), self._sent[account])

    def begin(self, provider: str, request_id: str) -> bool:
        """Note that a request goes to a provider; return whether a balance will tell what it takes."""
        account = self._of.get(provider)
        if account is None:
            return False
        self._under_way[account].add(request_id)
        self._at[request_id].add(account)
        self._sent[account] += 1
        return account in self.followed

    def leave(self, provider: str, request_id: str) -> None:
        """Note that a provider has taken nothing for a request, which now goes elsewhere."""
        account = self._of.get(provider)
        if account is not None:
            self._under_way[account].discard(request_id)

    def end(self, request_id: str) -> None:
        """Note that a request has ended, and its row is in the ledger or on its way there."""
        for account in self._at.pop(request_id, ()):
            self._under_way[account].discard(request_id)


def _name(url: str, key: str, providers: list[str]) -> str:
    """Return a name for an account that tells nothing of its key."""
    return hashlib.sha256("\n".join((url, key, *providers)).encode()).hexdigest()[:16]

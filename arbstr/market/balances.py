"""What arbstr holds at each Routstr node: read at the start, soon after charges, and now and then without any.

Others read `of`, or get each reading by `on_reading`. Nothing waits for a balance.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

import httpx

from arbstr.config.schema import Provider
from arbstr.engine.node_funds import BeganReading, NodeFunds
from arbstr.market.balance_reading import read_balance, read_version
from arbstr.market.burn import BurnRate
from arbstr.market.fetching import FetchFailed
from arbstr.market.poll_schedule import PollSchedule
from arbstr.redaction import Redactor
from arbstr.sanitize import sanitize_clause
from arbstr.types import Balance, BalanceState

logger = logging.getLogger(__name__)

VERSION_S = 600.0  # a node is asked for its version that often; operators update them
STALE_MS = 600_000  # after which a balance that can't be read is unknown

_PROBLEMS: Mapping[BalanceState, str] = {"bad_key": "it does not know this key", "expired": "the key there has expired"}


class Reading(NamedTuple):
    """A balance that was read; `before` is the one of the last reading.

    `under_way`: requests were at the provider while it was read, so that the figures may be from before or after their
    charges. `heard`: another arbstr has read it, whose requests may have been under way.
    """

    provider: str
    before: Balance
    balance: Balance
    under_way: bool
    heard: bool = False


class Balances:
    """Reads the balance of every provider whose `funds` are to be known, again and again, and tells these.

    `clock` is monotonic seconds, `now_ms` the wall clock, `random` returns numbers from 0 to 1. `traffic` returns how
    many requests are at a provider's account, which others may share, and how many have ever been sent there.
    `on_key` gets with each reading why a provider does not take the key there, None if it does.
    """

    def __init__(
        self,
        providers: Iterable[Provider],
        funds: Mapping[str, NodeFunds],
        transport: httpx.AsyncBaseTransport,
        redactor: Redactor,
        *,
        clock: Callable[[], float],
        now_ms: Callable[[], int],
        random: Callable[[], float],
        traffic: Callable[[str], tuple[int, int]] = lambda provider: (0, 0),
        on_key: Callable[[str, str | None], None] = lambda provider, problem: None,
    ) -> None:
        self._on_key = on_key
        self._traffic = traffic
        self._transport = transport
        self._redactor = redactor
        self._clock = clock
        self._now_ms = now_ms
        self._accounts = {
            provider.name: _Account(provider, funds[provider.name], PollSchedule(provider.refresh, random), clock)
            for provider in providers
            if provider.name in funds
        }
        self._listeners: list[Callable[[Reading], None]] = []

    def take_over(self, before: Balances) -> None:
        """Go on with the accounts that an earlier reader has, those that are configured as they were."""
        for name, account in self._accounts.items():
            known = before._accounts.get(name)
            if known is not None and known.funds is account.funds and known.provider == account.provider:
                known.funds.want_reading = known.want_reading
                self._accounts[name] = known

    def of(self, provider: str) -> Balance | None:
        """Return what is known of a provider's balance; None where it has none that could be read."""
        account = self._accounts.get(provider)
        return None if account is None else account.funds.balance

    def on_reading(self, listener: Callable[[Reading], None]) -> None:
        """Call `listener` with each reading, failed ones excepted; it must be quick."""
        self._listeners.append(listener)

    def hear(self, provider: str, balance: Balance) -> None:
        """Take a balance that another arbstr with the same key has read, if that tells more than is known here.

        It does not while requests from here are at the node, or were since the last reading: only a reading of this
        one's own says what they took.
        """
        account = self._accounts.get(provider)
        if account is None or self._traffic(provider) != (0, account.read_after):
            return
        before = account.funds.balance
        if balance.read_at_ms is None or (before.read_at_ms or 0) >= balance.read_at_ms:
            return
        account.version = balance.node_version or account.version
        heard = self._completed(account, balance)
        account.funds.learn(heard, account.funds.begin_reading())
        self._on_key(provider, _PROBLEMS.get(heard.state))
        age_s = (self._now_ms() - balance.read_at_ms) / 1000
        account.schedule.heard(self._clock(), age_s, quiet=_figures(heard) == _figures(before))
        for listener in self._listeners:
            listener(Reading(provider, before, heard, under_way=True, heard=True))

    def read_soon(self, provider: str) -> None:
        """Read a provider's balance within seconds, because something waits for it."""
        account = self._accounts.get(provider)
        if account is not None:
            account.want_reading(True)

    async def run(self) -> None:
        """Read all balances, again and again."""
        async with asyncio.TaskGroup() as group:
            for account in self._accounts.values():
                group.create_task(self._follow(account))

    async def _follow(self, account: _Account) -> None:
        while True:
            while (wait_s := account.schedule.due_s - self._clock()) > 0:
                account.woken.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await account.woken.wait()
            quiet = await self._read(account)
            account.schedule.polled(self._clock(), quiet=quiet)

    async def _read(self, account: _Account) -> bool:
        """Read one balance; return whether nothing has changed. No fault in it ends the reading."""
        before, began = account.funds.balance, account.funds.begin_reading()
        name = account.provider.name
        at_account, sent = self._traffic(name)
        try:
            read, _ = await asyncio.gather(
                read_balance(self._transport, account.provider, self._now_ms()), self._read_version(account)
            )
        except Exception as error:
            self._failed(account, began, error)
            return True
        balance = self._completed(account, read)
        account.read_after = None if at_account else sent
        under_way = account.funds.learn(balance, began) or at_account > 0 or self._traffic(name)[1] != sent
        problem = _PROBLEMS.get(balance.state)
        self._report(account, problem)
        self._on_key(name, problem)
        for listener in self._listeners:
            listener(Reading(name, before, balance, under_way))
        return not (under_way or balance.reserved_msats or _figures(balance) != _figures(before))

    @staticmethod
    def _completed(account: _Account, read: Balance) -> Balance:
        """Return a balance as read with what else is known of node and key."""
        if read.read_at_ms is not None and read.spent_msats is not None:
            account.burn.add(read.read_at_ms, read.spent_msats)
        return replace(read, node_version=account.version, hourly_msats=account.burn.msats_per_hour)

    async def _read_version(self, account: _Account) -> None:
        """Read the version of the account's node, if that is due. One that can't be read stays as it was."""
        if self._clock() < account.version_due_s:
            return
        with suppress(FetchFailed):
            version = await read_version(self._transport, account.provider)
            account.version = None if version is None else self._redactor.text(version)
            account.version_due_s = self._clock() + VERSION_S

    def _failed(self, account: _Account, began: BeganReading, error: Exception) -> None:
        """Keep what is known, until it is too old to be used."""
        known = account.funds.balance
        self._report(account, sanitize_clause(self._redactor.text(str(error) or type(error).__name__)))
        if known.read_at_ms is None or not 0 <= self._now_ms() - known.read_at_ms <= STALE_MS:
            account.funds.learn(replace(known, state="unknown"), began)

    def _report(self, account: _Account, problem: str | None) -> None:
        """Log a problem once, and its end."""
        if problem and not account.problem:
            logger.warning("provider %s: its balance can't be used: %s", account.provider.name, problem)
        elif account.problem and not problem:
            logger.info("provider %s: its balance has been read", account.provider.name)
        account.problem = problem


class _Account:
    """A key at one node, and when its balance is read next."""

    def __init__(
        self, provider: Provider, funds: NodeFunds, schedule: PollSchedule, clock: Callable[[], float]
    ) -> None:
        self.provider = provider
        self.funds = funds
        self.schedule = schedule
        self.version: str | None = None
        self.version_due_s = 0.0
        self.woken = asyncio.Event()
        self.problem: str | None = None
        self.read_after: int | None = None  # requests sent before the last reading, if it tells what all of them took
        self.burn = BurnRate()
        self._clock = clock
        funds.want_reading = self.want_reading

    def want_reading(self, urgent: bool) -> None:
        """Read within ten seconds, or within a second or two."""
        earlier = self.schedule.urgent if urgent else self.schedule.active
        if earlier(self._clock()):
            self.woken.set()


def _figures(balance: Balance) -> tuple[object, ...]:
    return balance.state, balance.free_msats, balance.reserved_msats, balance.spent_msats

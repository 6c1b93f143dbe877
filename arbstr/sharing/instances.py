"""Which instances there are: each says every few seconds that it lives, and what it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from arbstr.engine.learning.codec import dumps
from arbstr.ledger.postgres.shared_states import Change, Found
from arbstr.monitoring.source import InstanceStatus
from arbstr.sanitize import json_or_none, sanitize
from arbstr.sharing.parts import number

STALE_S = 35.0  # without a sign of life: a few were missed
GONE_S = 600.0  # then it is shown no longer
_MOST = 1_000
_LARGEST = 2.0**53


class _Heard(NamedTuple):
    """What an instance has said of itself, and when that was, by the monotonic clock."""

    said: InstanceStatus
    at_s: float


class SharedInstances:
    """Says that this `instance` lives, and knows the others.

    `describe` returns its present state; `clock` is monotonic seconds, `now_ms` the wall clock.
    """

    kind = "instance"

    def __init__(
        self,
        instance: str,
        describe: Callable[[], InstanceStatus],
        clock: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self._instance = instance
        self._describe = describe
        self._clock = clock
        self._now_ms = now_ms
        self._due: Change | None = None
        self._announced = False
        self._others: dict[str, _Heard] = {}

    def refresh(self, *, connected: bool) -> None:
        """Say that it lives, once it is announced; the others hear at once of one that is new."""
        if not self._announced:
            return
        here = self._describe()
        said = {
            "name": here.name,
            "version": here.version,
            "uptime_s": max(0, self._now_ms() - here.started_at_ms) / 1000,
            "in_flight": here.in_flight,
            "requests": here.requests,
            "spent_msats": here.spent_msats,
        }
        self._due = Change(self.kind, self._instance, dumps(said), GONE_S, quiet=not connected)

    def announce(self) -> None:
        """Say that it lives, from now on: its address is known."""
        self._announced = True
        self.refresh(connected=True)

    def leave(self) -> None:
        """Say that it ends."""
        self._due = Change(self.kind, self._instance, dumps({"ended": True}), STALE_S)

    def take(self) -> list[Change]:
        """Return what is to be said."""
        due, self._due = self._due, None
        return [] if due is None else [due]

    def put_back(self, changes: Sequence[Change]) -> None:
        """Do nothing: it is said again in a few seconds, as it is then."""

    def apply(self, found: Sequence[Found]) -> None:
        """Note what others say of themselves."""
        for one in found:
            heard = self._read(one)
            if heard is None:
                self._others.pop(one.key, None)
            elif len(self._others) < _MOST or one.key in self._others:
                self._others[one.key] = heard

    def _read(self, one: Found) -> _Heard | None:
        said = json_or_none(one.value)
        if not isinstance(said, dict) or said.get("ended") is True:
            return None
        uptime_s, texts = number(said.get("uptime_s"), 1e10), (said.get("name"), said.get("version"))
        figures = [number(said.get(name), _LARGEST) for name in ("in_flight", "requests", "spent_msats")]
        name, version = (sanitize(text, 80) if isinstance(text, str) else "?" for text in texts)
        in_flight, requests, spent_msats = (0 if figure is None else int(figure) for figure in figures)
        at_s = self._clock() - max(0.0, one.age_s)
        heard_at_ms = self._now_ms() - int(max(0.0, one.age_s) * 1000)
        started_at_ms = heard_at_ms - int((uptime_s or 0.0) * 1000)
        state = InstanceStatus(name, version, started_at_ms, in_flight, requests, spent_msats, heard_at_ms=heard_at_ms)
        return _Heard(state, at_s)

    def statuses(self) -> tuple[InstanceStatus, ...]:
        """Return the state of all instances: this one first, then the others by name, without those that are gone."""
        now_s, here = self._clock(), self._describe()
        self._others = {key: one for key, one in self._others.items() if now_s - one.at_s <= GONE_S}
        known = [replace(one.said, stale=now_s - one.at_s > STALE_S) for one in self._others.values()]
        living = {here.name, *(one.name for one in known if not one.stale)}
        shown = [one for one in known if not one.stale or one.name not in living]  # a killed one may have come back
        return (here, *sorted(shown, key=lambda one: one.name))

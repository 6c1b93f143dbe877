"""Leases: slices of budgets that instances share. Each spends from its own, without asking, as long as it holds it.

What all rows count under a budget and what all leases leave unspent are never more than its limit when a lease grows.
Figures of a lease are sums since its period began: `granted` is how much its instance may spend of the period in all,
`written` how much of it is in rows by now. So whatever is asked or answered twice, or not at all, changes nothing.
"""

from __future__ import annotations

from arbstr.types import value_object

KEPT_S = 900.0  # after that long without a word of its instance a lease ends, by the database's clock
HELD_S = 600.0  # and so much earlier for the instance, by a clock of its own: the database's may be set meanwhile
_LEAST = 16  # what nobody spends from holds one part in so many of what is left, divided by the instances
_MOST = 2  # what is spent from fast, at most this


@value_object
class Period:
    """A period of a budget: of a policy or a client, or ('') of everything."""

    policy: str
    client: str
    starts_ms: int
    ends_ms: int

    @property
    def key(self) -> tuple[str, str, int, int]:
        """Its values in their order."""
        return self.policy, self.client, self.starts_ms, self.ends_ms


@value_object
class Ask:
    """What an instance asks for, in msats, as `granted` counts.

    It may have spent up to `limit_msats` when this is answered. `need_msats` are spent, reserved, or waited for, and
    `extra_msats` more are likely to be spent soon. `cap_msats` is the budget's limit here; None ends the lease.
    `returns`: it had ended, and what was written meanwhile was not spent from it.
    """

    period: Period
    limit_msats: int
    need_msats: int
    extra_msats: int
    cap_msats: int | None
    returns: bool = False


@value_object
class State:
    """What the database knows of a period, in msats: what rows count, and who holds how much more than they wrote.

    `written_msats` is what the asking instance has in rows; `instances` and `least_cap_msats` are of all others.
    """

    spent_msats: int
    written_msats: int
    held_elsewhere_msats: int
    instances: int
    least_cap_msats: int | None


@value_object
class Lease:
    """What an instance holds from now on, in msats.

    `spent_elsewhere_msats` is what rows of the period count that are not its own; `spare_msats` is what would be left
    of the budget if nobody spent more than this lease needs. `cap_msats` is the least limit that an instance has for
    it. `is_known`: all rows of the period are counted; until then no lease grows.
    """

    granted_msats: int
    spent_elsewhere_msats: int
    held_elsewhere_msats: int
    spare_msats: int
    instances: int
    cap_msats: int
    is_known: bool


@value_object
class Missing:
    """By how much what all rows of a period count is more than what is noted, after so many `changes`."""

    msats: int
    changes: int


@value_object
class Leases:
    """The answer to some asks, by period, at an instant of the database's clock."""

    now_ms: int
    held: dict[Period, Lease]


def share(extra_msats: int, spare_msats: int, instances: int) -> int:
    """Return how much of what is left a lease has beyond its need: ever less, so that all can be spent in the end."""
    return min(max(extra_msats, spare_msats // (_LEAST * instances)), spare_msats // (_MOST * instances))


def grant(ask: Ask, state: State, *, is_known: bool) -> Lease:
    """Decide what an instance holds from now on: nothing is taken from it, and no more granted than is left."""
    written = min(state.written_msats, ask.limit_msats) if ask.returns else state.written_msats
    caps = [cap for cap in (ask.cap_msats, state.least_cap_msats) if cap is not None]
    cap = min(caps, default=0)
    instances = state.instances + 1
    left = cap - state.spent_msats - state.held_elsewhere_msats
    base = ask.need_msats - written
    spare = max(0, left - base)
    granted = ask.limit_msats
    if is_known and ask.cap_msats is not None:
        granted = max(granted, written + min(base + share(ask.extra_msats, spare, instances), left))
    return Lease(
        granted,
        state.spent_msats - written,
        state.held_elsewhere_msats,
        spare,
        instances,
        cap,
        is_known,
    )

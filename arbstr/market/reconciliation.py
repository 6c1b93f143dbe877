"""What a node took, set against what the ledger's rows say: whose the difference is.

It belongs to requests whose charge is in doubt, if there were any when it showed. What is nobody's after half a minute
is unexplained: another program has used the key, or a row was lost. Pure: readings and books in, a change out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from arbstr.ledger.accounts import Booking, Books, Change, OpenDoubt, Reading
from arbstr.ledger.row_mapping import MOST

UNEXPLAINED_AFTER_S = 30.0
GIVEN_UP_AFTER_S = 60.0  # what rows say was taken, and the node does not
SETTLED_AFTER_MS = 30_000  # what a node that holds no reservation has not taken by then it will not take
ANSWERED_AFTER_MS = 10_000  # nor for a request that it has answered
GIVEN_UP_AFTER_MS = 600_000  # nor one that does hold some: they are another program's, or forgotten
_MOST_TIMES = 10  # what was expected: more was not this request's
_MOST_BEYOND_MSATS = 1000


class Remainder:
    """What an account's node took for no known request, and since when that is so; or what it has not taken.

    Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self._parts: deque[tuple[float, int]] = deque()  # oldest first
        self._missing: tuple[float, int] | None = None  # since when so much at least has not been taken

    @property
    def msats(self) -> int:
        """The whole."""
        return sum(msats for _, msats in self._parts)

    def become(self, msats: int, now_s: float) -> None:
        """Set the whole; what is more is new, what is less was the oldest's."""
        more = msats - self.msats
        if more > 0:
            self._parts.append((now_s, more))
        while more < 0:
            since_s, oldest = self._parts.popleft()
            more += oldest
            if more > 0:
                self._parts.appendleft((since_s, more))

    def lacking(self, msats: int, now_s: float) -> int:
        """Note how much less was taken than rows say; return how much of it will not be taken any more.

        Some nodes may take what they have stated a little later.
        """
        if msats <= 0:
            self._missing = None
            return 0
        since_s, least = self._missing or (now_s, msats)
        self._missing = since_s, min(least, msats)
        if now_s - since_s < GIVEN_UP_AFTER_S:
            return 0
        self._missing = None
        return min(least, msats)

    def overdue(self, now_s: float) -> int:
        """Return how much of it is unexplained by now."""
        return sum(msats for since_s, msats in self._parts if now_s - since_s >= UNEXPLAINED_AFTER_S)


def decide(
    books: Books,
    reading: Reading,
    *,
    reserved_msats: int,
    read_at_ms: int,
    remainder: Remainder,
    now_s: float,
    provider: str,
) -> Change:
    """Return how what was taken by a reading is booked. No request may have been under way while it was made.

    `provider` gets what is unexplained.
    """
    if books.taken_msats is None:
        remainder.become(0, now_s)
        return Change(books.booked_msats, reading)
    taken = _taken(books, books.taken_msats, reading)
    open_msats = taken - books.booked_msats
    missing = remainder.lacking(-open_msats, now_s)
    if open_msats < 0:  # a row came late, or a node states more than it takes
        remainder.become(0, now_s)
        back = min(missing, books.unexplained_msats)
        return Change(taken + missing - back, reading, (), provider, -back)
    before = min(remainder.msats, open_msats)
    bookings = _bookings(books.doubts, open_msats - before, reserved_msats, read_at_ms)
    booked = {(doubt.request_id, doubt.provider): doubt.booked_msats for doubt in books.doubts}
    used = sum(booking.msats - booked[booking.request_id, booking.provider] for booking in bookings)
    remainder.become(open_msats - used, now_s)
    unexplained = remainder.overdue(now_s)
    remainder.become(open_msats - used - unexplained, now_s)
    return Change(taken, reading, bookings, provider, unexplained)


def _taken(books: Books, taken: int, reading: Reading) -> int:
    """Return what was taken by now.

    Nodes sum up what a key has spent, whatever is paid in or back meanwhile. Where that sum is missing, or has begun
    again, the fall of the funds tells, unless they were paid back, or something was paid in.
    """
    before = books.before
    assert before is not None
    spent = reading.spent_msats - before.spent_msats
    if spent > 0 or (spent == 0 and reading.spent_msats):
        return taken + min(spent, MOST)
    fell, stated = before.funds_msats - reading.funds_msats, books.booked_msats - books.before_msats
    return taken + (stated if fell < 0 or not reading.funds_msats else min(fell, MOST))


def _bookings(doubts: Sequence[OpenDoubt], msats: int, reserved_msats: int, read_at_ms: int) -> tuple[Booking, ...]:
    """Return how much of `msats` each doubt gets, and which are settled."""
    old = [doubt for doubt in doubts if doubt.at_ms <= read_at_ms]
    found = []
    for doubt, more in zip(old, _shares(old, msats), strict=True):
        total = doubt.booked_msats + more
        final = _is_final(doubt, total, reserved_msats, read_at_ms - doubt.at_ms)
        if more or final:
            found.append(Booking(doubt.request_id, doubt.provider, total, final))
    return tuple(found)


def _is_final(doubt: OpenDoubt, total_msats: int, reserved_msats: int, age_ms: int) -> bool:
    if reserved_msats:
        return age_ms >= GIVEN_UP_AFTER_MS
    return total_msats > 0 or age_ms >= (ANSWERED_AFTER_MS if doubt.answered else SETTLED_AFTER_MS)


def _shares(doubts: Sequence[OpenDoubt], msats: int) -> list[int]:
    """Divide an amount in proportion to what was expected; none gets more than can be its own."""
    room = [_most(doubt) for doubt in doubts]
    shares = [0] * len(doubts)
    left = min(msats, sum(room))
    while left:
        takers = [place for place in range(len(doubts)) if shares[place] < room[place]]
        weight = sum(max(1, doubts[place].expected_msats) for place in takers)
        for place in takers:
            expected = max(1, doubts[place].expected_msats)
            share = min(left * expected // weight, room[place] - shares[place])
            shares[place] += share
            left, weight = left - share, weight - expected
    return shares


def _most(doubt: OpenDoubt) -> int:
    return max(0, _MOST_TIMES * doubt.expected_msats + _MOST_BEYOND_MSATS - doubt.booked_msats)

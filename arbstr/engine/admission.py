"""Admission control: limits on requests in flight and per second; none is admitted once arbstr is stopping."""

from __future__ import annotations

from collections.abc import Callable

from arbstr.engine.token_bucket import TokenBucket
from arbstr.errors import Overloaded, RateLimited, ShuttingDown

_RETRY_AFTER_S = 1.0


class AdmissionControl:
    """Counts the requests in flight. `clock` is monotonic seconds; a `rate_limit_rps` of 0 means no limit.

    `check` refuses at once when there is no capacity. A slot is acquired only when the whole request has arrived:
    otherwise slow senders would keep all others out.
    """

    def __init__(self, max_in_flight: int, rate_limit_rps: float, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rate: TokenBucket | None = None
        self.limit(max_in_flight, rate_limit_rps)
        self._stopping = False
        self.in_flight = 0
        self.draining = 0

    def limit(self, max_in_flight: int, rate_limit_rps: float) -> None:
        """Set the limits. Who is in flight stays so; a rate that stays the same goes on."""
        self._max_in_flight = max_in_flight
        if rate_limit_rps != (0 if self._rate is None else self._rate.per_second):
            self._rate = TokenBucket(rate_limit_rps, self._clock) if rate_limit_rps else None

    def check(self) -> None:
        """Check capacity and rate before reading the body. Raises `ShuttingDown`, `Overloaded` or `RateLimited`."""
        self._check_capacity()
        if self._rate is not None and (wait_s := self._rate.take()):
            rate = f"{self._rate.per_second:g} requests per second"
            raise RateLimited(f"More than {rate}, the limit set by server.rate_limit_rps.", retry_after_s=wait_s)

    def acquire(self) -> None:
        """Admit a request that has arrived in full; `release` it later. Raises `ShuttingDown` or `Overloaded`."""
        self._check_capacity()
        self.in_flight += 1

    def drain(self) -> bool:
        """Free the slot of a request whose client has left and whose response is read for its row alone.

        Return False, and change nothing, when as many requests are draining as there are slots.
        """
        if self.draining >= self._max_in_flight:
            return False
        self.in_flight -= 1
        self.draining += 1
        return True

    def release(self, *, drained: bool = False) -> None:
        """Release the slot of a request that has ended."""
        if drained:
            self.draining -= 1
        else:
            self.in_flight -= 1

    def close(self) -> None:
        """Admit no more requests."""
        self._stopping = True

    def _check_capacity(self) -> None:
        if self._stopping:
            raise ShuttingDown("arbstr is shutting down and accepts no new requests.", retry_after_s=_RETRY_AFTER_S)
        if self.in_flight >= self._max_in_flight:
            message = f"{self.in_flight} requests are in flight, the limit set by server.max_in_flight."
            raise Overloaded(message, retry_after_s=_RETRY_AFTER_S)

    def __repr__(self) -> str:
        stopping = ", stopping" if self._stopping else ""
        drained = f", {self.draining} draining" if self.draining else ""
        return f"<AdmissionControl {self.in_flight} of {self._max_in_flight} in flight{drained}{stopping}>"

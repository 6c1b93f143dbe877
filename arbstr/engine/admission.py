"""Admission control: limits on requests in flight and per second; none is admitted once arbstr is stopping."""

from __future__ import annotations

from collections.abc import Callable

from arbstr.errors import Overloaded, RateLimited, ShuttingDown

_RETRY_AFTER_S = 1.0


class AdmissionControl:
    """Counts the requests in flight. `clock` is monotonic seconds; a `rate_limit_rps` of 0 means no limit.

    `check` refuses at once when there is no capacity. A slot is acquired only when the whole request has arrived:
    otherwise slow senders would keep all others out.

    The rate is a token bucket that holds one second's worth of tokens (at least one), so that a short burst passes.
    """

    def __init__(self, max_in_flight: int, rate_limit_rps: float, clock: Callable[[], float]) -> None:
        self._max_in_flight = max_in_flight
        self._rate = rate_limit_rps
        self._burst = max(1.0, rate_limit_rps)
        self._clock = clock
        self._tokens = self._burst
        self._filled_at = clock()
        self._stopping = False
        self.in_flight = 0
        self.draining = 0

    def check(self) -> None:
        """Check capacity and rate before reading the body. Raises `ShuttingDown`, `Overloaded` or `RateLimited`."""
        self._check_capacity()
        if self._rate:
            self._spend_token()

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

    def _spend_token(self) -> None:
        now = self._clock()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            wait_s = (1 - self._tokens) / self._rate
            message = f"More than {self._rate:g} requests per second, the limit set by server.rate_limit_rps."
            raise RateLimited(message, retry_after_s=wait_s)
        self._tokens -= 1

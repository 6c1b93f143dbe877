"""Who is let in: not more at a time, nor more a second, than configured, and nobody once arbstr is stopping."""

from __future__ import annotations

from collections.abc import Callable

from arbstr.errors import Overloaded, RateLimited, ShuttingDown

_RETRY_AFTER_S = 1.0


class AdmissionControl:
    """Counts the requests inside. `clock` is monotonic seconds; a `rate_limit_rps` of 0 limits nothing.

    Who knocks is told at once if there is no room. But a place is taken only once the whole request is there: clients
    may take as long as they like to send one, and would keep all others out meanwhile.

    The rate is a token bucket that holds one second's worth (at least one), so that a short burst passes.
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
        """A request begins to come in. Raises `ShuttingDown`, `Overloaded` or `RateLimited` if it may as well not."""
        self._check_capacity()
        if self._rate:
            self._spend_token()

    def acquire(self) -> None:
        """Let a request in that is all there, to `leave` later. Raises `ShuttingDown` or `Overloaded` instead."""
        self._check_capacity()
        self.in_flight += 1

    def drain(self) -> bool:
        """A request's client has left, and its answer is read for the row alone: its place is free for others.

        False if there are as many of those already as there are places.
        """
        if self.draining >= self._max_in_flight:
            return False
        self.in_flight -= 1
        self.draining += 1
        return True

    def release(self, *, drained: bool = False) -> None:
        """A request that had been let in has ended."""
        if drained:
            self.draining -= 1
        else:
            self.in_flight -= 1

    def close(self) -> None:
        """Let nobody in from now on."""
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

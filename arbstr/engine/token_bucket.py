"""A token bucket: how many requests a second, on average and in a burst."""

from __future__ import annotations

from collections.abc import Callable


class TokenBucket:
    """Holds one second's worth of tokens (at least one), so that a short burst passes. `clock` is monotonic seconds."""

    def __init__(self, per_second: float, clock: Callable[[], float]) -> None:
        self.per_second = per_second
        self._most = max(1.0, per_second)
        self._clock = clock
        self._tokens = self._most
        self._filled_at = clock()

    def take(self) -> float:
        """Take a token and return 0; take none and return the seconds until there is one."""
        now = self._clock()
        self._tokens = min(self._most, self._tokens + (now - self._filled_at) * self.per_second)
        self._filled_at = now
        if self._tokens < 1:
            return (1 - self._tokens) / self.per_second
        self._tokens -= 1
        return 0.0

    def __repr__(self) -> str:
        return f"<TokenBucket {self.per_second:g}/s, {self._tokens:.1f} of {self._most:g} left>"

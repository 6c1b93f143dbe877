"""When a provider is retried after a failed attempt, and after which wait."""

from __future__ import annotations

from collections.abc import Callable

from arbstr.config.schema import Retry
from arbstr.errors import AttemptError

LONGEST_RETRY_AFTER_S = 10.0  # if a provider asks for more, the next one is tried
BACKOFF_JITTER = 0.25  # up to this share longer: requests that failed together do not come back together


def retry_wait_s(error: AttemptError, tries: int, settings: Retry, random: Callable[[], float]) -> float | None:
    """Return the seconds to wait before a retry at the same provider; None to try the next one instead.

    `tries` is how many retries there have been; `random` returns numbers from 0 to 1.
    """
    requested_s = error.retry_after_s or 0.0
    if not error.retryable or tries >= settings.max_retries or requested_s > LONGEST_RETRY_AFTER_S:
        return None
    return max(settings.backoff * 2.0**tries * (1 + BACKOFF_JITTER * random()), requested_s)

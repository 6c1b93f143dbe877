"""How fast providers were, by their newest streams."""

from __future__ import annotations

from typing import Any

from arbstr.types import Attempt, RequestRecord
from tui.model.speed import BARS, KEPT, SpeedLog


def stream(first_ms: int, took_ms: int | None, tokens: int | None = 100, **fields: Any) -> RequestRecord:
    given: dict[str, Any] = {
        "success": True,
        "latency_ms": first_ms,
        "provider": "alpha",
        "output_tokens": tokens,
        "stream_duration_ms": took_ms,
    }
    return RequestRecord("r", 1000, "gpt-4o", True, **(given | fields))


def test_a_streams_first_byte_counts_from_its_own_attempt_and_its_speed_from_the_first_byte() -> None:
    log = SpeedLog()
    attempts = (Attempt("beta", 0, 800, "status", 503), Attempt("alpha", 800, 200))
    log.add([stream(1000, 3000, attempts=attempts)])
    speeds = log.of("alpha")
    assert (speeds.first_byte_ms, speeds.per_second) == ((200,), (50.0,))
    assert (speeds.half_ms, speeds.tokens_per_second) == (200, 50.0)
    assert log.of("beta").half_ms is None


def test_failures_whole_answers_and_streams_without_tokens_say_nothing_of_speed() -> None:
    log = SpeedLog()
    log.add([stream(100, None), stream(100, 200, success=False), stream(100, 200, provider=None)])
    assert log.of("alpha").first_byte_ms == ()
    log.add([stream(100, 200, None), stream(100, 100)])
    assert (log.of("alpha").first_byte_ms, log.of("alpha").per_second) == ((100, 100), ())


def test_the_history_is_of_the_newest_oldest_first() -> None:
    log = SpeedLog()
    assert log.of("alpha").history == []
    log.add([stream(10, 1000)])
    assert log.of("alpha").history == [10]
    log.add([stream(first, 1000) for first in range(20, 200, 10)])
    history = log.of("alpha").history
    assert len(history) <= BARS
    assert (history[0], history[-1]) == (10, 180)
    log.add([stream(500, 1000)] * KEPT)
    assert log.of("alpha").history == [500] * BARS
    assert log.of("alpha").most_ms == 500

"""How fast providers were lately: time to the first byte and tokens per second of their newest streams."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from arbstr.types import RequestRecord

KEPT = 64  # streams of a provider
BARS = 8  # groups of them in a history

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Speeds:
    """A provider's newest streams, oldest first: ms to the first byte, and tokens per second after it."""

    first_byte_ms: tuple[int, ...] = ()
    per_second: tuple[float, ...] = ()

    @property
    def half_ms(self) -> float | None:
        """Within which half of the streams began, in ms."""
        return median(self.first_byte_ms) if self.first_byte_ms else None

    @property
    def most_ms(self) -> int | None:
        """Within which 95 of 100 began, in ms; None while they are few."""
        known = sorted(self.first_byte_ms)
        return known[len(known) * 95 // 100] if len(known) >= 20 else None

    @property
    def tokens_per_second(self) -> float | None:
        """The median tokens per second."""
        return median(self.per_second) if self.per_second else None

    @property
    def history(self) -> list[float]:
        """Means of the times to the first byte, oldest first: `BARS` at most."""
        known = self.first_byte_ms
        each = -(-len(known) // BARS)
        ends = range(len(known), 0, -each) if known else ()
        parts = [known[max(end - each, 0) : end] for end in ends]
        return [sum(part) / len(part) for part in reversed(parts)]


class SpeedLog:
    """Remembers every provider's newest streams."""

    def __init__(self) -> None:
        self._first_bytes: dict[str, deque[int]] = {}
        self._speeds: dict[str, deque[float]] = {}

    def add(self, records: Iterable[RequestRecord]) -> None:
        """Add requests that have ended, oldest first; those that were no streams or failed say nothing."""
        for record in records:
            took_ms, provider = record.stream_duration_ms, record.provider
            if took_ms is None or provider is None or not record.success:
                continue
            began_ms = record.attempts[-1].started_ms if record.attempts else 0
            _kept(self._first_bytes, provider).append(max(record.latency_ms - began_ms, 0))
            speed = tokens_per_second(record.output_tokens, record.latency_ms, took_ms)
            if speed is not None:
                _kept(self._speeds, provider).append(speed)

    def of(self, provider: str) -> Speeds:
        """Return a provider's speeds."""
        return Speeds(tuple(self._first_bytes.get(provider, ())), tuple(self._speeds.get(provider, ())))


def tokens_per_second(tokens: int | None, first_byte_ms: int | None, took_ms: int | None) -> float | None:
    """Return the tokens per second after a stream's first byte; None where they can't be known."""
    rest_ms = (took_ms or 0) - (first_byte_ms or 0)
    return tokens * 1000 / rest_ms if tokens and rest_ms > 0 else None


def _kept(known: dict[str, deque[_Number]], provider: str) -> deque[_Number]:
    kept = known.get(provider)
    if kept is None:
        kept = known[provider] = deque(maxlen=KEPT)
    return kept

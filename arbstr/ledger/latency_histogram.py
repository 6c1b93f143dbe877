"""Histograms of latencies as single integers, good to 2 %: percentiles of millions of requests come from them.

Latencies fall into fixed buckets of whole milliseconds. The buckets are built so that each has one value that is
within 2 % of all its members: `value <= 1.02 * smallest` and `value >= 0.98 * largest`. Up to 49 ms every latency has a
bucket of its own. A distribution is one integer that has 32 bits for each bucket's count, so adding distributions is
adding integers: a million additions a second, in C.
"""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, repeat

from arbstr.clock import DAY_MS

ERROR_PERCENT = 2
LONGEST_MS = 7 * DAY_MS  # longer latencies count as this
_BITS = 32  # 4 billion requests to a bucket
_WINDOW = 50_000  # characters that are split at once


def _buckets() -> tuple[list[int], list[int]]:
    """Return each bucket's largest latency and its value, in ms."""
    largest, values = [0], [0]
    while largest[-1] < LONGEST_MS:
        value = (largest[-1] + 1) * (100 + ERROR_PERCENT) // 100
        values.append(value)
        largest.append(value * 100 // (100 - ERROR_PERCENT))
    return largest, values


_LARGEST, _VALUES = _buckets()


def sketch(latency_ms: int) -> int:
    """Return the histogram of one latency in ms."""
    return 1 << _BITS * bisect_left(_LARGEST, min(max(latency_ms, 0), LONGEST_MS))


def sketch_all(latencies_ms: Iterable[int]) -> int:
    """Return the histogram of many latencies in ms, none of them negative."""
    return _distribution(Counter(map(bisect_left, repeat(_LARGEST), map(min, latencies_ms, repeat(LONGEST_MS)))))


def sketch_text(latencies: str) -> int:
    """Return the histogram of latencies in ms, written one after the other with a space between.

    Of millions of them none holds Python's lock for long.
    """
    counts: Counter[str] = Counter()
    at = 0
    while at < len(latencies):
        end = latencies.find(" ", at + _WINDOW)
        end = len(latencies) if end < 0 else end
        counts.update(latencies[at:end].split(" "))
        at = end + 1
    buckets: Counter[int] = Counter()
    for latency, count in counts.items():
        buckets[bisect_left(_LARGEST, min(int(latency), LONGEST_MS))] += count
    return _distribution(buckets)


def _distribution(counts: Mapping[int, int]) -> int:
    """Return the histogram of which each bucket has so many."""
    return sum(count << _BITS * bucket for bucket, count in counts.items())


def pack(distribution: int) -> bytes:
    """Encode a histogram for the database: the first used bucket's number, then the counts from there."""
    if not distribution:
        return b""
    first = ((distribution & -distribution).bit_length() - 1) // _BITS
    counts = distribution >> (_BITS * first)
    return first.to_bytes(2, "little") + counts.to_bytes((counts.bit_length() + 7) // 8, "little")


def unpack(data: bytes) -> int:
    """Decode what `pack` encoded."""
    return int.from_bytes(data[2:], "little") << (_BITS * int.from_bytes(data[:2], "little"))


def percentiles(distribution: int, percents: Sequence[int]) -> list[int]:
    """Return percentiles in ms, each within 2 %; zeros for an empty histogram."""
    if not distribution:
        return [0] * len(percents)
    size = (distribution.bit_length() + _BITS - 1) // _BITS
    counts = struct.unpack(f"<{size}I", distribution.to_bytes(size * _BITS // 8, "little"))
    upto = list(accumulate(counts))
    return [_VALUES[bisect_left(upto, rank(percent, upto[-1]))] for percent in percents]


def exact_percentiles(latencies_ms: Iterable[int], percents: Sequence[int]) -> list[int]:
    """Return exact percentiles of latencies in ms; zeros if there are none."""
    ordered = sorted(latencies_ms)
    if not ordered:
        return [0] * len(percents)
    return [ordered[rank(percent, len(ordered)) - 1] for percent in percents]


def rank(percent: int, total: int) -> int:
    """Return the rank of a percentile among `total` ordered values, from 1."""
    return max(1, -(-percent * total // 100))

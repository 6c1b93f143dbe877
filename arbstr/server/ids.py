"""The ids of requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import getrandbits

_ALIKE = 1024  # ids in a row that begin alike


def _ids() -> Iterator[str]:
    """UUIDs v4 of pseudo-random bits: an id is no secret, and the system's randomness costs a call for each.

    Many in a row begin alike, by chance's word as well. So the ledger's index of them, a sorted tree, takes neighbours
    at its leaves: else each row of a large ledger would have a page of its own written for it.
    """
    while True:
        start = f"{getrandbits(32):08x}-{getrandbits(16):04x}"
        for _ in range(_ALIKE):
            end = f"{getrandbits(62) | 1 << 63:016x}"  # the variant's bits are 10
            yield f"{start}-4{getrandbits(12):03x}-{end[:4]}-{end[4:]}"


new_id: Callable[[], str] = _ids().__next__

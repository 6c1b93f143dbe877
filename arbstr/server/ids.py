"""Request ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import getrandbits

_ALIKE = 1024  # ids in a row that begin alike


def _ids() -> Iterator[str]:
    """Yield version 4 UUIDs of pseudo-random bits: an id is no secret, and the system's randomness costs a call each.

    Many in a row share a random prefix, so that they are neighbours in the ledger's index: otherwise each row of a
    large ledger would write an index page of its own.
    """
    while True:
        start = f"{getrandbits(32):08x}-{getrandbits(16):04x}"
        for _ in range(_ALIKE):
            end = f"{getrandbits(62) | 1 << 63:016x}"  # the variant's bits are 10
            yield f"{start}-4{getrandbits(12):03x}-{end[:4]}-{end[4:]}"


new_id: Callable[[], str] = _ids().__next__

"""Request ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import getrandbits

_ALIKE = 1 << 12  # ids in a row that begin alike


def _ids() -> Iterator[str]:
    """Yield version 4 UUIDs of pseudo-random bits: an id is no secret, and the system's randomness costs a call each.

    Many in a row begin alike and ascend, so that they are neighbours in the ledger's index: otherwise each row of a
    large ledger would write an index page of its own.
    """
    while True:
        begin = f"{getrandbits(32):08x}-{getrandbits(16):04x}-4"
        variant = f"-{getrandbits(14) | 1 << 15:04x}-"  # its bits are 10
        for number in range(_ALIKE):
            yield f"{begin}{number:03x}{variant}{getrandbits(48):012x}"


new_id: Callable[[], str] = _ids().__next__

"""What a Routstr node does by its version, as it states it: `0.4.5+g8bd7d7e`, say."""

from __future__ import annotations

import re

_LAST_OLD = (0, 4, 7)
_NUMBERS = re.compile(r"v?(\d{1,9})\.(\d{1,9})(?:\.(\d{1,9}))?")


def is_newer(version: str | None) -> bool:
    """Return whether a node is newer than 0.4.7; one that does not say is taken for an older one.

    Newer ones reserve by all text of a body and by any cap on its output, charge a client that leaves for what it got,
    and report failures of their own upstream as 424.
    """
    numbers = _NUMBERS.match(version or "")
    return numbers is not None and tuple(int(number or 0) for number in numbers.groups()) > _LAST_OLD

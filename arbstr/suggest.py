"""The name that was probably meant, where one is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches

from arbstr.sanitize import quoted

_LONGEST = 200  # characters compared; nothing known is longer


def did_you_mean(name: str, known: Iterable[str], show: Callable[[str], str] = quoted) -> str:
    """Return `did you mean "x"?` for the known name closest to an unknown one, ignoring case; empty if none is close.

    `show` writes the name otherwise than in quotes.
    """
    by_spelling = {each.casefold(): each for each in known}
    near = get_close_matches(name[:_LONGEST].casefold(), by_spelling, n=1)
    return f"did you mean {show(by_spelling[near[0]])}?" if near else ""

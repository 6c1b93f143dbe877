"""The name that was probably meant, where one is not known."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from heapq import nlargest

from arbstr.sanitize import quoted

_LONGEST = 200  # characters compared; nothing known is longer
_COMPARED = 40  # names, exactly: thousands would take a third of a second


def did_you_mean(name: str, known: Iterable[str], show: Callable[[str], str] = quoted) -> str:
    """Return `did you mean "x"?` for the known name closest to an unknown one, ignoring case; empty if none is close.

    `show` writes the name otherwise than in quotes.
    """
    by_spelling = {each.casefold(): each for each in known}
    wanted = name[:_LONGEST].casefold()
    near = get_close_matches(wanted, _most_alike(wanted, by_spelling), n=1)
    return f"did you mean {show(by_spelling[near[0]])}?" if near else ""


def _most_alike(name: str, known: Iterable[str]) -> list[str]:
    """Return the names that share most pairs of letters with one, given their length."""
    pairs = {name[at : at + 2] for at in range(len(name) - 1)}
    return nlargest(_COMPARED, known, key=lambda each: sum(map(each.__contains__, pairs)) / (len(name) + len(each) + 1))

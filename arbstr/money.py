"""Sums of money, whole millisats, as sats: a number for programs, a text for people."""

from __future__ import annotations

from typing import overload


@overload
def to_sats(msats: int) -> float: ...


@overload
def to_sats(msats: int | None) -> float | None: ...


def to_sats(msats: int | None) -> float | None:
    """Return sats; None is unknown."""
    return None if msats is None else msats / 1000


_ANSWERED_IN_TOKENS = ("chat", "responses", "messages", "completions")


def charged_for_nothing(dialect: str | None, success: bool, output_tokens: int | None, cost_msats: int | None) -> bool:
    """Check whether a request cost something and got no output: by its tokens, or because it failed without any."""
    got_nothing = output_tokens == 0 or (output_tokens is None and not success)
    return got_nothing and bool(cost_msats) and (dialect or "chat") in _ANSWERED_IN_TOKENS


def format_sats(msats: int, separator: str = "") -> str:
    """Return sats exact to the millisat, as `1284.350`; `separator` stands between thousands."""
    sign, whole = ("-", -msats) if msats < 0 else ("", msats)
    return f"{sign}{whole // 1000:{separator}}.{whole % 1000:03}"

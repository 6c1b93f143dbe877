"""Formatting of numbers, times and foreign text: units on every figure, thousands separated."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo

from arbstr.clock import DAY_MS
from arbstr.money import format_sats
from arbstr.sanitize import MARK, sanitize

NOTHING = "–"

# Characters that take no cell or join others (flags and skin tones do): terminals disagree on how wide they are, so
# none may move a column.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u2060-\u206f\u3164\ufe00-\ufe0f\uffa0"
    "\U0001f1e6-\U0001f1ff\U0001f3fb-\U0001f3ff\U000e0000-\U000e0fff]"
)
_COMBINING = re.compile("[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{2,}")


def shown(text: str, most: int = 200) -> str:
    """Foreign text as the dashboard shows it: one line of at most `most`, nothing that acts on a terminal or hides."""
    if text.isascii() and text.isprintable() and len(text) <= most:
        return text
    return _COMBINING.sub(MARK, _INVISIBLE.sub(MARK, sanitize(text, most)))


def sats(msats: int | None) -> str:
    """Sats to the millisat: `1,284.350`."""
    return NOTHING if msats is None else format_sats(msats, ",")


def sats_round(msats: float | None) -> str:
    """Sats of a figure that stands alone, with as many decimals as it needs: `21,004`, `812.4`, `1.120`, `0`."""
    return sats_alike([msats])[0]


def sats_alike(amounts: Sequence[float | None]) -> list[str]:
    """Sats of a column, in msats, with as many decimals as the largest needs; what would come out as nothing is `<`."""
    largest = max((abs(msats) for msats in amounts if msats is not None), default=0)
    decimals = next((places for places, below in ((3, 100_000), (1, 1_000_000)) if 0 < largest < below), 0)
    return [NOTHING if msats is None else _with(msats / 1000, decimals) for msats in amounts]


def rates_alike(rates: Sequence[float | None]) -> list[str]:
    """Rates of a column, in sats per 1000 tokens, with the decimals that one of them was given: `10.00`, `0.15`."""
    decimals = max((_decimals_of(each) for each in rates if each is not None), default=0)
    return [NOTHING if each is None else _with(each, decimals) if each < 1e9 else f"{each:.3g}" for each in rates]


def _decimals_of(rate: float) -> int:
    """Return how many decimals a rate has, of three at most."""
    return 3 if 0 < rate < 0.001 else len(f"{rate:.3f}".rstrip("0").partition(".")[2])


def _with(value: float, decimals: int) -> str:
    least = 10.0**-decimals
    if 0 < abs(value) < least:
        return f"{'<' if value > 0 else '>-'}{least:.{decimals}f}"
    return f"{value:,.{decimals}f}"


def count(number: int | None) -> str:
    """A whole number: `1,204`."""
    return NOTHING if number is None else f"{number:,}"


def short_count(number: int) -> str:
    """A number in at most six cells: `940`, `12.4 k`, `1.20 M`."""
    if number < 1000:
        return str(number)
    for unit in "kMGT":
        number_of = number / 1000
        if number_of < 999.5 or unit == "T":
            digits = 2 if number_of < 9.995 else 1 if number_of < 99.95 else 0
            return f"{number_of:.{digits}f} {unit}"
        number = round(number_of)
    return NOTHING


def percent(part: float | None, decimals: int = 1) -> str:
    """A share of one: `99.3 %`; 100 only if nothing is missing, 0 only if nothing is there: `<1 %`."""
    if part is None:
        return NOTHING
    step = 10**-decimals
    value = part * 100
    if 0 < value < step:
        return f"<{step:.{decimals}f} %"
    if part < 1:
        value = min(value, 100 - step)
    return "100 %" if value == 100 else f"{value:,.{decimals}f} %"


def percent_more(part: float | None) -> str:
    """By what share something is more: `+2.8 %`, `−4.0 %`, `0 %`."""
    if part is None:
        return NOTHING
    if abs(part) < 0.0005:
        return "0 %"
    return f"{part * 100:+,.1f} %" if abs(part) < 9.995 else f"{part * 100:+,.0f} %"


_BARS = "▁▂▃▄▅▆▇█"


def spark(values: Sequence[float], least: float = 0.0) -> str:
    """Values as bars of eighths, scaled to the largest, or to `least` if that is more: `▂▁▂▃▅`. Nothing has no bar."""
    largest = max(values, default=0.0)
    if largest <= 0:
        return " " * len(values)
    largest = max(largest, least)
    return "".join(_BARS[min(int(value / largest * 8), 7)] if value > 0 else " " for value in values)


def duration(ms: float | None) -> str:
    """A time span: `310 ms`, `1.9 s`, `48 s`, `2 m 03 s`, `2 h 14 m`, `3 d 04 h`."""
    if ms is None:
        return NOTHING
    if ms < 999.5:
        return f"{max(ms, 0):.0f} ms"
    seconds = ms / 1000
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02} s"
    minutes = whole // 60
    if minutes < 1440:
        return f"{minutes // 60} h {minutes % 60:02} m"
    return f"{minutes // 1440} d {minutes % 1440 // 60:02} h"


def short_durations(first: float | None, second: float | None) -> tuple[str, str]:
    """Two time spans side by side, in nine cells together: `310`, `900 ms`; `310ms`, `1.9s`; `12`, `48 s`."""
    (number, unit), (other, other_unit) = _short(first), _short(second)
    if unit == other_unit:
        return number, f"{other} {unit}".rstrip()
    return number + unit, other + other_unit


def _short(ms: float | None) -> tuple[str, str]:
    """Return a time span as a number of at most three characters and its unit, in five cells together."""
    if ms is None:
        return NOTHING, ""
    if ms < 999.5:
        return f"{max(ms, 0):.0f}", "ms"
    if ms < 9_950:
        return f"{ms / 1000:.1f}", "s"
    for unit, length, below in (("s", 1000, 99.5), ("m", 60_000, 99.5), ("h", 3_600_000, 99.5), ("d", DAY_MS, 99.5)):
        if ms / length < below:
            return f"{ms / length:.0f}", unit
    return ">99", "d"


def countdown(ms: float) -> str:
    """How long something still takes, rounded up: `12 s`, `2 m 03 s`."""
    seconds = -(-int(ms) // 1000)
    return f"{seconds} s" if seconds < 60 else duration(seconds * 1000)


def age(ms: float) -> str:
    """How long ago something was, in whole units: `12 s`, `4 m`, `2 h`, `3 d`."""
    seconds = max(int(ms / 1000), 0)
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def uptime(ms: float) -> str:
    """A long time span, to the minute, so that it changes once a minute: `<1 m`, `14 m`, `2 h 14 m`."""
    minutes = int(ms // 60_000)
    if minutes < 1:
        return "<1 m"
    return f"{minutes} m" if minutes < 60 else duration(minutes * 60_000)


def per_second(rate_: float) -> str:
    """A frequency: `2.1 /s`, `300 /s`."""
    return f"{rate_:.1f} /s" if rate_ < 99.95 else f"{rate_:,.0f} /s"


def tokens(into: int | None, out: int | None) -> str:
    """Tokens in and out: `1,204 → 311`."""
    return f"{count(into)} → {count(out)}"


def moment(at_ms: int, zone: tzinfo | None) -> datetime:
    """An instant in a time zone; None is the machine's own."""
    instant = datetime.fromtimestamp(at_ms / 1000, UTC)
    return instant.astimezone(zone)


def zone_name(at_ms: int, zone: tzinfo | None) -> str:
    """The name of a time zone at that time, in summer another: `UTC`, `CET`."""
    return moment(at_ms, zone).tzname() or "local"


def clock(at_ms: int, zone: tzinfo | None) -> str:
    """The time of day: `14:02:11`."""
    return moment(at_ms, zone).strftime("%H:%M:%S")


def day_or_time(at_ms: int, now_ms: int, zone: tzinfo | None) -> str:
    """The time of day, and the day unless it is today: `16:31`, `01 Dec 16:31`."""
    at = moment(at_ms, zone)
    today = abs(at_ms - now_ms) < DAY_MS and at.day == moment(now_ms, zone).day
    return f"{at:%H:%M}" if today else f"{at:%d %b %H:%M}"


def stamp(at_ms: int, zone: tzinfo | None) -> str:
    """Date and time of day: `2025-03-01 14:02:11`."""
    return moment(at_ms, zone).strftime("%Y-%m-%d %H:%M:%S")


def exact_stamp(at_ms: int, zone: tzinfo | None) -> str:
    """Date, time to the millisecond and offset: `2025-03-01 14:02:11.042 +01:00`."""
    when = moment(at_ms, zone)
    offset = when.strftime("%z")
    return f"{when:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03} {offset[:3]}:{offset[3:5]}"

"""Parses query parameters, from a URL or a command line, into filters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeVar, cast, get_args

from arbstr.clock import DAY_MS, HOUR_MS, to_ms
from arbstr.ledger.model import Filter, GroupBy, Order, Sort
from arbstr.sanitize import quoted
from arbstr.suggest import did_you_mean

T = TypeVar("T")

RANGES = {"last_1h": HOUR_MS, "last_24h": DAY_MS, "last_7d": 7 * DAY_MS, "last_30d": 30 * DAY_MS}
DEFAULT_RANGE = "last_7d"
DEFAULT_PER_PAGE = 20
MOST_PER_PAGE = 100
MOST_BUCKETS = 10_000  # of a series; a year of hours has 8,760

TIME = ("range", "since", "until")
NAMES = ("model", "provider", "policy", "client", "session", "dialect")
STATS = (*TIME, *NAMES, "group_by")
LISTING = (*TIME, *NAMES, "success", "streaming", "page", "per_page", "sort", "order")

# A plus sign in a URL means a space unless it is escaped, and it is hardly ever escaped.
_LOST_PLUS = re.compile(r"(?<=\d) (?=\d\d:?\d\d$)")
_LARGE = 10**15  # more pages or rows than anything has


class BadParameter(Exception):
    """A parameter can't be read; `problem` is the rest of a sentence that begins with its name."""

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(f"{name} {problem}")
        self.name = name
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Listing:
    """A parsed list query: filter, order and page."""

    where: Filter
    sort: Sort
    order: Order
    page: int
    per_page: int


def refuse_unknown(names: Sequence[str], known: Sequence[str]) -> None:
    """Check names. Raises BadParameter for one that is unknown or repeated."""
    for name in names:
        if name not in known:
            listed = f"is not a parameter here; there are {', '.join(known) or 'none'}"
            raise BadParameter(name[:60], with_hint(listed, name, known))
        if names.count(name) > 1:
            raise BadParameter(name, "is given more than once.")


def read_listing(params: Mapping[str, str], now_ms: int) -> Listing:
    """Parse the parameters of a list of rows. Raises BadParameter."""
    return Listing(
        read_filter(params, now_ms),
        sort=one_of("sort", params.get("sort", "timestamp"), cast("tuple[Sort, ...]", get_args(Sort))),
        order=one_of("order", params.get("order", "desc"), cast("tuple[Order, ...]", get_args(Order))),
        page=whole("page", params.get("page", "1")),
        per_page=min(whole("per_page", params.get("per_page", str(DEFAULT_PER_PAGE))), MOST_PER_PAGE),
    )


def read_group_by(params: Mapping[str, str], where: Filter) -> GroupBy | None:
    """Parse `group_by`, None without one. Raises BadParameter, also for a series that is too long to be useful."""
    text = params.get("group_by")
    if text is None:
        return None
    group_by = one_of("group_by", text, cast("tuple[GroupBy, ...]", get_args(GroupBy)))
    width = {"hour": HOUR_MS, "day": DAY_MS}.get(group_by)
    if width and where.since_ms is not None and where.until_ms is not None:
        buckets = (where.until_ms - where.since_ms) // width
        if buckets > MOST_BUCKETS:
            problem = f"= {group_by} makes {buckets:,} groups in that time, and {MOST_BUCKETS:,} are the most."
            raise BadParameter("group_by", problem)
    return group_by


def read_filter(params: Mapping[str, str], now_ms: int) -> Filter:
    """Parse a filter; without a time, it has the last seven days. Raises BadParameter."""
    since_ms, until_ms = read_window(params, now_ms)
    return Filter(
        since_ms=since_ms,
        until_ms=until_ms,
        open_end="until" not in params,
        model=_name(params, "model"),
        provider=_name(params, "provider"),
        policy=_name(params, "policy"),
        client=_name(params, "client"),
        session=_name(params, "session"),
        dialect=_name(params, "dialect"),
        success=_truth(params, "success"),
        streaming=_truth(params, "streaming"),
    )


def read_window(params: Mapping[str, str], now_ms: int) -> tuple[int, int]:
    """Parse the time window, both inclusive. `since` and `until` win over `range`; its length gives a missing one."""
    length_ms = RANGES[one_of("range", params.get("range", DEFAULT_RANGE), tuple(RANGES))]
    until_ms = instant("until", params["until"]) if "until" in params else now_ms
    since_ms = instant("since", params["since"]) if "since" in params else until_ms - length_ms
    if since_ms > until_ms:
        end = "until" if "until" in params else "now"
        raise BadParameter("since", f"is after {end}.")
    return since_ms, until_ms


def instant(name: str, text: str) -> int:
    """Parse ISO 8601 with offset or Z into epoch milliseconds; fractions of these are cut off, as in rows."""
    try:
        moment = datetime.fromisoformat(_LOST_PLUS.sub("+", text.strip()).upper())
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        problem = f"must be a time in ISO 8601 with an offset or Z, like 2026-01-31T09:30:00Z, not {shown(text)}."
        raise BadParameter(name, problem)
    at_ms = to_ms(moment)
    if not _FIRST_MS <= at_ms <= _LAST_MS:
        raise BadParameter(name, f"must lie in the years 1 to 9999, UTC, not {shown(text)}.")
    return at_ms


_FIRST_MS = to_ms(datetime(1, 2, 1, tzinfo=UTC))  # room for a range before it
_LAST_MS = to_ms(datetime(9999, 12, 31, tzinfo=UTC))


def one_of(name: str, text: str, choices: tuple[T, ...]) -> T:
    """Return the choice that the text names, ignoring case. Raises BadParameter."""
    for choice in choices:
        if text.strip().lower() == choice:
            return choice
    listed = [str(choice) for choice in choices]
    raise BadParameter(name, with_hint(f"must be one of {', '.join(listed)}, not {shown(text)}", text.strip(), listed))


def whole(name: str, text: str) -> int:
    """Parse a whole number from 1. Raises BadParameter."""
    digits = text.strip()
    if digits.isascii() and digits.isdigit():
        number = int(digits[:4000]) if len(digits.lstrip("0")) <= 15 else _LARGE
        if number:
            return number
    raise BadParameter(name, f"must be a whole number from 1, not {shown(text)}.")


def shown(text: str) -> str:
    """Return untrusted text fit to be repeated in a sentence of the API."""
    return quoted(text, mark="'")


def with_hint(message: str, name: str, known: Iterable[str]) -> str:
    """Return a sentence about an unknown name that ends in the name that was probably meant, if there is one."""
    meant = did_you_mean(name, known, shown)
    return f"{message}; {meant}" if meant else f"{message}."


def _truth(params: Mapping[str, str], name: Literal["success", "streaming"]) -> bool | None:
    return None if name not in params else one_of(name, params[name], ("true", "false")) == "true"


def _name(params: Mapping[str, str], name: str) -> str | None:
    text = params.get(name)
    # Half a surrogate pair can't be in a database, nor asked of one.
    return None if text is None else text.encode("utf-8", "replace").decode()

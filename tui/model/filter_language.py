"""The filter language: `model:gpt -provider:alpha status:502 policy:- kind:stream >5sats <2s "as it reads" word`.

All terms must hold, but of a field that is named more than once any one will do. Names are found by parts of them, or
in quotes as they are: `model:"gpt-4o"` is no gpt-4o-mini. What means nothing is a problem and never passed over in
silence: it is named, with what can be typed in its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, InvalidOperation
from types import MappingProxyType

from arbstr.clock import HOUR_MS, MINUTE_MS
from arbstr.suggest import did_you_mean
from arbstr.types import NO_GROUP
from tui.model.filter_query import EVERYTHING, NAMES, NONE, WHOLE, Choice, Query, Span
from tui.model.filter_times import period_of

TIMES = ("since", "until")
FIELDS = (*NAMES, "status", "kind", "session", *TIMES)
EXAMPLE = "e.g. model:gpt provider:alpha status:error >5sats <2s timeout"
VALUES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"status": ("ok", "error", "left"), "kind": ("stream", "json")},
)
_CAN_BE = {
    "status": "status is ok, error, left, or a number like 502",
    "kind": "kind is stream or json",
    "since": "since and until take a day, an hour or a minute in UTC: 2025-03-14, 2025-03-14T13, 2025-03-14T13:05",
}
_CAN_BE["session"] = "session takes the first of the 16 digits that Money and a request in full show, or - for none"
_SESSION = re.compile("[0-9a-f]{1,16}|-")
_CAN_BE["until"] = _CAN_BE["since"]
_SYNONYMS = {"success": "ok", "succeeded": "ok", "failed": "error", "failure": "error", "streaming": "stream"}
_SATS = {"": 1000, "sat": 1000, "sats": 1000, "msat": 1, "msats": 1}
_TIMES = {"ms": 1, "s": 1000, "sec": 1000, "m": MINUTE_MS, "min": MINUTE_MS, "h": HOUR_MS}
_UNITS = "|".join(sorted((unit for unit in (*_SATS, *_TIMES) if unit), key=len, reverse=True))
_MOST = 2**62  # what a ledger's number can be compared with
_COMPARED = "a comparison looks like >5sats, <=0.5sats, >2s or <200ms"
_TERM = re.compile(
    rf"""\s*(?P<term>(?P<minus>-?)(?:
        (?P<sign>[<>]=?)\s*(?P<number>[\d.,]*)(?:\s*(?P<unit>{_UNITS})(?!\S))?(?P<rest>\S*)
        |(?P<field>[a-z_][\w-]*):(?!//)(?:"(?P<exact>[^"]*)"?|(?P<value>\S*))
        |"(?P<quoted>[^"]*)"?
        |(?P<word>\S*)
    ))""",
    re.VERBOSE | re.IGNORECASE,
)
_OR = "of a field named twice any one will do: model:a model:b"
_NOT = "a minus leaves out: -model:gpt, -timeout"
_OPERATORS = {"AND": "all terms must hold anyway", "OR": _OR, "NOT": _NOT}
_ODD = (
    (re.compile(r"[!~^]"), _NOT),
    (re.compile(r".*\|"), _OR),
    (re.compile(r".*\*"), "parts are found without stars"),
    (re.compile(r"\w+[<>]|="), _COMPARED),
)


def parse(typed: str) -> Query:
    """Read a filter. It never fails: what means nothing is named in `problems` and left out."""
    reading = _Reading()
    for match in _TERM.finditer(typed):
        if match["term"]:
            reading.take(match, last=not typed[match.end() :].strip())
    return reading.query()


@dataclass
class _Reading:
    """A filter that is being read, term by term."""

    fields: dict[str, Choice] = field(default_factory=dict)
    cost: Span = EVERYTHING
    took: Span = EVERYTHING
    received: Span = EVERYTHING
    texts: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hint: str = ""

    def query(self) -> Query:
        problems = tuple(dict.fromkeys(self.problems))
        return Query(
            self.fields,
            self.cost,
            self.took,
            tuple(self.texts),
            tuple(self.without),
            problems,
            self.hint,
            received=self.received,
        )

    def take(self, match: re.Match[str], *, last: bool) -> None:
        """Take in a term."""
        unwanted = bool(match["minus"])
        if match["sign"]:
            self._compare(match, unwanted=unwanted, last=last)
        elif match["field"] is not None:
            value = match["value"] if match["exact"] is None else match["exact"]
            self._field(match["field"].lower(), value.lower(), unwanted=unwanted, quoted=match["exact"] is not None)
        elif match["quoted"] is not None:
            self._text(match["quoted"], unwanted=unwanted)
        else:
            self._word(match["word"], unwanted=unwanted)

    def _field(self, name: str, value: str, *, unwanted: bool, quoted: bool) -> None:
        if name not in FIELDS:
            self.problems.append(_unknown(name))
        elif not value:
            self.hint = _CAN_BE.get(name, f"{name}: a part of a name follows, or - for none")
        elif name == "session":
            self._session(value, unwanted=unwanted)
        elif name in TIMES:
            self._time(name, value, unwanted=unwanted)
        elif not quoted and (odd := _OR if "," in value else _odd(value)):
            self.problems.append(f"{name}:{value}: {odd}")
        elif quoted and name in NAMES:
            self.fields[name] = self.fields.get(name, Choice()).and_also(WHOLE + value, unwanted=unwanted)
        elif (meant := _value(name, value)) is None:
            self.problems.append(_CAN_BE[name])
        else:
            self.fields[name] = self.fields.get(name, Choice()).and_also(meant, unwanted=unwanted)

    def _session(self, value: str, *, unwanted: bool) -> None:
        if not _SESSION.fullmatch(value):
            self.problems.append(_CAN_BE["session"])
        else:
            self.fields["session"] = self.fields.get("session", Choice()).and_also(value, unwanted=unwanted)

    def _time(self, name: str, value: str, *, unwanted: bool) -> None:
        period = period_of(value)
        if unwanted:
            self.problems.append(f"-{name}: leave the minus out: since is from a time on, until is up to one")
        elif period is None:
            self.problems.append(_CAN_BE[name])
        else:
            since_ms, end_ms = period
            self.received = self.received.narrowed(Span(since_ms) if name == "since" else Span(most=end_ms - 1))

    def _compare(self, match: re.Match[str], *, unwanted: bool, last: bool) -> None:
        number, unit = _number(match["number"]), (match["unit"] or "").lower()
        if not match["number"] and not match["rest"] and last:
            self.hint = _COMPARED
        elif number is None or match["rest"]:
            self.problems.append(f"{match['term']}: {_COMPARED}")
        elif unwanted:
            self.problems.append(f"{match['term']}: turn the sign around instead")
        elif unit in _SATS:
            self.cost = self.cost.narrowed(_span(match["sign"], number * _SATS[unit]))
        else:
            self.took = self.took.narrowed(_span(match["sign"], number * _TIMES[unit]))

    def _word(self, word: str, *, unwanted: bool) -> None:
        if not word:
            self.hint = _NOT
        elif odd := _OPERATORS.get(word) or _odd(word):
            self.problems.append(f'{word}: {odd}; in quotes it is text: "{word}"')
        else:
            self._text(word, unwanted=unwanted)

    def _text(self, text: str, *, unwanted: bool) -> None:
        if text.strip():
            (self.without if unwanted else self.texts).append(text.lower())


def _unknown(name: str) -> str:
    fields = " ".join(f"{each}:" for each in FIELDS)
    meant = did_you_mean(name, FIELDS, "{}:".format)
    return f'{name}: is no field: {meant and meant + " "}there are {fields}; in quotes it is text: "{name}:"'


def _odd(word: str) -> str:
    return next((says for pattern, says in _ODD if pattern.match(word)), "")


def _value(name: str, value: str) -> str | None:
    """What the value of a field means; None for what a field of few values can't be."""
    if name not in VALUES:
        return NONE if value in ("none", "(none)") else value
    if name == "status" and (digits := value.rstrip("x")).isascii() and digits.isdigit():
        return digits if len(digits) <= 3 and digits[0] in "12345" else None
    words = [*VALUES[name], *(word for word, meant in _SYNONYMS.items() if meant in VALUES[name])]
    found = next((word for word in words if word.startswith(value)), None)
    return None if found is None else _SYNONYMS.get(found, found)


def _number(typed: str) -> Decimal | None:
    try:
        number = Decimal(typed.replace(",", ""))
    except InvalidOperation:
        return None
    return min(number, Decimal(_MOST))


def _span(sign: str, bound: Decimal) -> Span:
    """The whole numbers on that side of a bound."""
    up, down = (min(int(bound.to_integral_value(way)), _MOST) for way in (ROUND_CEILING, ROUND_FLOOR))
    match sign:
        case ">":
            return Span(least=down + 1)
        case ">=":
            return Span(least=up)
        case "<":
            return Span(most=up - 1)
        case _:
            return Span(most=down)


def judged(typed: str) -> tuple[str, ...]:
    """What of a filter means nothing or has only begun, and what can be typed instead; empty if all of it holds."""
    query = parse(typed)
    said = (*query.problems, *filter(None, [query.hint]))
    return ("not in force: " + said[0], *said[1:]) if said else ()


def term(field_name: str, name: str) -> str:
    """Return the term of a filter that finds just this name; the ledger's word for none is `-`.

    Of a name with a quotation mark it finds those that share its beginning.
    """
    if name == NO_GROUP:
        return f"{field_name}:-"
    before, quote, _ = name.partition('"')
    return f"{field_name}:{before.split(' ')[0] or NONE}" if quote else f'{field_name}:"{name}"'


def name_matches(typed: str, name: str) -> bool:
    """Check whether every typed word occurs in a name."""
    return all(word in name.lower() for word in typed.lower().split())

"""A parsed filter: matches rows of the feed, and converts to the equivalent query to the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from arbstr.ledger.model import SUCCEEDED, Filter
from arbstr.types import CLIENT_CLOSED
from tui.model.request_row import RequestRow

NAMES: tuple[Literal["model", "provider", "policy", "client", "dialect"], ...] = (
    "model",
    "provider",
    "policy",
    "client",
    "dialect",
)
NONE = "-"  # the value of an absent name
WHOLE = "="  # before a value that is a whole name, not a part of one: it was quoted
_CODES = range(100, 600)


@dataclass(frozen=True, slots=True)
class Choice:
    """The values allowed for a field: any of `wanted` (all if empty) and none of `unwanted`."""

    wanted: tuple[str, ...] = ()
    unwanted: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.wanted or self.unwanted)

    def and_also(self, value: str, *, unwanted: bool) -> Choice:
        """Return it with one more value."""
        return (
            Choice(self.wanted, (*self.unwanted, value)) if unwanted else Choice((*self.wanted, value), self.unwanted)
        )

    def allows(self, name: str | None) -> bool:
        """Check whether a name passes: the values are parts of it, or it all if quoted. None is no name."""
        return (not self.wanted or _part_of(self.wanted, name)) and not _part_of(self.unwanted, name)


def _part_of(values: Iterable[str], name: str | None) -> bool:
    if name is None:
        return NONE in values
    lower = name.lower()
    return any(lower == value[1:] if value[:1] == WHOLE else value in lower for value in values if value != NONE)


def _begin_of(beginnings: Iterable[str | None], session: str | None) -> bool:
    return any(session is None if each is None else (session or "").startswith(each) for each in beginnings)


@dataclass(frozen=True, slots=True)
class Span:
    """From `least` to `most`, both inclusive; None is open."""

    least: int | None = None
    most: int | None = None

    def __bool__(self) -> bool:
        return self.least is not None or self.most is not None

    def narrowed(self, other: Span) -> Span:
        """Return the intersection."""
        leasts = [each.least for each in (self, other) if each.least is not None]
        mosts = [each.most for each in (self, other) if each.most is not None]
        return Span(max(leasts, default=None), min(mosts, default=None))

    def holds(self, figure: int | None) -> bool:
        """Check whether a figure lies in it; an unknown one does only if the span is unbounded."""
        if figure is None:
            return not self
        return (self.least is None or figure >= self.least) and (self.most is None or figure <= self.most)


EVERYTHING = Span()


@dataclass(frozen=True, slots=True)
class Query:
    """What is wanted, in lower case, costs in msats, spans in ms, instants in epoch ms; all of it must hold.

    `fields` has those of `NAMES`, `session` (how its id begins), `status` (ok, error, left, or a status's first digits)
    and `kind` (stream, json). `problems` says what of a filter meant nothing, `hint` what is missing from a term that
    has only begun: nothing of these is in the rest.
    """

    fields: Mapping[str, Choice] = field(default_factory=dict)
    cost: Span = EVERYTHING
    took: Span = EVERYTHING
    texts: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    hint: str = ""
    received: Span = EVERYTHING

    def __bool__(self) -> bool:
        return bool(self.fields or self.cost or self.took or self.texts or self.without or self.received)

    @property
    def complete(self) -> bool:
        """Whether all typed terms are valid."""
        return not self.problems and not self.hint

    def of(self, name: str) -> Choice:
        """Return the values allowed for a field."""
        return self.fields.get(name, Choice())

    # ── rows of the feed ────────────────────────────────────────────────────────────────────────────────────────────

    def matches(self, row: RequestRow) -> bool:
        """Check whether a row passes.

        A running request has no status, cost or length yet, and so never passes when one is asked for.
        """
        return (
            self._fits(row)
            and self.cost.holds(row.cost_msats)
            and self.took.holds(row.elapsed_ms)
            and self.received.holds(row.at_ms)
            and (not (self.texts or self.without) or self._reads(row))
        )

    def _fits(self, row: RequestRow) -> bool:
        if not self.fields:
            return True
        names = (row.model, row.path[-1] if row.path else None, row.policy, row.client, row.dialect)
        return (
            all(self.of(name).allows(value) for name, value in zip(NAMES, names, strict=True))
            and row.streaming in self._streaming()
            and (not self.of("session") or (not row.running and self._in_session(row.session)))
            and (not self.of("status") or (not row.running and self._ended(row)))
        )

    def _in_session(self, session: str | None) -> bool:
        wanted, unwanted = (_begin_of(values, session) for values in self._sessions())
        return (wanted or not self.of("session").wanted) and not unwanted

    def _sessions(self) -> tuple[tuple[str | None, ...], tuple[str | None, ...]]:
        """Return the beginnings of sessions that are wanted, and of those that are not; None is none."""
        choice = self.of("session")
        wanted, unwanted = (
            tuple(None if value == NONE else value for value in values) for values in (choice.wanted, choice.unwanted)
        )
        return wanted, unwanted

    def _ended(self, row: RequestRow) -> bool:
        status = self.of("status")
        code = SUCCEEDED if row.state == "ok" else row.error_status or 0
        return (not status.wanted or code in _codes(status.wanted)) and code not in _codes(status.unwanted)

    def _reads(self, row: RequestRow) -> bool:
        hay = " ".join((row.model, *row.path, row.policy or "", row.request_id, row.error)).lower()
        return all(text in hay for text in self.texts) and not any(text in hay for text in self.without)

    # ── rows of the ledger ──────────────────────────────────────────────────────────────────────────────────────────

    def to_filter(self, known: Mapping[str, Iterable[str]]) -> Filter:
        """Return the ledger's filter. `names` are the known ones by field: parts become the names that contain them."""
        streaming, success, statuses, without = self._streaming(), *self._ends()
        return Filter(
            since_ms=self.received.least,
            until_ms=self.received.most,
            streaming=next(iter(streaming)) if len(streaming) == 1 else None,
            success=success,
            statuses=statuses if streaming else (),
            without_statuses=without,
            texts=self.texts,
            without_texts=self.without,
            min_cost_msats=self.cost.least,
            max_cost_msats=self.cost.most,
            min_took_ms=self.took.least,
            max_took_ms=self.took.most,
            models=self._names("model", known),
            providers=self._names("provider", known),
            policies=self._names("policy", known),
            clients=self._names("client", known),
            dialects=self._names("dialect", known),
            sessions=self._sessions()[0] or None,
            without_sessions=self._sessions()[1],
        )

    def _names(self, name: str, known: Mapping[str, Iterable[str]]) -> tuple[str | None, ...] | None:
        choice = self.of(name)
        if not choice:
            return None
        return tuple(each for each in (*known.get(name, ()), None) if choice.allows(each))

    def _streaming(self) -> set[bool]:
        kind = self.of("kind")
        values = {True: "stream", False: "json"}
        return {
            streams
            for streams, value in values.items()
            if value not in kind.unwanted and (not kind.wanted or value in kind.wanted)
        }

    def _ends(self) -> tuple[bool | None, tuple[int, ...] | None, tuple[int, ...]]:
        """Success if one is asked for, the statuses that are wanted if not all, and those that are not.

        Whether it succeeded is said wherever it follows: the ledger finds that sooner than a status.
        """
        status = self.of("status")
        wanted, unwanted = _codes(status.wanted), _codes(status.unwanted)
        may_succeed = (not wanted or SUCCEEDED in wanted) and SUCCEEDED not in unwanted
        may_fail = "error" not in status.unwanted and (not wanted or bool(wanted - {SUCCEEDED}))
        if not may_succeed and not may_fail:
            return None, (), ()
        every = not wanted or "error" in status.wanted or wanted == {SUCCEEDED}
        left_out = unwanted - {SUCCEEDED} if may_fail else ()
        success = None if may_succeed and may_fail else may_succeed
        return success, None if every else tuple(sorted(wanted)), tuple(sorted(left_out))


@lru_cache(64)  # asked for each row of a feed
def _codes(values: tuple[str, ...]) -> frozenset[int]:
    """Return the statuses that these values mean; 0 stands for a failure without one."""
    codes: set[int] = set()
    for value in values:
        match value:
            case "ok":
                codes.add(SUCCEEDED)
            case "left":
                codes.add(CLIENT_CLOSED)
            case "error":
                codes |= {0, *_CODES} - {SUCCEEDED}
            case _:
                codes |= {code for code in _CODES if str(code).startswith(value)}
    return frozenset(codes)

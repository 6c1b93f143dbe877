"""Which rule holds for a request: the one it names, else the first that a matcher recognises, else none."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, runtime_checkable

from arbstr.config import Rule
from arbstr.errors import ModelNotAllowed, UnknownPolicy
from arbstr.types import ChatRequest

logger = logging.getLogger(__name__)

ENTRY_POINTS = "arbstr.matchers"

# Scripts written without spaces (Thai to Myanmar, Khmer, kana, Han): there a word may begin at any character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACED_WORD = rf"[^\W{_UNSPACED}]"


@runtime_checkable
class Matcher(Protocol):
    """Recognises a request as a rule's by what it says.

    Another package adds one through the entry point group `arbstr.matchers`: a class, or anything that makes a matcher
    when called without arguments.
    """

    def match(self, request: ChatRequest, rules: Sequence[Rule]) -> Rule | None:
        """The rule of `rules` (all allow the request's model) that holds, or None. Must not block."""
        ...


class KeywordMatcher:
    """The first rule one of whose keywords begins a word of the last user message, whatever the case."""

    def __init__(self) -> None:
        self._compiled: dict[tuple[str, ...], _Keywords] = {}

    def match(self, request: ChatRequest, rules: Sequence[Rule]) -> Rule | None:
        """See `Matcher`."""
        if not request.last_user_text:
            return None
        folded = request.last_user_text.casefold()
        for rule in rules:
            if rule.keywords and self._keywords(rule.keywords).occur_in(folded):
                return rule
        return None

    def _keywords(self, keywords: tuple[str, ...]) -> _Keywords:
        compiled = self._compiled.get(keywords)
        if compiled is None:
            compiled = self._compiled[keywords] = _Keywords(keywords)
        return compiled


class _Keywords:
    """One rule's keywords, folded and compiled. Literals only, so that no text takes more than linear time."""

    def __init__(self, keywords: Iterable[str]) -> None:
        self._folded = tuple(folded for keyword in keywords if (folded := keyword.strip().casefold()))
        self._pattern = re.compile("|".join(map(_at_word_start, self._folded)))

    def occur_in(self, folded: str) -> bool:
        """Whether one of them begins a word of a text that is case-folded already."""
        # Substring search is many times faster than the pattern, and most texts hold none of the words.
        for keyword in self._folded:
            if keyword in folded:
                return self._pattern.search(folded) is not None
        return False


def _at_word_start(keyword: str) -> str:
    """A pattern for the keyword at the start of a word; one that starts with no letter or digit begins its own."""
    literal = re.escape(keyword)
    return rf"(?<!{_SPACED_WORD}){literal}" if re.match(_SPACED_WORD, keyword) else literal


class PolicySelector:
    """Finds the rule that holds for a request."""

    def __init__(self, rules: Sequence[Rule], matchers: Sequence[Matcher] | None = None) -> None:
        """`matchers` are asked in order; by default the keyword matcher and those of installed packages."""
        self._rules = tuple(rules)
        self._by_name = {rule.name: rule for rule in rules}
        self._matchers = tuple(load_matchers() if matchers is None else matchers)
        self._faulty: set[int] = set()  # by id: a matcher need not be hashable

    def select(self, request: ChatRequest) -> Rule | None:
        """The rule that holds, None if none does. Only a rule that the request names refuses its model."""
        name = request.policy.strip() if request.policy else ""
        return self._named(name, request.model) if name else self._recognised(request)

    def _named(self, name: str, model: str) -> Rule:
        rule = self._by_name.get(name)
        if rule is None:
            known = ", ".join(self._by_name) or "none is configured"
            raise UnknownPolicy(f"no policy is named {name[:100]!r}; known: {known}", param="X-Arbstr-Policy")
        if not rule.allows(model):
            allowed = ", ".join(rule.allowed_models)
            message = f"policy {rule.name!r} does not allow the model {model[:100]!r}; it allows: {allowed}"
            raise ModelNotAllowed(message, param="model", policy=rule.name)
        return rule

    def _recognised(self, request: ChatRequest) -> Rule | None:
        rules = [rule for rule in self._rules if rule.allows(request.model)]
        for matcher in self._matchers if rules else ():
            rule = self._ask(matcher, request, rules)
            if rule is not None:
                return rule
        return None

    def _ask(self, matcher: Matcher, request: ChatRequest, rules: Sequence[Rule]) -> Rule | None:
        """What a matcher says. The edge to other packages' code: their faults are reported once and cost no request."""
        try:
            rule = matcher.match(request, rules)
            if rule is not None and not any(rule is given for given in rules):
                raise ValueError("it returned a rule that it was not given")  # noqa: TRY301 - the edge that reports it is here
        except Exception:
            if id(matcher) not in self._faulty:
                self._faulty.add(id(matcher))
                logger.exception("the matcher %s failed and is passed over", type(matcher).__qualname__)
            return None
        return rule


def load_matchers() -> list[Matcher]:
    """The keyword matcher, then those of other packages by the names of their entry points."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    others = (_load(entry) for entry in found if entry.name != "keyword")
    return [KeywordMatcher(), *(matcher for matcher in others if matcher is not None)]


def _load(entry: EntryPoint) -> Matcher | None:
    """A matcher of another package, None (and a line in the log) if it can't be had: importing may raise anything."""
    try:
        matcher = entry.load()()
        if not isinstance(matcher, Matcher):
            raise TypeError("it has no method match(request, rules)")  # noqa: TRY301 - the edge that reports it is here
    except Exception:
        logger.exception("the matcher %r (%s) can't be loaded and is left out", entry.name, entry.value)
        return None
    return matcher

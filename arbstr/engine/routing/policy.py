"""Selects the rule for a request: the one it names, else the first that a matcher finds, else none."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple, Protocol, runtime_checkable

from arbstr.config.schema import Rule
from arbstr.engine.dialects.body import with_default_cap
from arbstr.engine.routing.names import shown
from arbstr.errors import ModelNotAllowed, UnknownPolicy
from arbstr.types import InferenceRequest

logger = logging.getLogger(__name__)

ENTRY_POINTS = "arbstr.matchers"

# Scripts written without spaces (Thai to Myanmar, Khmer, kana, Han): there a word may begin at any character.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SPACED_WORD = re.compile(rf"[^\W{_UNSPACED}]")
_BY_NAME = "named by the request"
_REMEMBERED = 4096  # models
_LOOKED_AT = 500  # occurrences of a word, one by one


class Selected(NamedTuple):
    """The rule that applies, and why in words; both None if none does."""

    rule: Rule | None
    reason: str | None


_NONE = Selected(None, None)


@runtime_checkable
class Matcher(Protocol):
    """Finds the rule for a request by its content.

    Other packages add matchers through the entry point group `arbstr.matchers`: a class, or any callable that returns a
    matcher when called without arguments.
    """

    def match(self, request: InferenceRequest, rules: Sequence[Rule]) -> Rule | None:
        """Return which of `rules` (all allow the request's model) applies, or None. Must not block."""
        ...


Words = Sequence[tuple[str, Selected]]


class KeywordMatcher:
    """Finds the first rule with a keyword that begins a word of the last user message, ignoring case."""

    def match(self, request: InferenceRequest, rules: Sequence[Rule]) -> Rule | None:
        """See `Matcher`."""
        return self.find(request, words_of(rules)).rule

    def find(self, request: InferenceRequest, words: Words) -> Selected:
        """Return the rule that applies, and by which keyword."""
        if not (words and request.last_user_text):
            return _NONE
        folded = request.last_user_text.casefold()
        find = folded.find
        text: _Text | None = None
        for keyword, selected in words:
            at = find(keyword)
            if at < 0:  # most texts hold none of the words
                continue
            if at > 0 and folded[at - 1] != " ":  # where most words begin
                text = text or _Text(folded)
                if not text.has_word(keyword):
                    continue
            return selected
        return _NONE


def words_of(rules: Sequence[Rule]) -> Words:
    """Return the rules' keywords, folded, each with its rule."""
    cased = ((keyword.strip().casefold(), rule) for rule in rules for keyword in rule.keywords)
    return [(keyword, Selected(rule, f"by the keyword {keyword!r}")) for keyword, rule in cased if keyword]


class _Text:
    """A folded text to search for words; in linear time, however often they are parts of other words."""

    def __init__(self, folded: str) -> None:
        self._folded = folded
        self._known: dict[str, bool] = {}  # many rules may have the same word

    def has_word(self, keyword: str) -> bool:
        """Return whether a folded keyword that the text contains begins a word in it.

        A keyword that does not start with a letter or digit always does.
        """
        known = self._known.get(keyword)
        if known is None:
            known = self._known[keyword] = not _in_words(keyword[0]) or self._begins_a_word(keyword)
        return known

    def _begins_a_word(self, keyword: str) -> bool:
        folded, at = self._folded, -1
        for _ in range(_LOOKED_AT):
            at = folded.find(keyword, at + 1)
            if at < 0:
                return False
            if at == 0 or not _in_words(folded[at - 1]):
                return True
        return self._is_after_a_gap(keyword)

    def _is_after_a_gap(self, keyword: str) -> bool:
        """Return the same by plain searches: first in a text with spaces for all gaps, then in the text itself."""
        sought = " " + keyword.translate(_Gaps())
        at = -1
        while (at := self._gapped.find(sought, at + 1)) >= 0:
            if self._folded.startswith(keyword, at):
                return True
        return False

    @cached_property
    def _gapped(self) -> str:
        return " " + self._folded.translate(_Gaps())


class _Gaps(dict[int, str]):
    """For `str.translate`: maps every character that a word may follow to a space."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        self[code] = shown = character if _in_words(character) else " "
        return shown


def _in_words(character: str) -> bool:
    """Return whether a character is part of a word, so that none begins after it."""
    return _SPACED_WORD.match(character) is not None


def capped(request: InferenceRequest, rule: Rule | None) -> InferenceRequest:
    """Return the request with the rule's cap on output tokens, where it has none."""
    if rule is None or rule.default_max_tokens is None or request.max_tokens is not None:
        return request
    return with_default_cap(request, rule.default_max_tokens)


class PolicySelector:
    """Selects the rule for a request."""

    def __init__(
        self,
        rules: Sequence[Rule],
        matchers: Sequence[Matcher] | None = None,
        resolve: Callable[[str], str] = lambda model: model,
    ) -> None:
        """Try `matchers` in order; by default the keyword matcher and those of installed packages.

        `resolve` returns what a model's name stands for, so that rules may allow aliases.
        """
        self._rules = tuple(rules)
        self._by_name = {rule.name: rule for rule in rules}
        self._matchers = tuple(load_matchers() if matchers is None else matchers)
        self._allowed = {rule.name: _allowed(rule, resolve) for rule in rules}
        # By model, with their keywords; clients may ask for any name.
        self._allowing: dict[str, tuple[list[Rule], Words]] = {}
        self._faulty: set[int] = set()  # by id: a matcher need not be hashable

    def select(self, request: InferenceRequest, model: str | None = None) -> Selected:
        """Return the rule that applies, and why. Only a rule that the request names can refuse its model.

        `model` is what the request's model stands for.
        """
        model = request.model if model is None else model
        name = request.policy.strip() if request.policy else ""
        return Selected(self._named(name, model), _BY_NAME) if name else self._recognised(request, model)

    def rule(self, name: str) -> Rule:
        """Return the rule of that name. Raises `UnknownPolicy`."""
        rule = self._by_name.get(name)
        if rule is None:
            known = ", ".join(self._by_name) or "none is configured"
            raise UnknownPolicy(f"No policy is named {shown(name)}; known: {known}.", param="X-Arbstr-Policy")
        return rule

    def allows(self, rule: Rule, model: str) -> bool:
        """Return whether a rule allows a model, by its name or by an alias of it."""
        allowed = self._allowed[rule.name]
        return not allowed or model.casefold() in allowed

    def _named(self, name: str, model: str) -> Rule:
        rule = self.rule(name)
        if not self.allows(rule, model):
            allowed = ", ".join(rule.allowed_models)
            message = f"The policy {shown(rule.name)} does not allow the model {shown(model)}; it allows: {allowed}."
            raise ModelNotAllowed(message, param="model", policy=rule.name)
        return rule

    def _recognised(self, request: InferenceRequest, model: str) -> Selected:
        rules, words = self._allowing.get(model) or self._new_allowing(model)
        for matcher in self._matchers if rules else ():
            if type(matcher) is KeywordMatcher:
                found = matcher.find(request, words)
            else:
                found = self._ask(matcher, request, rules)
            if found.rule is not None:
                return found
        return _NONE

    def _new_allowing(self, model: str) -> tuple[list[Rule], Words]:
        if len(self._allowing) >= _REMEMBERED:
            self._allowing.clear()
        rules = [rule for rule in self._rules if self.allows(rule, model)]
        allowing = self._allowing[model] = rules, words_of(rules)
        return allowing

    def _ask(self, matcher: Matcher, request: InferenceRequest, rules: Sequence[Rule]) -> Selected:
        """Call a matcher. It may be another package's code: its exceptions are logged once and fail no request."""
        try:
            rule = matcher.match(request, rules)
            if rule is not None and not any(rule is given for given in rules):
                raise ValueError("it returned a rule that it was not given")  # noqa: TRY301 - the edge that reports it is here
        except Exception:
            if id(matcher) not in self._faulty:
                self._faulty.add(id(matcher))
                logger.exception("matcher %s failed and was skipped", type(matcher).__qualname__)
            return _NONE
        return _NONE if rule is None else Selected(rule, f"by the matcher {type(matcher).__qualname__}")


def _allowed(rule: Rule, resolve: Callable[[str], str]) -> frozenset[str]:
    """Return the models that a rule allows, for comparing without regard to case; none are all."""
    named = (name for allowed in rule.allowed_models for name in (allowed, resolve(allowed)))
    return frozenset(map(str.casefold, named))


def load_matchers() -> list[Matcher]:
    """Return the keyword matcher, then those of other packages, sorted by entry point name."""
    found = sorted(entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name)
    others = (_load(entry) for entry in found if entry.name != "keyword")
    return [KeywordMatcher(), *(matcher for matcher in others if matcher is not None)]


def _load(entry: EntryPoint) -> Matcher | None:
    """Load another package's matcher; None, with a log line, if that fails: importing may raise anything."""
    try:
        matcher = entry.load()()
        if not isinstance(matcher, Matcher):
            raise TypeError("it has no method match(request, rules)")  # noqa: TRY301 - the edge that reports it is here
    except Exception:
        logger.exception("could not load matcher %r (%s); it is skipped", entry.name, entry.value)
        return None
    return matcher

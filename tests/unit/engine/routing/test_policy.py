"""Which rule holds: the one that is named, else the first whose keyword begins a word, else none."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arbstr.config.schema import Rule
from arbstr.engine.routing import policy
from arbstr.engine.routing.policy import KeywordMatcher, PolicySelector, load_matchers
from arbstr.errors import ModelNotAllowed, UnknownPolicy
from arbstr.types import InferenceRequest
from tests.support.engine_builders import chat


def recognised(text: str, *keywords: str) -> bool:
    rule = Rule(name="rule", keywords=keywords)
    return KeywordMatcher().match(chat(last_user_text=text), [rule]) is rule


# --- a rule that is named


def test_the_named_rule_holds_whatever_the_text_says() -> None:
    rules = [Rule(name="code", keywords=("code",)), Rule(name="cheap")]
    chosen = PolicySelector(rules).select(chat(policy="cheap", last_user_text="code"))
    assert chosen == (rules[1], "named by the request")


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    selector = PolicySelector([Rule(name="code"), Rule(name="cheap")])
    with pytest.raises(UnknownPolicy, match=r"'chaep'.*code, cheap"):
        selector.select(chat(policy="chaep"))


def test_the_named_rule_refuses_a_model_and_lists_those_it_allows() -> None:
    selector = PolicySelector([Rule(name="code", allowed_models=("a", "b"))])
    with pytest.raises(ModelNotAllowed, match=r"'gpt-4o'.*a, b"):
        selector.select(chat("gpt-4o", policy="code"))


@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_no_name(name: str) -> None:
    rule = Rule(name="code", keywords=("code",))
    assert PolicySelector([rule]).select(chat(policy=name, last_user_text="code")).rule is rule


# --- a rule that is recognised


def test_the_first_rule_with_a_keyword_in_the_text_holds() -> None:
    rules = [
        Rule(name="none", keywords=("poem",)),
        Rule(name="one", keywords=("code",)),
        Rule(name="two", keywords=("code",)),
    ]
    assert PolicySelector(rules).select(chat(last_user_text="Some code")).rule is rules[1]


def test_a_recognised_rule_that_does_not_allow_the_model_is_passed_over_and_refuses_nothing() -> None:
    rules = [Rule(name="other", keywords=("code",), allowed_models=("claude",)), Rule(name="any", keywords=("code",))]
    assert PolicySelector(rules).select(chat("gpt-4o", last_user_text="code")).rule is rules[1]
    assert PolicySelector(rules[:1]).select(chat("gpt-4o", last_user_text="code")).rule is None


def test_no_keyword_no_rule() -> None:
    assert PolicySelector([Rule(name="code", keywords=("code",))]).select(chat(last_user_text="")).rule is None
    assert PolicySelector([Rule(name="bare")]).select(chat(last_user_text="bare")).rule is None


@pytest.mark.parametrize(
    "text", ["Code review", "codes", "my CODE", "(code)", "a-code", "éclair\ncode", "`code`", "1.code", "“code”"]
)
def test_a_keyword_is_found_at_the_start_of_a_word_whatever_the_case(text: str) -> None:
    assert recognised(text, "code")


@pytest.mark.parametrize("text", ["decode", "barcode", "7code", "écode", "snake_code", "cod e", "DECODE unicode"])
def test_a_keyword_inside_a_word_is_none(text: str) -> None:
    assert not recognised(text, "code")


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("c++", "some C++ please"),
        ("a.b", "see a.b there"),
        (".*", "what does .* mean"),
        ("(x|y)", "solve (x|y)"),
        ("$100", "it is $100"),
        ("[", "an ["),
        ("\\d", "use \\d here"),
        (".py", "open main.py"),
        ("#!", "x#!/bin/sh"),
        ("unit test", "a Unit  Test? no: a unit test"),
        ("größe", "Die GRÖSSE zählt"),
        ("straße", "STRASSE"),
        ("код", "напиши Код"),
        ("代码", "请写代码"),
        ("review", "请review代码"),
        ("コード", "このコードを"),
        ("🚀", "to the🚀"),
    ],
)
def test_keywords_may_hold_any_characters(keyword: str, text: str) -> None:
    assert recognised(text, keyword)


@pytest.mark.parametrize(
    ("keyword", "text"),
    [("a.b", "acb"), (".*", "anything"), ("c++", "cccc"), ("код", "декод"), ("unit test", "unittest")],
)
def test_no_character_of_a_keyword_is_a_wildcard(keyword: str, text: str) -> None:
    assert not recognised(text, keyword)


@given(st.text(min_size=1, max_size=8), st.text(max_size=20))
def test_a_keyword_after_a_space_is_always_found(keyword: str, before: str) -> None:
    assert recognised(f"{before} {keyword}", keyword) == bool(keyword.strip())


@pytest.mark.parametrize("piece", ["decode", "a", "xcode ", "!", "çode"])
def test_two_megabytes_made_to_mislead_take_no_longer_than_a_moment(piece: str) -> None:
    text = piece * (2_000_000 // len(piece))
    started = time.process_time()
    assert not recognised(text, "code", "a" * 50 + "b", "!" * 50 + "?", "coda")
    assert time.process_time() - started < 2


ALPHABET = st.text("code +-_.1é—代コ\n", max_size=40)


@given(ALPHABET.filter(str.strip), ALPHABET, st.integers(0, 5))
def test_words_are_found_as_a_pattern_would_find_them(keyword: str, text: str, looked_at: int) -> None:
    """Also where there are too many places to look at one by one."""
    keyword = keyword.strip()[:3].strip()
    word = r"[^\W\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]"
    pattern = re.escape(keyword) if not re.match(word, keyword) else f"(?<!{word}){re.escape(keyword)}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(policy, "_LOOKED_AT", looked_at)
        assert recognised(text, keyword) == (re.search(pattern, text) is not None)


@pytest.mark.parametrize("piece", ["decode ", "raw_code-review decode review ", "écode ", "раскод "])
def test_ten_megabytes_and_forty_rules_hold_up_the_loop_for_a_moment(piece: str) -> None:
    text = piece * (10_000_000 // len(piece.encode()))
    words = [("code", f"code{number}", f"код{number}", "код", "code review") for number in range(40)]
    rules = [Rule(name=f"rule-{number}", keywords=keywords) for number, keywords in enumerate(words)]
    request, matcher = chat(last_user_text=text), KeywordMatcher()
    started = time.process_time()
    assert matcher.match(request, rules) is None
    assert time.process_time() - started < 2


# --- matchers of other packages


class Long:
    """Every long text is the first rule's."""

    def match(self, request: InferenceRequest, rules: Sequence[Rule]) -> Rule | None:
        return rules[0] if len(request.last_user_text) > 10 else None


class Broken:
    """Fails whatever it is asked."""

    def match(self, request: InferenceRequest, rules: Sequence[Rule]) -> Rule | None:
        raise RuntimeError("out of order")


class Inventive:
    """Returns a rule of its own."""

    def match(self, request: InferenceRequest, rules: Sequence[Rule]) -> Rule | None:
        return Rule(name="invented")


def installed(monkeypatch: pytest.MonkeyPatch, **entries: str) -> None:
    """Let these names of matchers, each a class of this file or anything else, be installed."""
    known = [EntryPoint(name, value, policy.ENTRY_POINTS) for name, value in entries.items()]
    monkeypatch.setattr(policy, "entry_points", lambda group: [entry for entry in known if entry.group == group])


def test_a_package_adds_a_matcher_which_is_asked_when_no_keyword_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, keyword="arbstr.engine.routing.policy:KeywordMatcher", long=f"{__name__}:Long")
    rules = [Rule(name="first"), Rule(name="code", keywords=("code",))]
    selector = PolicySelector(rules)
    assert selector.select(chat(last_user_text="a text of some length")).rule is rules[0]
    assert selector.select(chat(last_user_text="a code of some length")).rule is rules[1]
    assert selector.select(chat(last_user_text="short")).rule is None


def test_why_a_rule_holds() -> None:
    rules = [Rule(name="code", keywords=("review", " Straße ")), Rule(name="long")]
    selector = PolicySelector(rules, [KeywordMatcher(), Long()])
    for asked, why in (
        (chat(policy="code", last_user_text="a review of some length"), "named by the request"),
        (chat(last_user_text="Reviews, please"), "by the keyword 'review'"),
        (chat(last_user_text="die STRASSE"), "by the keyword 'strasse'"),
        (chat(last_user_text="a text of some length"), "by the matcher Long"),
        (chat(last_user_text="short"), None),
    ):
        assert selector.select(asked).reason == why


def test_arbstr_itself_is_one_such_package() -> None:
    assert [type(matcher) for matcher in load_matchers()] == [KeywordMatcher]


@pytest.mark.parametrize("value", ["no_such_module:Matcher", f"{__name__}:Nothing", "os:getcwd"])
def test_a_matcher_that_can_not_be_loaded_is_reported_and_left_out(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed(monkeypatch, faulty=value)
    rule = Rule(name="code", keywords=("code",))
    assert PolicySelector([rule]).select(chat(last_user_text="code")).rule is rule
    assert "faulty" in caplog.text


@pytest.mark.parametrize("matcher", [Broken(), Inventive()])
def test_a_matcher_that_fails_costs_no_request_and_is_reported_once(
    matcher: policy.Matcher, caplog: pytest.LogCaptureFixture
) -> None:
    rule = Rule(name="long")
    selector = PolicySelector([rule], [matcher, Long()])
    for _ in range(3):
        assert selector.select(chat(last_user_text="a text of some length")).rule is rule
    assert caplog.text.count(f"matcher {type(matcher).__qualname__} failed") == 1

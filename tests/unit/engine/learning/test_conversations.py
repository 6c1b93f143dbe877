"""How conversations go on: learned from those that were seen."""

from __future__ import annotations

import pytest

from arbstr.engine.learning.conversations import WITHIN_S, Conversations, groups_of
from arbstr.engine.learning.prefix_index import Visit
from arbstr.engine.routing.offer import Offer
from tests.support.engine_builders import config, provider

OFFER = Offer(provider("alpha"), "m", config([]).policies)


def visit(at_s: float, turn: int = 1, output: float = 100) -> Visit:
    return Visit(OFFER, at_s, 0, turn, 1000, output)


def held(*outcomes: bool, policy: str | None = None, turn: int = 1, tokens: float = 4000) -> Conversations:
    """After requests of which some were continued, and time has passed."""
    conversations = Conversations()
    hold(conversations, 0.0, *outcomes, policy=policy, turn=turn, tokens=tokens)
    return conversations


def hold(
    conversations: Conversations, at_s: float, *outcomes: bool, policy: str | None = None, turn: int = 1, tokens: float
) -> None:
    for number, outcome in enumerate(outcomes):
        one = visit(at_s + number, turn)
        conversations.add(one, groups_of(policy, turn, tokens))
        if outcome:
            conversations.continued(one, at_s + number + 50, 1, 100, 100)
    conversations.add(visit(at_s + len(outcomes) + WITHIN_S), groups_of(policy, turn, tokens))


def test_before_anything_is_known_three_in_ten_go_on() -> None:
    assert Conversations().goes_on(groups_of(None, 1, 4000)) == 0.3


def test_requests_count_once_the_time_has_passed_in_which_they_may_be_continued() -> None:
    conversations = Conversations()
    for number in range(100):
        conversations.add(one := visit(number), groups_of(None, 1, 4000))
        conversations.continued(one, number + 1, 1, 100, 100)
    assert conversations.goes_on(groups_of(None, 1, 4000)) == 0.3
    conversations.add(visit(100 + WITHIN_S), groups_of(None, 1, 4000))
    assert conversations.goes_on(groups_of(None, 1, 4000)) > 0.9


@pytest.mark.parametrize(("outcomes", "expected"), [([True] * 200, 1), ([False] * 200, 0), ([True, False] * 100, 0.5)])
def test_what_was_seen_is_expected(outcomes: list[bool], expected: float) -> None:
    assert held(*outcomes).goes_on(groups_of(None, 1, 4000)) == pytest.approx(expected, abs=0.05)


def test_policies_turns_and_sizes_are_distinguished() -> None:
    conversations = held(*[True] * 200, policy="agent", turn=2, tokens=50_000)
    hold(conversations, 1000, *[False] * 200, policy="agent", turn=1, tokens=50_000)
    assert conversations.goes_on(groups_of("agent", 2, 50_000)) > 0.8
    assert conversations.goes_on(groups_of("agent", 1, 50_000)) < 0.2
    assert conversations.goes_on(groups_of("chat", 1, 50_000)) == 0.3


def test_an_answer_is_as_long_as_those_before_it_where_that_has_been_so() -> None:
    conversations = Conversations()
    assert conversations.output_tokens(visit(0, output=900), 300) == 300
    for _ in range(100):
        conversations.continued(visit(0, output=900), 50, 1, 300, 900)
    assert conversations.output_tokens(visit(0, output=900), 300) > 800


def test_an_answer_is_as_long_as_any_where_those_before_taught_nothing() -> None:
    conversations = Conversations()
    for number in range(100):
        conversations.continued(visit(0, output=900), 50, 1, 300, 400 if number % 2 else 200)
    assert conversations.output_tokens(visit(0, output=900), 300) == pytest.approx(300, abs=10)


def test_the_share_that_is_repeated_and_the_pause_are_means() -> None:
    conversations = Conversations()
    for _ in range(2000):
        conversations.continued(visit(0), 200, 0.5, 100, 100)
    assert conversations.repeated == pytest.approx(0.5, abs=0.01)
    assert conversations.pause_s == pytest.approx(200, abs=1)

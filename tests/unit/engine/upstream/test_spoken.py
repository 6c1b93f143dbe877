"""What providers speak: as configured, or all until an endpoint turns out not to be there; for a day."""

from __future__ import annotations

import pytest

from arbstr.engine.dialects.embeddings import EMBEDDINGS
from arbstr.engine.dialects.messages import MESSAGES
from arbstr.engine.upstream.spoken import MISSED_S, UNLEARNED_S, SpokenDialects
from tests.support.clock import Clock
from tests.support.engine_builders import provider

ALPHA = provider("alpha")
CHAT_ONLY = provider("beta", dialects=("chat",))
MESSAGES_ONLY = provider("gamma", dialects=("messages",))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def spoken(clock: Clock) -> SpokenDialects:
    return SpokenDialects([ALPHA, CHAT_ONLY, MESSAGES_ONLY], clock)


def test_a_provider_speaks_everything_until_it_is_known_better(spoken: SpokenDialects) -> None:
    assert spoken.speaks(ALPHA, "messages", "m")
    assert spoken.speaks(ALPHA, "images/generations", "m")


def test_one_that_is_configured_speaks_that_and_what_is_passed_through(spoken: SpokenDialects) -> None:
    assert spoken.speaks(CHAT_ONLY, "chat", "m")
    assert not spoken.speaks(CHAT_ONLY, "messages", "m")
    assert spoken.speaks(CHAT_ONLY, "images/generations", "m")


def test_who_can_not_serve_a_dialect_even_translated_is_named(spoken: SpokenDialects) -> None:
    assert set(spoken.unable("chat", "m")) == {"gamma"}
    assert set(spoken.unable("messages", "m")) == set()
    assert set(spoken.unable("responses", "m")) == {"gamma"}
    assert set(spoken.unable("embeddings", "m")) == {"beta", "gamma"}


def test_an_endpoint_that_is_not_there_is_not_there_for_a_day(spoken: SpokenDialects, clock: Clock) -> None:
    spoken.unlearn(ALPHA, MESSAGES)
    assert not spoken.speaks(ALPHA, "messages", "m")
    assert spoken.speaks(ALPHA, "responses", "m")
    clock.now += UNLEARNED_S
    assert spoken.speaks(ALPHA, "messages", "m")


def test_what_is_configured_is_not_unlearned(spoken: SpokenDialects) -> None:
    spoken.unlearn(MESSAGES_ONLY, MESSAGES)
    assert spoken.speaks(MESSAGES_ONLY, "messages", "m")


def test_a_model_that_is_missed_is_missed_for_a_while(spoken: SpokenDialects, clock: Clock) -> None:
    spoken.missed(ALPHA, EMBEDDINGS, "a")
    assert not spoken.speaks(ALPHA, "embeddings", "a")
    assert spoken.speaks(ALPHA, "embeddings", "b")
    clock.now += MISSED_S
    assert spoken.speaks(ALPHA, "embeddings", "a")


def test_two_that_are_missed_are_the_endpoint(spoken: SpokenDialects, clock: Clock) -> None:
    spoken.missed(ALPHA, EMBEDDINGS, "a")
    spoken.missed(ALPHA, EMBEDDINGS, "b")
    clock.now += MISSED_S
    assert not spoken.speaks(ALPHA, "embeddings", "c")


def test_unless_another_is_answered_between_them(spoken: SpokenDialects) -> None:
    spoken.missed(ALPHA, EMBEDDINGS, "a")
    spoken.answered(ALPHA, EMBEDDINGS)
    spoken.missed(ALPHA, EMBEDDINGS, "b")
    assert spoken.speaks(ALPHA, "embeddings", "c")

"""A field that no answer needs is not sent again to a provider that has refused it, for that model and a day."""

from __future__ import annotations

from typing import Any

from arbstr.engine.upstream.optional_fields import UNSUPPORTED_S, OptionalFields
from tests.support.clock import Clock

CHAT: dict[str, Any] = {"model": "m", "messages": [], "verbosity": "low", "prompt_cache_key": "k", "temperature": 0}


def test_a_refused_field_is_left_out_for_a_day() -> None:
    clock = Clock()
    fields = OptionalFields(clock)
    assert fields.learn(CHAT, "alpha", b"unknown field 'verbosity'") == ["verbosity"]
    assert "verbosity" not in fields.left_out(CHAT, "alpha")
    assert "prompt_cache_key" in fields.left_out(CHAT, "alpha")
    clock.now += UNSUPPORTED_S
    assert fields.left_out(CHAT, "alpha") == CHAT


def test_a_field_refused_by_one_provider_still_goes_to_others_and_to_other_models() -> None:
    fields = OptionalFields(Clock())
    fields.learn(CHAT, "alpha", b"unknown field 'verbosity'")
    assert fields.left_out(CHAT, "beta") == CHAT
    assert fields.left_out({**CHAT, "model": "n"}, "alpha") == {**CHAT, "model": "n"}


def test_a_refusal_of_what_the_answer_needs_or_of_what_was_not_sent_is_not_learned() -> None:
    fields = OptionalFields(Clock())
    assert fields.learn(CHAT, "alpha", b"'temperature' is too high; 'top_k' is unknown") == []
    assert fields.left_out(CHAT, "alpha") == CHAT

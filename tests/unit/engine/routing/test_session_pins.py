"""Conversations that a policy keeps at their providers."""

from __future__ import annotations

from arbstr.config.schema import Rule
from arbstr.engine.routing.router import Router
from arbstr.types import InferenceRequest
from tests.support.engine_builders import answered, chat, order, provider, router

CHEAP, DEAR, DEARER = provider("cheap", 1, 1), provider("dear", 2, 2), provider("dearer", 3, 3)
PINNED = Rule(name="pinned", affinity="session")


def served(chosen: Router, request: InferenceRequest, by: str) -> None:
    routing = chosen.route(request)
    chosen.learn(answered(request, routing, provider=by, session=request.session), request)


def test_a_conversation_stays_at_the_provider_that_answered_it_last_whatever_its_price() -> None:
    chosen = router([CHEAP, DEAR, DEARER], PINNED)
    request = chat(policy="pinned", session="a" * 16)
    assert order(chosen.route(request)) == ["cheap", "dear", "dearer"]
    served(chosen, request, "dear")
    routing = chosen.route(request)
    assert order(routing) == ["dear", "cheap", "dearer"]
    assert routing.candidates[0].note == "it has this conversation"
    served(chosen, request, "dearer")
    assert order(chosen.route(request)) == ["dearer", "cheap", "dear"]


def test_other_conversations_and_other_models_and_policies_are_not_held_by_it() -> None:
    chosen = router([CHEAP, DEAR], PINNED)
    served(chosen, chat(policy="pinned", session="a" * 16), "dear")
    assert order(chosen.route(chat(policy="pinned", session="b" * 16))) == ["cheap", "dear"]
    assert order(chosen.route(chat(policy="pinned"))) == ["cheap", "dear"]
    assert order(chosen.route(chat("another", policy="pinned", session="a" * 16))) == ["cheap", "dear"]
    assert order(chosen.route(chat(session="a" * 16))) == ["cheap", "dear"]


def test_a_provider_that_is_no_candidate_holds_nothing() -> None:
    away: set[str] = set()
    chosen = router([CHEAP, DEAR], PINNED, unavailable=lambda: away)
    request = chat(policy="pinned", session="a" * 16)
    served(chosen, request, "dear")
    away.add("dear")
    assert order(chosen.route(request)) == ["cheap"]


def test_a_failed_request_pins_nothing() -> None:
    chosen = router([CHEAP, DEAR], PINNED)
    request = chat(policy="pinned", session="a" * 16)
    routing = chosen.route(request)
    chosen.learn(answered(request, routing, provider="dear", session=request.session, success=False), request)
    assert order(chosen.route(request)) == ["cheap", "dear"]


def test_affinity_may_be_the_default_for_all_requests() -> None:
    chosen = router([CHEAP, DEAR], Rule(name="free", affinity="none"), policies={"default_affinity": "session"})
    request = chat(session="a" * 16)
    served(chosen, request, "dear")
    assert order(chosen.route(request)) == ["dear", "cheap"]
    assert order(chosen.route(chat(session="a" * 16, policy="free"))) == ["cheap", "dear"]


def test_pins_are_bounded_and_the_latest_stay() -> None:
    chosen = router([CHEAP, DEAR], PINNED)
    for number in range(25_000):
        chosen._pins.learn(answered(chat(), chosen.route(chat()), session=f"{number:016x}"))
    assert len(chosen._pins._young) + len(chosen._pins._old) <= 20_000
    assert ("0" * 16, "gpt-4o") not in chosen._pins._old
